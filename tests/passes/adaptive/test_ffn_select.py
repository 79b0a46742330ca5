"""seerc-ffn-select: programs with big and small FFNs against PyTorch models whose matrices are the same factors."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compiler.driver import CompileOptions, compile_model
from compiler.frontend.model import ImportedModel, LoadedModel, TensorSpec
from passes.adaptive.arguments import weight_names
from passes.adaptive.ffn_select import FfnSelectPass
from passes.adaptive.low_rank import low_rank_factors, with_factors
from passes.base import PassContext, PassError
from passes.mlir import context, ir

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "fusion"))
from adaptive_models import loaded, relative_error
from fusion_evaluate import evaluate

RANK, TOLERANCE = 8, 1e-5
MASKS = [(1, 1), (0, 1), (1, 0), (0, 0)]


def selected(imported: ImportedModel, rank: int = RANK) -> ImportedModel:
    with context():
        module = ir.Module.parse(imported.text)
        FfnSelectPass(rank).run(module.operation, PassContext())
        assert module.operation.verify()
        names = weight_names(module.body.operations[0].operation)
        assert list(names) == list(range(len(names)))  # weights first
        weights = with_factors(imported.weights, names.values(), rank)
        inputs = (*imported.inputs, TensorSpec("ffn", (2,), "i1"))
        return replace(imported, text=str(module), weights=weights, inputs=inputs)


def reference(model: LoadedModel, mask: Sequence[int], rank: int = RANK) -> np.ndarray:
    """The model in float64, the matrices of its small FFNs cut off at `rank` by NumPy."""
    module = copy.deepcopy(model.module).double()
    mlps = [m for name, m in module.named_modules() if name.endswith(".mlp")]
    for mlp, big in zip(mlps, mask, strict=True):
        for parameter in mlp.parameters():
            if parameter.ndim == 2 and not big:
                u, s, v = np.linalg.svd(parameter.detach().numpy())
                parameter.data = torch.from_numpy(u[:, :rank] * s[:rank] @ v[:rank])
    with torch.no_grad():
        found: Any = module(*map(torch.from_numpy, model.example_inputs))
    return found.numpy()


def run(imported: ImportedModel, inputs: Sequence[np.ndarray]) -> np.ndarray:
    return evaluate(imported.text, [np.ascontiguousarray(a) for a in (*imported.weights.values(), *inputs)])[0]


@pytest.mark.parametrize("name", ["llama", "gpt2", pytest.param("gpt-neox", marks=pytest.mark.slow)])
def test_small_ffns_are_the_factored_ones(name: str) -> None:
    model = loaded(name)
    imported = selected(model.imported)
    assert imported.text.count("scf.if") == 2
    got = run(imported, [*model.example_inputs, np.array((1, 0), bool)])
    assert relative_error(got, reference(model, (1, 0))) < TOLERANCE


@pytest.mark.parametrize("name", ["llama", pytest.param("gpt2", marks=pytest.mark.slow)])
def test_the_compiled_program(name: str) -> None:
    model = loaded(name)
    program = compile_model(selected(model.imported), CompileOptions(cost_model="none"))
    assert program.plan["fallbacks"] == 0
    for mask in MASKS:
        got = program(*model.example_inputs, np.array(mask, bool))[0]
        assert relative_error(got, reference(model, mask)) < TOLERANCE, mask


def test_small_and_big_differ_and_agree_at_full_rank() -> None:
    model = loaded("llama")
    inputs = [*model.example_inputs, np.zeros(2, bool)]
    full = reference(model, (1, 1))
    assert relative_error(run(selected(model.imported), inputs), full) > 1e-2
    assert relative_error(run(selected(model.imported, 32), inputs), full) < TOLERANCE


def test_factors_are_the_best_of_their_rank() -> None:
    matrix = np.random.default_rng(0).standard_normal((12, 20)).astype(np.float32)
    left, right = low_rank_factors(matrix, 5)
    assert (left.shape, right.shape, left.dtype, right.dtype) == ((12, 5), (5, 20), np.float32, np.float32)
    rest = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)[5:]
    assert np.linalg.norm(matrix - left @ right) == pytest.approx(np.linalg.norm(rest), rel=1e-5)


TRANSPOSED = """
#x = affine_map<(d0, d1, d2) -> (d0, d2)>
#w = affine_map<(d0, d1, d2) -> (d1, d2)>
#y = affine_map<(d0, d1, d2) -> (d0, d1)>
func.func @main(%w1: tensor<16x8xf32> {seerc.weight = "up"}, %w2: tensor<16x8xf32> {seerc.weight = "down"},
                %x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %zero = arith.constant 0.0 : f32
  %e1 = tensor.empty() : tensor<4x16xf32>
  %f1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<4x16xf32>) -> tensor<4x16xf32>
  %h = linalg.generic {indexing_maps = [#w, #x, #y], iterator_types = ["parallel", "parallel", "reduction"]}
    ins(%w1, %x : tensor<16x8xf32>, tensor<4x8xf32>) outs(%f1 : tensor<4x16xf32>) {
    ^bb0(%a: f32, %b: f32, %c: f32):
      %p = arith.mulf %a, %b : f32
      %s = arith.addf %p, %c : f32
      linalg.yield %s : f32
  } -> tensor<4x16xf32>
  %e2 = tensor.empty() : tensor<4x8xf32>
  %f2 = linalg.fill ins(%zero : f32) outs(%e2 : tensor<4x8xf32>) -> tensor<4x8xf32>
  %f = linalg.matmul ins(%h, %w2 : tensor<4x16xf32>, tensor<16x8xf32>) outs(%f2 : tensor<4x8xf32>) -> tensor<4x8xf32>
  %y = linalg.add ins(%x, %f : tensor<4x8xf32>, tensor<4x8xf32>) outs(%e2 : tensor<4x8xf32>) -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}
"""


def test_a_matrix_may_lie_transposed_and_come_first() -> None:
    rng = np.random.default_rng(0)
    up, down, x = (rng.standard_normal(s).astype(np.float32) for s in ((16, 8), (16, 8), (4, 8)))
    with context():
        module = ir.Module.parse(TRANSPOSED)
        FfnSelectPass(3).run(module.operation, PassContext())
        names = weight_names(module.body.operations[0].operation)
        assert list(names.values()) == ["up", "down", "up.left", "up.right", "down.left", "down.right"]
        text = str(module)
    weights = with_factors({"up": up, "down": down}, names.values(), 3)
    got = evaluate(text, [*weights.values(), x, np.zeros(1, bool)])[0]
    small = {name: weights[f"{name}.left"] @ weights[f"{name}.right"] for name in ("up", "down")}
    assert relative_error(got, x + x @ small["up"].T @ small["down"]) < TOLERANCE


def test_the_pass_says_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="rank is at least 1"):
        FfnSelectPass(0)
    with pytest.raises(PassError, match=r"rank 33 is above that of .*: give at most 32"):
        selected(loaded("gpt2").imported, 33)
    with context():
        text = "func.func @main(%a: tensor<4xf32>) -> tensor<4xf32> { return %a : tensor<4xf32> }"
        with pytest.raises(PassError, match="no FFN sub-block"):
            FfnSelectPass(4).run(ir.Module.parse(text).operation, PassContext())


def test_decoding_steps_have_both_too() -> None:
    """The FFN of one new token; keys and values stay where they are."""
    from adaptive_models import decoder

    from compiler.decode.step_module import DecodeStep, StepShape, example_inputs
    from compiler.frontend.load import from_module

    model, shape = decoder("llama"), StepShape(1, 1, 8)
    module, example = DecodeStep(model, shape), example_inputs(model, shape)
    step = from_module(module, example, "step")
    caches = [np.random.default_rng(0).standard_normal(tuple(t.shape), dtype=np.float32) for t in example[2:]]
    inputs = [np.array([[3]]), np.array([6]), *caches]
    assert step.eager is not None
    wanted = step.eager(*inputs)
    imported = selected(step.imported)
    arrays = [np.ascontiguousarray(a) for a in (*imported.weights.values(), *inputs)]
    big, small = (evaluate(imported.text, [*arrays, np.full(2, m)]) for m in (True, False))
    assert all(relative_error(a, b) < TOLERANCE for a, b in zip(big, wanted, strict=True))
    assert relative_error(small[1], wanted[1]) < TOLERANCE  # the first layer's key: no FFN before it
    assert relative_error(small[0], wanted[0]) > 1e-2

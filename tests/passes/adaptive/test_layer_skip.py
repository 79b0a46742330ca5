"""seerc-layer-skip: masked and static runs against PyTorch models whose sub-blocks are off."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler.driver import CompileOptions, compile_model
from compiler.frontend.load import from_module
from compiler.frontend.model import ImportedModel, TensorSpec
from passes.adaptive.layer_skip import LayerSkipPass
from passes.base import PassContext, PassError
from passes.mlir import context, ir

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "fusion"))
from adaptive_models import build, decoder, loaded, relative_error, skipping
from fusion_evaluate import evaluate

TOLERANCE = 1e-5
MASKS = [(1, 1, 1, 1), (0, 1, 1, 1), (1, 0, 0, 1), (0, 0, 0, 0)]


def skipped(text: str, skip: tuple[int, ...] = ()) -> str:
    with context():
        module = ir.Module.parse(text)
        LayerSkipPass(skip).run(module.operation, PassContext())
        assert module.operation.verify()
        return str(module)


def run(text: str, imported: ImportedModel, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    weights = [np.ascontiguousarray(array) for array in imported.weights.values()]
    return evaluate(text, [*weights, *(np.ascontiguousarray(array) for array in inputs)])


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt-neox", "gemma2", "bert"])
def test_masked_runs(name: str) -> None:
    model = loaded(name)
    text = skipped(model.imported.text)
    assert text.count("scf.if") == 4
    for mask in MASKS:
        with skipping(model.module, mask):
            want = model.eager(*model.example_inputs)[0]
        got = run(text, model.imported, [*model.example_inputs, np.array(mask, bool)])[0]
        assert relative_error(got, want) < TOLERANCE, mask


@pytest.mark.parametrize(("name", "skip"), [("llama", (0, 3)), ("gpt-neox", (1, 2, 3)), ("gptj", (0,)), ("bert", (3,))])
def test_static_runs(name: str, skip: tuple[int, ...]) -> None:
    model = loaded(name)
    text = skipped(model.imported.text, skip)
    assert "scf.if" not in text
    assert text.count("linalg.") < model.imported.text.count("linalg.")
    with skipping(model.module, [k not in skip for k in range(4)]):
        want = model.eager(*model.example_inputs)[0]
    assert relative_error(run(text, model.imported, model.example_inputs)[0], want) < TOLERANCE


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_one_compiled_program_runs_at_every_depth(name: str) -> None:
    model = loaded(name)
    inputs = (*model.imported.inputs, TensorSpec("mask", (4,), "i1"))
    masked = replace(model.imported, text=skipped(model.imported.text), inputs=inputs)
    program = compile_model(masked, CompileOptions(cost_model="none"))
    for mask in MASKS:
        with skipping(model.module, mask):
            want = model.eager(*model.example_inputs)[0]
        assert relative_error(program(*model.example_inputs, np.array(mask, bool))[0], want) < TOLERANCE, mask


def test_a_static_skip_compiles() -> None:
    model = loaded("gpt2")
    imported = replace(model.imported, text=skipped(model.imported.text, (1, 2)))
    program = compile_model(imported, CompileOptions(cost_model="none"))
    with skipping(model.module, (1, 0, 0, 1)):
        want = model.eager(*model.example_inputs)[0]
    assert relative_error(program(*model.example_inputs)[0], want) < TOLERANCE


def test_new_keys_and_values_of_a_skipped_block_are_zeros() -> None:
    from compiler.decode.step_module import DecodeStep, StepShape, example_inputs

    model, shape = decoder("llama"), StepShape(1, 2, 8)
    module = DecodeStep(model, shape)
    example = example_inputs(model, shape)
    loaded_step = from_module(module, example, "step")
    rng = np.random.default_rng(0)
    ids, lengths = np.array([[3, 5]]), np.array([6])
    caches = [rng.standard_normal(tuple(t.shape), dtype=np.float32) for t in example[2:]]
    mask = (1, 1, 0, 1)
    got = run(skipped(loaded_step.imported.text), loaded_step.imported, [ids, lengths, *caches, np.array(mask, bool)])
    with skipping(module, mask):
        want = loaded_step.eager(ids, lengths, *caches)
    assert all(relative_error(got[k], want[k]) < TOLERANCE for k in (0, 1, 2))  # logits, rows of the first layer
    assert not got[3].any()
    assert not got[4].any()
    assert want[3].any()


def test_the_pass_says_what_it_cannot_do() -> None:
    with context():
        module = ir.Module.parse("func.func @main(%a: tensor<4xf32>) -> tensor<4xf32> { return %a : tensor<4xf32> }")
        with pytest.raises(PassError, match="no attention or FFN sub-block"):
            LayerSkipPass().run(module.operation, PassContext())
        with pytest.raises(PassError, match="needs a function @main"):
            LayerSkipPass().run(ir.Module.parse("module {}").operation, PassContext())
    with pytest.raises(PassError, match="no sub-block 4: @main has 0 to 3"):
        skipped(loaded("gpt2").imported.text, (4,))


def test_the_hooks_turn_sub_blocks_off() -> None:
    module, inputs = build("llama")
    full = module(*inputs)
    with skipping(module, (1, 0, 1, 1)):
        assert not np.allclose(module(*inputs).detach(), full.detach(), atol=1e-3)

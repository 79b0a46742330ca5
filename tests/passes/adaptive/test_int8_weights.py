"""seerc-int8-weights: programs with 8-bit matrices against PyTorch models whose matrices are rounded alike."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compiler.frontend.model import ImportedModel, LoadedModel
from costmodel.errors import SeercError
from costmodel.facts import facts
from costmodel.in_place import kernel_use
from costmodel.workload import parse_workload
from passes.adaptive.arguments import main_function, weight_names
from passes.adaptive.int8_weights import Int8WeightsPass, rounded_to_int8, with_int8
from passes.base import PassContext, PassError
from passes.fusion import fuse
from passes.mlir import context, ir

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "fusion"))
from adaptive_models import loaded, relative_error
from fusion_evaluate import evaluate

TOLERANCE = 1e-5


def in_int8(imported: ImportedModel, *names: str) -> ImportedModel:
    with context():
        module = ir.Module.parse(imported.text)
        Int8WeightsPass(names).run(module.operation, PassContext())
        assert module.operation.verify()
        found = weight_names(main_function(module.operation, "test"))
        assert list(found) == list(range(len(found)))  # weights first
        return replace(imported, text=str(module), weights=with_int8(imported.weights, found.values()))


def reference(model: LoadedModel) -> np.ndarray:
    """The model in float64, every matrix but the embeddings rounded as the C type does, row by row of outputs."""
    module = copy.deepcopy(model.module)
    for linear in module.modules():
        if isinstance(linear, torch.nn.Linear) or type(linear).__name__ == "Conv1D":
            matrix = linear.weight.data.T if type(linear).__name__ == "Conv1D" else linear.weight.data
            scales = [row.abs().max().clamp(min=1e-12) / 127 for row in matrix]  # the padding token's row is zero
            fresh = torch.stack([torch.round(row / scale) * scale for row, scale in zip(matrix, scales, strict=True)])
            linear.weight = torch.nn.Parameter(fresh.T if type(linear).__name__ == "Conv1D" else fresh)
    with torch.no_grad():
        found: Any = module.double()(*map(torch.from_numpy, model.example_inputs))
    return found.numpy()


@pytest.mark.parametrize("name", ["llama", "gpt2", pytest.param("opt", marks=pytest.mark.slow)])
def test_all_matrices(name: str) -> None:
    model = loaded(name)
    imported = in_int8(model.imported)
    arrays = [*imported.weights.values(), *model.example_inputs]
    got = evaluate(imported.text, [np.ascontiguousarray(a) for a in arrays])[0]
    assert relative_error(got, reference(model)) < TOLERANCE


def test_rounding_keeps_the_layout_and_is_done_once() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(7, 5)).astype(np.float32).T
    matrix[2] = 0
    values, scale = rounded_to_int8(matrix, 0)
    assert (values.dtype, values.strides, scale.shape) == (np.int8, (1, 5), (5,))
    assert (np.abs(values).max(1)[[0, 1, 3, 4]] == 127).all()
    assert not values[2].any()
    back = values * scale[:, None]
    assert (np.abs(back - matrix) <= scale[:, None] / 2 * (1 + 1e-6)).all()
    again = rounded_to_int8(back, 0)[0]
    assert (again == values).all()
    assert (rounded_to_int8(matrix.T, 1)[0] == values.T).all()
    assert rounded_to_int8(np.array([[127, 0.5, 1.5, -2.5]], np.float32), 0)[0].tolist() == [[127, 0, 2, -2]]
    with pytest.raises(SeercError, match="infinite"):
        rounded_to_int8(np.array([[1, np.inf]], np.float32), 0)


SHARED = """
func.func @main(%w: tensor<8x8xf32> {seerc.weight = "w"}, %v: tensor<8xf32> {seerc.weight = "v"},
                %x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<4x8xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<4x8xf32>) -> tensor<4x8xf32>
  %y = linalg.matmul ins(%x, %w : tensor<4x8xf32>, tensor<8x8xf32>) outs(%f : tensor<4x8xf32>) -> tensor<4x8xf32>
  %z = linalg.matmul ins(%y, %w : tensor<4x8xf32>, tensor<8x8xf32>) outs(%f : tensor<4x8xf32>) -> tensor<4x8xf32>
  return %z : tensor<4x8xf32>
}"""


def applied(text: str, *names: str) -> str:
    with context():
        module = ir.Module.parse(text)
        Int8WeightsPass(names).run(module.operation, PassContext())
        return str(module)


def test_a_matrix_that_two_products_read_is_rounded_once() -> None:
    text = applied(SHARED)
    assert (text.count('"w.int8.1"'), text.count("arith.sitofp")) == (1, 2)
    assert applied(text) == text  # nothing is left in f32


@pytest.mark.parametrize("name", ["v", "u"])
def test_names_of_no_matrix(name: str) -> None:
    with pytest.raises(PassError, match=f"seerc-int8-weights: {name} is no f32 matrix"):
        applied(SHARED, "w", name)


def test_fused_it_is_a_contraction_that_streams_a_byte_an_element() -> None:
    with context(), ir.Location.unknown():
        module = ir.Module.parse(applied(SHARED))
        fuse(module)
        regions = [str(f) for f in module.body.operations if "seerc.kind" in f.attributes]
    assert len(regions) == 1  # both products, with the scale as an epilogue
    found = facts(parse_workload(regions[0]))
    assert (found.kind, found.columns_bytes, found.rows_bytes, found.macs) == ("contraction", 64, 128, 256)
    assert kernel_use(regions[0], 1.0).streamed_bytes == 64

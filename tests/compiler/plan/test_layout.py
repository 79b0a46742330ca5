"""Layouts: what costs a copy and what does not, on small fused modules."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.plan.assemble import KernelInfo, assemble
from compiler.plan.layout import plan_layout
from compiler.plan.steps import LoopStep, calls
from costmodel.errors import SeercError
from passes.mlir import context, ir

IDENTITY = "affine_map<(d0, d1) -> (d0, d1)>"


def region(name: str, shape: str, body: str = "%1 = arith.addf %in, %in : f32") -> str:
    rank = shape.count("x")
    dims = ", ".join(f"d{i}" for i in range(rank))
    kinds = ", ".join(['"parallel"'] * rank)
    return f"""
  func.func private @{name}(%arg0: tensor<{shape}>) -> tensor<{shape}> attributes {{seerc.kind = "elementwise"}} {{
    %e = tensor.empty() : tensor<{shape}>
    %0 = linalg.generic {{indexing_maps = [affine_map<({dims}) -> ({dims})>, affine_map<({dims}) -> ({dims})>],
        iterator_types = [{kinds}]}} ins(%arg0 : tensor<{shape}>) outs(%e : tensor<{shape}>) {{
    ^bb0(%in: f32, %out: f32):
      {body}
      linalg.yield %1 : f32
    }} -> tensor<{shape}>
    return %0 : tensor<{shape}>
  }}"""


def plan(main: str, *regions: str, weights: dict[str, np.ndarray] | None = None):
    with context(), ir.Location.unknown():
        return plan_layout(ir.Module.parse(f"module {{{main}{''.join(regions)}\n}}"), weights or {})


def kernels(planned):
    return [c for c in calls(planned.steps)]


def test_transposed_heads_collapse_without_a_copy():
    planned = plan(
        """
  func.func @main(%x: tensor<4x8x16xf32>) -> tensor<8x64xf32> {
    %0 = call @r(%x) : (tensor<4x8x16xf32>) -> tensor<4x8x16xf32>
    %e = tensor.empty() : tensor<8x4x16xf32>
    %1 = linalg.transpose ins(%0 : tensor<4x8x16xf32>) outs(%e : tensor<8x4x16xf32>) permutation = [1, 0, 2]
    %2 = tensor.collapse_shape %1 [[0], [1, 2]] : tensor<8x4x16xf32> into tensor<8x64xf32>
    %3 = call @s(%2) : (tensor<8x64xf32>) -> tensor<8x64xf32>
    return %3 : tensor<8x64xf32>
  }""",
        region("r", "4x8x16xf32"),
        region("s", "8x64xf32"),
    )
    first, second = kernels(planned)
    assert first.results[0].strides == (16, 64, 1)
    assert second.results[0].buffer == "out0"


def test_a_producer_writes_into_the_padded_buffer():
    planned = plan(
        """
  func.func @main(%x: tensor<4x4xf32>) -> tensor<6x6xf32> {
    %c = arith.constant 0.0 : f32
    %0 = call @r(%x) : (tensor<4x4xf32>) -> tensor<4x4xf32>
    %1 = tensor.pad %0 low[1, 1] high[1, 1] {
    ^bb0(%i: index, %j: index):
      tensor.yield %c : f32
    } : tensor<4x4xf32> to tensor<6x6xf32>
    return %1 : tensor<6x6xf32>
  }""",
        region("r", "4x4xf32"),
    )
    first, *slabs = kernels(planned)
    assert (first.results[0].buffer, first.results[0].offset, first.results[0].strides) == ("out0", 7, (6, 1))
    assert sorted(c.results[0].shape for c in slabs) == [(1, 6), (1, 6), (4, 1), (4, 1)]
    assert not any(c.inputs for c in slabs)


def test_concatenated_parts_are_written_in_place_and_a_shared_input_is_copied():
    planned = plan(
        """
  func.func @main(%x: tensor<2x4xf32>) -> tensor<4x4xf32> {
    %0 = call @r(%x) : (tensor<2x4xf32>) -> tensor<2x4xf32>
    %1 = tensor.concat dim(0) %0, %x : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<4x4xf32>
    return %1 : tensor<4x4xf32>
  }""",
        region("r", "2x4xf32"),
    )
    first, copy = kernels(planned)
    assert (first.results[0].buffer, first.results[0].offset) == ("out0", 0)
    assert (copy.inputs[0].buffer, copy.results[0].offset) == ("in0", 8)


def test_equal_calls_share_a_workload_and_other_strides_do_not():
    planned = plan(
        """
  func.func @main(%x: tensor<4x4xf32>) -> (tensor<4x4xf32>, tensor<4x4xf32>) {
    %0 = call @r(%x) : (tensor<4x4xf32>) -> tensor<4x4xf32>
    %1 = call @r(%0) : (tensor<4x4xf32>) -> tensor<4x4xf32>
    %e = tensor.empty() : tensor<4x4xf32>
    %t = linalg.transpose ins(%1 : tensor<4x4xf32>) outs(%e : tensor<4x4xf32>) permutation = [1, 0]
    %2 = call @r(%t) : (tensor<4x4xf32>) -> tensor<4x4xf32>
    return %1, %2 : tensor<4x4xf32>, tensor<4x4xf32>
  }""",
        region("r", "4x4xf32"),
    )
    a, b, c = kernels(planned)
    assert a.workload == b.workload != c.workload
    assert c.inputs[0].strides == (1, 4)


def test_a_loop_moves_its_slices():
    planned = plan(
        """
  func.func @main(%x: tensor<5x4xf32>, %h: tensor<4xf32>) -> tensor<5x4xf32> {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c5 = arith.constant 5 : index
    %e = tensor.empty() : tensor<5x4xf32>
    %r:2 = scf.for %i = %c0 to %c5 step %c1 iter_args(%y = %e, %s = %h) -> (tensor<5x4xf32>, tensor<4xf32>) {
      %a = tensor.extract_slice %x[%i, 0] [1, 4] [1, 1] : tensor<5x4xf32> to tensor<4xf32>
      %b = func.call @r(%a) : (tensor<4xf32>) -> tensor<4xf32>
      %z = tensor.insert_slice %b into %y[%i, 0] [1, 4] [1, 1] : tensor<4xf32> into tensor<5x4xf32>
      scf.yield %z, %b : tensor<5x4xf32>, tensor<4xf32>
    }
    return %r#0 : tensor<5x4xf32>
  }""",
        region("r", "4xf32"),
    )
    loops = [s for s in planned.steps if isinstance(s, LoopStep)]
    assert [s.count for s in loops] == [5]
    body = calls(loops)
    assert body[0].inputs[0].step_stride == 4
    assert body[0].results[0].step_stride == 4


def test_a_weight_of_another_shape_is_refused():
    main = """
  func.func @main(%w: tensor<4x4xf32> {seerc.weight = "w"}) -> tensor<4x4xf32> {
    %0 = call @r(%w) : (tensor<4x4xf32>) -> tensor<4x4xf32>
    return %0 : tensor<4x4xf32>
  }"""
    with pytest.raises(SeercError, match=r"'w' has shape \(2, 4\)"):
        plan(main, region("r", "4x4xf32"), weights={"w": np.zeros((2, 4), np.float32)})
    with pytest.raises(SeercError, match="has no array"):
        plan(main, region("r", "4x4xf32"))


DEPTHWISE = """
  func.func private @conv(%arg0: tensor<1x16x8x8xf32>, %arg1: tensor<16x3x3xf32>) -> tensor<1x16x6x6xf32>
      attributes {seerc.kind = "reduction"} {
    %z = arith.constant 0.0 : f32
    %e = tensor.empty() : tensor<1x16x6x6xf32>
    %f = linalg.fill ins(%z : f32) outs(%e : tensor<1x16x6x6xf32>) -> tensor<1x16x6x6xf32>
    %0 = linalg.generic {indexing_maps = [
          affine_map<(n, c, h, w, i, j) -> (n, c, h + i, w + j)>, affine_map<(n, c, h, w, i, j) -> (c, i, j)>,
          affine_map<(n, c, h, w, i, j) -> (n, c, h, w)>],
        iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction"]}
        ins(%arg0, %arg1 : tensor<1x16x8x8xf32>, tensor<16x3x3xf32>) outs(%f : tensor<1x16x6x6xf32>) {
    ^bb0(%a: f32, %b: f32, %c: f32):
      %1 = arith.mulf %a, %b : f32
      %2 = arith.addf %c, %1 : f32
      linalg.yield %2 : f32
    } -> tensor<1x16x6x6xf32>
    return %0 : tensor<1x16x6x6xf32>
  }"""


def test_a_depthwise_filter_lies_with_its_channels_last():
    main = """
  func.func @main(%w: tensor<16x1x3x3xf32> {seerc.weight = "w"}, %x: tensor<1x16x8x8xf32>) -> tensor<1x16x6x6xf32> {
    %v = tensor.collapse_shape %w [[0, 1], [2], [3]] : tensor<16x1x3x3xf32> into tensor<16x3x3xf32>
    %0 = call @conv(%x, %v) : (tensor<1x16x8x8xf32>, tensor<16x3x3xf32>) -> tensor<1x16x6x6xf32>
    return %0 : tensor<1x16x6x6xf32>
  }"""
    weight = np.arange(144, dtype=np.float32).reshape(16, 1, 3, 3)
    planned = plan(main, DEPTHWISE, weights={"w": weight})
    (call,) = kernels(planned)
    assert call.inputs[1].strides == (1, 48, 16)
    stored = next(assemble(planned, {call.workload: KernelInfo("k")}, {"w": weight}).arrays({"w": weight}))
    assert (stored.reshape(3, 3, 16) == weight[:, 0].transpose(1, 2, 0)).all()


def test_a_filter_with_another_reader_stays_as_it_is():
    main = """
  func.func @main(%w: tensor<16x3x3xf32> {seerc.weight = "w"}, %x: tensor<1x16x8x8xf32>)
      -> (tensor<1x16x6x6xf32>, tensor<16x3x3xf32>) {
    %0 = call @conv(%x, %w) : (tensor<1x16x8x8xf32>, tensor<16x3x3xf32>) -> tensor<1x16x6x6xf32>
    %1 = call @r(%w) : (tensor<16x3x3xf32>) -> tensor<16x3x3xf32>
    return %0, %1 : tensor<1x16x6x6xf32>, tensor<16x3x3xf32>
  }"""
    planned = plan(main, DEPTHWISE, region("r", "16x3x3xf32"), weights={"w": np.ones((16, 3, 3), np.float32)})
    assert kernels(planned)[0].inputs[1].strides == (9, 3, 1)
    assert not planned.orders


def test_an_op_outside_of_every_region_is_named():
    main = """
  func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
    %0 = tensor.cast %x : tensor<4xf32> to tensor<?xf32>
    %1 = tensor.cast %0 : tensor<?xf32> to tensor<4xf32>
    return %1 : tensor<4xf32>
  }"""
    with pytest.raises(SeercError, match=r"tensor\.cast"):
        plan(main)

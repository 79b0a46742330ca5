"""Counting a loop nest from its text: the same regions as the compiler reads, and operations as they are executed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from costmodel.counting import NAMES, count
from costmodel.region.read import read_workload
from costmodel.region.roles import split_columns
from costmodel.schedules import schedules
from costmodel.target import Target
from costmodel.workload import parse_workload
from passes.mlir import context, ir
from passes.region.read import read_region
from passes.tiling.candidate import read_template
from passes.tiling.space import VectorUnit
from passes.tiling.space import schedules as legal_schedules

SOFTMAX = """func.func @softmax(%a: tensor<48x200xf32>) -> tensor<48x200xf32> attributes {seerc.kind = "row"} {
  %low = arith.constant 0xFF800000 : f32
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<48xf32>
  %f = linalg.fill ins(%low : f32) outs(%e : tensor<48xf32>) -> tensor<48xf32>
  %m = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>],
      iterator_types = ["parallel", "reduction"]} ins(%a : tensor<48x200xf32>) outs(%f : tensor<48xf32>) {
  ^bb0(%x: f32, %o: f32):
    %y = arith.maximumf %x, %o : f32
    linalg.yield %y : f32
  } -> tensor<48xf32>
  %r = tensor.empty() : tensor<48x200xf32>
  %p = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>,
      affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}
      ins(%a, %m : tensor<48x200xf32>, tensor<48xf32>) outs(%r : tensor<48x200xf32>) {
  ^bb0(%x: f32, %n: f32, %o: f32):
    %d = arith.subf %x, %n : f32
    %y = math.exp %d : f32
    linalg.yield %y : f32
  } -> tensor<48x200xf32>
  %g = linalg.fill ins(%zero : f32) outs(%e : tensor<48xf32>) -> tensor<48xf32>
  %s = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>],
      iterator_types = ["parallel", "reduction"]}
      ins(%p : tensor<48x200xf32>) outs(%g : tensor<48xf32>) attrs = {seerc.root} {
  ^bb0(%x: f32, %o: f32):
    %y = arith.addf %x, %o : f32
    linalg.yield %y : f32
  } -> tensor<48xf32>
  %q = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>,
      affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}
      ins(%p, %s : tensor<48x200xf32>, tensor<48xf32>) outs(%r : tensor<48x200xf32>) {
  ^bb0(%x: f32, %t: f32, %o: f32):
    %y = arith.divf %x, %t : f32
    linalg.yield %y : f32
  } -> tensor<48x200xf32>
  return %q : tensor<48x200xf32>
}"""


SUM = """func.func @sum(%a: tensor<1024x8xf32>) -> tensor<8xf32> attributes {seerc.kind = "reduction"} {
  %zero = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<8xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<8xf32>) -> tensor<8xf32>
  %r = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j)>],
      iterator_types = ["reduction", "parallel"]} ins(%a : tensor<1024x8xf32>) outs(%f : tensor<8xf32>)
      attrs = {seerc.root} {
  ^bb0(%x: f32, %o: f32):
    %y = OP %x, %o : f32
    linalg.yield %y : f32
  } -> tensor<8xf32>
  return %r : tensor<8xf32>
}"""
ROTARY = """func.func @rotary(%a: tensor<4x2x32x40xf32> {seerc.strides = array<i64: 2560, 40, 80, 1>},
    %t: tensor<32x40xf32>) -> tensor<4x2x32x40xf32>
    attributes {seerc.kind = "elementwise"} {
  %e = tensor.empty() : tensor<4x2x32x40xf32>
  %r = linalg.generic {indexing_maps = [affine_map<(b, h, i, j) -> (b, h, i, j)>, affine_map<(b, h, i, j) -> (i, j)>,
      affine_map<(b, h, i, j) -> (b, h, i, j)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%a, %t : tensor<4x2x32x40xf32>, tensor<32x40xf32>) outs(%e : tensor<4x2x32x40xf32>) attrs = {seerc.root} {
  ^bb0(%x: f32, %c: f32, %o: f32):
    %y = arith.mulf %x, %c : f32
    linalg.yield %y : f32
  } -> tensor<4x2x32x40xf32>
  return %r : tensor<4x2x32x40xf32>
}"""


@pytest.fixture
def texts(matmul: Callable[..., str]) -> list[str]:
    return [matmul(50, 200, 300), matmul(1, 96, 64, gelu=True), SOFTMAX]


def test_text_and_mlir_are_read_as_the_same_region(texts: list[str]) -> None:
    for text in texts:
        ours = read_workload(parse_workload(text))
        with context(), ir.Location.unknown():
            theirs = read_region(ir.Module.parse(text))
        assert ours is not None
        assert (ours.extents, ours.inputs) == (theirs.extents, theirs.inputs)
        assert [r.dims for r in ours.reductions] == [r.dims for r in theirs.reductions]
        assert [s.address for s in ours.stores] == [s.address for s in theirs.stores]
        for pack in (True, False):
            a, b = (split_columns(region, 32, pack) for region in (ours, theirs))
            assert (a.columns, a.rows, a.batch, a.reduction) == (b.columns, b.rows, b.batch, b.reduction)
            assert a.region.extents == b.region.extents


def test_a_packed_product_is_counted_exactly(matmul: Callable[..., str]) -> None:
    some = schedules(["{rows = 5 : i64, vector = 8 : i64, vectors = 2 : i64}", "{rows = 4 : i64, vector = 8 : i64}"])
    found = count(parse_workload(matmul(50, 200, 300)), some, Target("any"))
    panels, rest = 200 // 16, 200 % 16 // 8  # one more panel, of one vector
    assert found["total_fma"].tolist() == [300 * 50 * (panels * 2 + rest), 300 * 50 * 25]
    assert found["inner_fma"].tolist() == [10, 4]
    assert found["inner_load"].tolist() == [2, 1]
    assert found["inner_broadcast"].tolist() == [5, 4]
    assert found["accumulators"].tolist() == [10, 4]
    assert found["total_store"].tolist() == [50 * (panels * 2 + rest), 50 * 25]
    assert found["remainder_rows"].tolist() == [0, 2]


def test_every_legal_schedule_has_finite_counts(texts: list[str], target: Target) -> None:
    for text in texts:
        template = read_template(text)
        assert template.region is not None
        options = legal_schedules(template.region, VectorUnit(8, 16))
        found = count(parse_workload(text), schedules([str(s) for s in options]), target)
        assert set(found) == set(NAMES)
        assert all(np.isfinite(v).all() and (v >= 0).all() for v in found.values())
        assert found["readable"].all()
        assert (found["bound_ns"] > 0).all()


def test_an_exponential_of_a_softmax_is_computed_once(target: Target) -> None:
    found = count(parse_workload(SOFTMAX), schedules(['{algorithm = "row", vector = 8 : i64}']), target)
    assert found["sweeps"].tolist() == [3]
    assert found["total_exp"].tolist() == [48 * 25]
    assert found["total_minmax"].tolist() == [48 * 25]


@pytest.mark.parametrize(("op", "wait"), [("arith.addf", 8.0), ("arith.minimumf", 14.0)])
def test_a_sum_waits_for_its_accumulator(op: str, wait: float, target: Target) -> None:
    some = schedules(["{vector = 8 : i64, pack = false}", "{vector = 4 : i64, pack = false}"])
    found = count(parse_workload(SUM.replace("OP", op)), some, target)
    np.testing.assert_allclose(found["chain_ns"] / found["unit_ns"], [1024 * wait, 2 * 1024 * wait])
    assert found["chain_ns"][0] > found["arithmetic_ns"][0]


def test_short_chains_of_many_tiles_overlap(matmul: Callable[..., str], target: Target) -> None:
    some = schedules(["{rows = 4 : i64, vector = 8 : i64, vectors = 2 : i64}"])
    short, long = (count(parse_workload(matmul(64, 64, k)), some, target) for k in (4, 1024))
    assert short["chain_ns"][0] / short["steps"][0] < 0.3 * long["chain_ns"][0] / long["steps"][0]


def test_a_table_that_unrolled_loops_share_stays_in_registers(target: Target) -> None:
    some = schedules(["{vector = 16 : i64, pack = false}", "{vector = 8 : i64, vectors = 2 : i64, pack = false}"])
    found = count(parse_workload(ROTARY), some, target)
    assert found["llvm_rounds"].tolist() == [2, 2]
    # The loop that is left goes over heads, which share the table's 32 rows of 2 vectors; or over panels, which do not.
    assert found["kept_loads"].tolist() == [64, 0]


def test_a_larger_cache_moves_less(matmul: Callable[..., str]) -> None:
    workload = parse_workload(matmul(512, 1024, 1024))
    some = schedules(["{rows = 6 : i64, vector = 8 : i64, vectors = 2 : i64, row_tile = 96 : i64}"])
    small, large = (count(workload, some, Target("any", l1_bytes=n)) for n in (16 << 10, 1 << 20))
    assert large["from_l1"][0] < small["from_l1"][0]
    assert count(workload, some, Target("any", l3_bytes=1 << 30))["memory_ns"].tolist() == [0]

"""The schedule space: the heuristic first, no repeats, and every schedule of it computes the right thing."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.emit.tile import emit_tile
from passes.mlir import context, ir
from passes.region.read import read_region
from passes.region.structure import UnsupportedRegion
from passes.tiling.candidate import read_template
from passes.tiling.schedule import Schedule
from passes.tiling.select import read_space
from passes.tiling.space import Family, VectorUnit, family, heuristic, schedules
from tests.compiler.emit.harness import Tensor, close, filled, generic, module, run

UNIT = VectorUnit(16, 32)


def row_maximum_subtracted(how: Schedule, rows: int = 6, columns: int = 40) -> str:
    """x - max(x) along the last dimension: one reduction, and a result that runs along it."""
    x, m = Tensor((rows, columns)), Tensor((rows,))
    body = filled("%i", m, "0xFF800000") + f"%e = tensor.empty() : {x.type}\n"
    maximum = "%y = arith.maximumf %a0, %o : f32\nyield %y"
    body += generic("%m", [("%0", x, "d0, d1")], ("%i", m, "d0"), "pr", maximum, root=True)
    difference = "%y = arith.subf %a0, %a1 : f32\nyield %y"
    body += generic("%r", [("%0", x, "d0, d1"), ("%m", m, "d0")], ("%e", x, "d0, d1"), "pp", difference)
    return module([x], [x], body + f"return %r : {x.type}", how, "row")


def matmul(how: Schedule, m: int = 13, n: int = 50, k: int = 24) -> str:
    a, b, c = Tensor((m, k)), Tensor((k, n)), Tensor((m, n))
    update = "%p = arith.mulf %a0, %a1 : f32\n%y = arith.addf %o, %p : f32\nyield %y"
    body = filled("%i", c, "0.0")
    body += generic("%r", [("%0", a, "d0, d2"), ("%1", b, "d2, d1")], ("%i", c, "d0, d1"), "ppr", update, root=True)
    return module([a, b], [c], body + f"return %r : {c.type}", how, "contraction")


def options(text: str) -> list[Schedule]:
    region = read_template(text).region
    assert region is not None
    return schedules(region, UNIT)


def test_the_heuristic_comes_first_and_nothing_repeats():
    text = matmul(Schedule())
    region = read_template(text).region
    assert region is not None
    found = schedules(region, UNIT)
    assert found[0] == heuristic(region, UNIT)
    assert len(found) == len(set(found)) > 50


def test_a_thinned_space_keeps_the_heuristic_and_the_widest_vectors():
    space = read_space(matmul(Schedule("plain")), UNIT)
    few, all_wide = space.thinned(24), space.thinned(10_000)
    assert few.schedules[0] == space.schedules[0]
    assert len(few.schedules) == 24 == len(set(few.schedules))
    assert {s.vector for s in few.schedules} == {16} < {s.vector for s in space.schedules}
    assert set(few.schedules) < set(all_wide.schedules) < set(space.schedules)


def test_a_result_along_the_reduced_dimension_needs_the_row_emitter():
    text = row_maximum_subtracted(Schedule("row"))
    region = read_template(text).region
    assert region is not None
    assert family(region) is Family.ROW
    with context(), ir.Location.unknown():
        module_ = ir.Module.parse(row_maximum_subtracted(Schedule()))
        with pytest.raises(UnsupportedRegion, match="along the reduced dimension"):
            emit_tile(read_region(module_), Schedule())


def test_every_row_schedule_is_right():
    x = np.random.default_rng(0).standard_normal((6, 40)).astype(np.float32)
    for how in options(row_maximum_subtracted(Schedule("row"))):
        (got,) = run(row_maximum_subtracted(how), x)
        close(got, x - x.max(axis=1, keepdims=True))


def test_a_sample_of_the_matmul_schedules_is_right():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((13, 24)).astype(np.float32), rng.standard_normal((24, 50)).astype(np.float32)
    for how in options(matmul(Schedule()))[::25]:
        (got,) = run(matmul(how), a, b)
        close(got, a.astype(np.float64) @ b.astype(np.float64))

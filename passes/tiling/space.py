"""The legal schedules of a region, and the fixed heuristic among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from passes.region.expression import Load, walk
from passes.region.read import Region
from passes.region.rewrite import drop_unit_dims, merge_dims, roots
from passes.region.roles import Loops, find_roles, split_columns
from passes.tiling.schedule import Schedule


@dataclass(frozen=True)
class VectorUnit:
    """What schedules need to know of a machine: f32 lanes of a vector register and the number of registers."""

    lanes: int = 8
    registers: int = 16


def heuristic(region: Region, unit: VectorUnit) -> Schedule:
    """A fixed choice that is good for most regions: what `--cost-model none` uses."""
    if _wants_row(region):
        return Schedule("row", vector=_lanes(_reduced(region), unit), vectors=2, pack=False)
    extents = _extents(region, unit.lanes)
    lanes = _lanes(extents.columns, unit)
    columns = -(-extents.columns // lanes)
    if not region.reductions:
        return Schedule("direct", vector=lanes, vectors=min(4, columns), rows=1, pack=False)
    if find_roles(drop_unit_dims(region)).packable is None:
        return Schedule("direct", vector=lanes, vectors=min(2, columns), rows=min(4, extents.rows), pack=False)
    vectors = min(2 if extents.rows > 2 else 4, columns)
    rows = min((unit.registers - vectors - 2) // vectors, extents.rows)
    tiles = -(-extents.rows // rows)
    rows = -(-extents.rows // tiles)
    return Schedule("direct", vector=lanes, vectors=vectors, rows=rows, pack=True)


@dataclass(frozen=True)
class Extents:
    """Trip counts by part of the loop nest, after merging."""

    columns: int
    rows: int
    reduction: int


def _extents(region: Region, width: int, pack: bool = True) -> Extents:
    loops = split_columns(region, width, pack)
    return loop_extents(loops)


def loop_extents(loops: Loops) -> Extents:
    reduction = 1
    for dim in loops.reduction:
        reduction *= loops.region.extents.get(dim, 1)
    return Extents(loops.columns, loops.region.extents.get(loops.rows, 1), reduction)


def _lanes(extent: int, unit: VectorUnit) -> int:
    """A full vector, or the smallest power of two that holds a shorter extent."""
    lanes = unit.lanes
    while lanes > 1 and lanes // 2 >= extent:
        lanes //= 2
    return lanes


def _wants_row(region: Region) -> bool:
    """Several reductions, or one whose operand is contiguous along the reduced dimension and not a contraction."""
    if len(region.reductions) != 1:
        return len(region.reductions) > 1
    small = merge_dims(drop_unit_dims(region))
    if not small.reductions[0].dims:
        return False
    if find_roles(drop_unit_dims(region)).packable is not None:
        return False
    (reduction,) = small.reductions
    loads = [e for e in walk(*roots(small)) if isinstance(e, Load)]
    along = [e.address.coefficient(reduction.dims[-1]) for e in loads if set(reduction.dims) & e.address.dims()]
    stores = [s.address for s in small.stores]
    return bool(along) and all(c == 1 for c in along) and not any(c == 1 for s in stores for _, c in s.terms if along.count(1) == 0)


def _reduced(region: Region) -> int:
    small = merge_dims(drop_unit_dims(region))
    extents = [small.extents[r.dims[-1]] for r in small.reductions if r.dims]
    return max(extents, default=1)


def schedules(region: Region, unit: VectorUnit) -> Iterator[Schedule]:
    """Every schedule worth considering, the heuristic's first."""
    first = heuristic(region, unit)
    yield first

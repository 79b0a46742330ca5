"""The legal schedules of a region, and the fixed heuristic among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from itertools import product
from math import prod

from costmodel.region.expression import Load, walk
from costmodel.region.region import Region
from costmodel.region.rewrite import drop_unit_dims, merge_dims, stores_reduced
from costmodel.region.roles import find_roles, split_columns
from passes.region.winograd import match_winograd
from passes.tiling.schedule import Schedule

SPILL_SLACK = 4
"""Register tiles may need this many registers more than there are: the cost model shall see, and avoid, spills."""


PARALLEL_POINTS = 1 << 15
"""Loop iterations below which a kernel stays on one thread: some 5 us of vector work, the price of waking threads."""


@dataclass(frozen=True)
class VectorUnit:
    """What schedules need to know of a machine: f32 lanes of a vector register and the number of registers."""

    lanes: int = 8
    registers: int = 16


class Family(Enum):
    """How a region may be computed; each family has its own schedule parameters."""

    ELEMENTWISE = "elementwise"
    CONTRACTION = "contraction"
    REDUCTION = "reduction"
    ROW = "row"


@dataclass(frozen=True)
class Extents:
    """Trip counts by part of the loop nest, after merging."""

    columns: int
    rows: int
    reduction: int


def family(region: Region) -> Family:
    """The family of a region that the emitters can express."""
    if not region.reductions:
        return Family.ELEMENTWISE
    if len(region.reductions) > 1 or stores_reduced(region):
        return Family.ROW
    if find_roles(drop_unit_dims(region)).packable is not None:
        return Family.CONTRACTION
    return Family.ROW if _reduces_lanes(region) else Family.REDUCTION


def extents_of(region: Region, width: int, pack: bool) -> Extents:
    """The extents that a register tile divides."""
    loops = split_columns(region, width, pack)
    extents = loops.region.extents
    return Extents(loops.columns, extents.get(loops.rows, 1), prod(extents.get(d, 1) for d in loops.reduction))


def heuristic(region: Region, unit: VectorUnit) -> Schedule:
    """A fixed choice that is good for most regions: what `--cost-model none` uses."""
    return replace(_heuristic(region, unit), parallel=_worth_threads(region))


def schedules(region: Region, unit: VectorUnit) -> list[Schedule]:
    """Every schedule worth considering, without repeats, the heuristic's first."""
    spaces = {
        Family.ELEMENTWISE: _elementwise,
        Family.ROW: _row,
        Family.REDUCTION: _reduction,
        Family.CONTRACTION: _contraction,
    }
    parallel = _worth_threads(region)
    options = [_threaded(s, parallel) for s in spaces[family(region)](region, unit)]
    return list(dict.fromkeys([heuristic(region, unit), *options]))


@lru_cache(maxsize=1 << 16)
def _threaded(schedule: Schedule, parallel: bool) -> Schedule:
    """The regions of a model share most schedules: each is made, and printed, once."""
    return replace(schedule, parallel=parallel)


def _worth_threads(region: Region) -> bool:
    """Whether starting threads costs less than it saves: known from the size alone, as labels are of one thread."""
    return prod(region.extents.values()) >= PARALLEL_POINTS


def _heuristic(region: Region, unit: VectorUnit) -> Schedule:
    kind = family(region)
    if kind is Family.ROW:
        return Schedule("row", vector=_lanes(_reduced_extent(region), unit), vectors=2, pack=False)
    pack = kind is Family.CONTRACTION
    extents = extents_of(region, unit.lanes, pack)
    lanes = _lanes(extents.columns, unit)
    columns = -(-extents.columns // lanes)
    if kind is Family.ELEMENTWISE:
        return Schedule(vector=lanes, vectors=min(4, columns), pack=False)
    if kind is Family.REDUCTION:
        return Schedule(vector=lanes, vectors=min(2, columns), rows=min(4, extents.rows), pack=False)
    vectors = min(2 if extents.rows > 2 else 4, columns)
    rows = _balanced(extents.rows, (unit.registers - vectors - 2) // vectors)
    return Schedule(vector=lanes, vectors=vectors, rows=rows)


def _elementwise(region: Region, unit: VectorUnit) -> Iterator[Schedule]:
    columns = extents_of(region, unit.lanes, False).columns
    for lanes, vectors in product(_lane_choices(columns, unit), (1, 2, 4)):
        if vectors == 1 or vectors * lanes <= columns:
            yield Schedule(vector=lanes, vectors=vectors, pack=False)


def _row(region: Region, unit: VectorUnit) -> Iterator[Schedule]:
    extent = _reduced_extent(region)
    for lanes, vectors, rows in product(_lane_choices(extent, unit), (1, 2, 4), (1, 2, 4)):
        if vectors == 1 or vectors * lanes <= extent:
            yield Schedule("row", vector=lanes, vectors=vectors, rows=rows, pack=False)


def _reduction(region: Region, unit: VectorUnit) -> Iterator[Schedule]:
    extents = extents_of(region, unit.lanes, False)
    for lanes in _lane_choices(extents.columns, unit):
        for vectors, rows, unroll in product((1, 2, 4), (1, 2, 3, 4, 6, 8), (1, 3)):
            fits = (
                vectors * rows + vectors + 1 <= unit.registers and rows <= extents.rows and unroll <= extents.reduction
            )
            if fits and (vectors == 1 or vectors * lanes <= extents.columns):
                yield Schedule(vector=lanes, vectors=vectors, rows=rows, unroll=unroll, pack=False)


def _contraction(region: Region, unit: VectorUnit) -> Iterator[Schedule]:
    for pack in (True, False):
        if pack or _columns_contiguous(region):
            yield from _direct(extents_of(region, unit.lanes, pack), unit, pack)
    if match_winograd(region) is not None:
        yield from _winograd(region, unit)


@lru_cache(maxsize=1 << 10)
def _direct(extents: Extents, unit: VectorUnit, pack: bool) -> tuple[Schedule, ...]:
    return tuple(_register_tiles(extents, unit, pack))


def _register_tiles(extents: Extents, unit: VectorUnit, pack: bool) -> Iterator[Schedule]:
    for lanes, vectors in product(_lane_choices(extents.columns, unit), (1, 2, 3, 4, 6)):
        if vectors > 1 and (vectors - 1) * lanes >= extents.columns:
            continue
        for rows in _row_choices(extents.rows, (unit.registers + SPILL_SLACK - vectors - 1) // vectors):
            base = Schedule(vector=lanes, vectors=vectors, rows=rows, pack=pack)
            for unroll in (1, 2, 4):
                if unroll <= extents.reduction:
                    yield replace(base, unroll=unroll)
            if extents.rows > rows and extents.columns > vectors * lanes:
                yield replace(base, order="rows-columns")
                yield from (replace(base, row_tile=n * rows) for n in (4, 16) if n * rows < extents.rows)


def _winograd(region: Region, unit: VectorUnit) -> Iterator[Schedule]:
    shape = match_winograd(region)
    assert shape is not None
    for outputs, vectors in product((2, 4), (2, 3, 4)):
        tiles = prod(shape.tiles(outputs))
        for rows in _row_choices(tiles, (unit.registers - vectors - 1) // vectors):
            if rows >= min(4, tiles):
                base = Schedule(f"winograd{outputs}", vector=unit.lanes, vectors=vectors, rows=rows)
                yield base
                yield from (replace(base, row_tile=n * rows) for n in (2, 4) if n * rows < tiles and n * rows <= 56)


def _lanes(extent: int, unit: VectorUnit) -> int:
    """A full vector, or the smallest power of two that holds a shorter extent."""
    lanes = unit.lanes
    while lanes > 1 and lanes // 2 >= extent:
        lanes //= 2
    return lanes


def _lane_choices(extent: int, unit: VectorUnit) -> list[int]:
    full = _lanes(extent, unit)
    return [full, full // 2] if full >= 8 else [full]


def _balanced(extent: int, most: int) -> int:
    """Rows of a register tile, at most `most`, so that the tiles of `extent` are as equal as can be."""
    tiles = -(-extent // max(most, 1))
    return -(-extent // tiles)


def _row_choices(extent: int, most: int) -> list[int]:
    """Balanced tiles for every number of tiles down to `most` rows, and a few small ones."""
    small = [n for n in (1, 2, 3, 4, 6, 8, 12) if n <= min(extent, most)]
    balanced = {_balanced(extent, limit) for limit in range(max(most // 2, 1), most + 1)}
    return sorted({*small, *(n for n in balanced if n <= most)})


def _columns_contiguous(region: Region) -> bool:
    """Whether vectors of the operand that varies along the columns can be loaded where it lies."""
    region = drop_unit_dims(region)
    roles = find_roles(region)
    loads = [e for r in region.reductions for e in walk(r.update) if isinstance(e, Load)]
    return all(e.address.coefficient(roles.columns) == 1 for e in loads if e.argument == roles.packable)


def _reduces_lanes(region: Region) -> bool:
    """Whether the reduced dimension is where the operands are contiguous, so that lanes should run along it."""
    small = merge_dims(drop_unit_dims(region))
    (reduction,) = small.reductions
    if not reduction.dims:
        return False
    loads = [e for e in walk(reduction.update) if isinstance(e, Load)]
    along = [e for e in loads if e.address.coefficient(reduction.dims[-1]) == 1]
    return len(along) > 0 and len(along) >= len([e for e in loads if set(reduction.dims) & e.address.dims()])


def _reduced_extent(region: Region) -> int:
    small = merge_dims(drop_unit_dims(region))
    return max((small.extents[r.dims[-1]] for r in small.reductions if r.dims), default=1)

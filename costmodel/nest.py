"""The loop nest that a schedule makes of a workload, counted instead of emitted.

What the emitters (compiler/emit) write per register tile depends on two things alone: which loops each value of the
region varies with, and the tile's vectors and rows. So a `Pattern` counts operations by class and by what they vary
with, once, and every schedule's counts follow by arithmetic on arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod

import numpy as np

from costmodel.operations import (
    CLASS_AT,
    CLASSES,
    EXPENSIVE,
    constants,
    group,
    latency_chain,
    most_alive,
    product,
)
from costmodel.region.expression import Accumulator, Apply, Constant, Expr, Gather, Index, Load, Reduced, walk
from costmodel.region.linear import Linear
from costmodel.region.region import Region
from costmodel.region.rewrite import drop_unit_dims, merge_dims, roots
from costmodel.region.roles import LANE, PANEL, split_columns
from costmodel.schedules import Array

WHERES = ("inner", "hoisted", "after")
"""In the innermost loop; before it, once a tile; after it, once a tile."""


@dataclass(frozen=True)
class Access:
    """One load or store: its stride in elements along each loop, and bytes of an element and of all it may touch."""

    strides: dict[str, int]
    element_bytes: int
    span_bytes: int
    store: bool


@dataclass(frozen=True)
class Pattern:
    """One region cut into panels."""

    counts: Array
    """Shape (len(WHERES), len(CLASSES), 4): per tile and step, what varies with nothing, lanes, rows, both."""
    columns: int
    rows: int
    batch: int
    reduction: int
    """Steps of all reduction loops."""
    inner: int
    """Steps of the innermost loop of a tile; 0 where that goes over the panels."""
    sweeps: int
    chain: float
    """What one step of all sweeps waits for the accumulators of the step before, in multiply-adds of throughput."""
    live: tuple[int, int]
    """Most values alive at once while one point of the innermost body and of the rest is computed in order."""
    constants: tuple[int, int]
    """Distinct constants of the innermost body and of the rest."""
    accesses: tuple[Access, ...]
    loops: dict[str, int]
    """Extent of every loop; PANEL and LANE for the columns."""
    row_loop: str
    reduction_loops: tuple[str, ...]
    overlaps: float
    """1 if neighbouring rows read at the next step what this row reads now (a window): the value stays in registers."""


def tile_pattern(region: Region, vector: int, pack: bool) -> Pattern:
    """The pattern of `direct` and `transform` schedules with vectors of `vector` elements, however wide the panels."""
    loops = split_columns(region, vector, pack)
    split = loops.region
    reduction = [d for d in loops.reduction if d in split.extents]
    outer = loops.rows or PANEL
    inner = reduction[-1] if reduction else outer if split.extents.get(outer, 1) > 1 else PANEL
    count = _Counter(loops.rows, (LANE,), vector)
    updates = [r.update for r in split.reductions]
    first = [r.init for r in split.reductions]
    rest = [s.value for s in split.stores]
    depth = {inner} if reduction else {inner, "*"}
    for update in updates if reduction else rest:
        count.add([update], lambda d: 0 if d & depth or "*" in d else 1)
    if reduction:
        count.add([*first, *rest], lambda _: 2)
    count.stores([s.address for s in split.stores], 2 if reduction else 0)
    bodies = (updates, [*first, *rest]) if reduction else (rest, first)
    extents = split.extents
    return Pattern(
        counts=count.table,
        columns=loops.columns,
        rows=extents.get(loops.rows, 1),
        batch=prod(extents[d] for d in loops.batch),
        reduction=prod(extents[d] for d in reduction),
        inner=0 if inner == PANEL else extents.get(inner, 1),
        sweeps=1,
        chain=latency_chain(updates),
        live=(most_alive(bodies[0]), most_alive(bodies[1])),
        constants=(constants(bodies[0]), constants(bodies[1])),
        accesses=tuple(_accesses(split)),
        loops=extents,
        row_loop=loops.rows,
        reduction_loops=tuple(reduction),
        overlaps=float(bool(reduction) and _overlaps(split, loops.rows, inner)),
    )


def row_pattern(region: Region, vector: int) -> Pattern:
    """The pattern of `row` schedules: lanes along the reduced loops, one sweep for each level of dependence."""
    region = merge_dims(drop_unit_dims(region))
    reduced = {d for r in region.reductions for d in r.dims}
    forms = [e.address for e in walk(*roots(region)) if isinstance(e, Load)] + [s.address for s in region.stores]
    dims = [d for d in region.extents if d in reduced]
    lane = max(dims, key=lambda d: (sum(f.coefficient(d) == 1 for f in forms), region.extents[d]), default="")
    rows = next((d for d in reversed(region.extents) if d not in reduced), "")
    levels: list[int] = []
    for r in region.reductions:
        levels.append(_level([r.init, r.update], levels))
    stores = [(s, _level([s.value], levels)) for s in region.stores if s.address.dims() & reduced]
    sweeps = 1 + max([*levels, *[n for _, n in stores]], default=0)
    count = _Counter(rows, tuple(reduced), vector, keep=True)
    inner: list[Expr] = []
    chain = 0.0
    for sweep in range(sweeps):
        updates = [r.update for r, n in zip(region.reductions, levels, strict=True) if n == sweep]
        written = [s for s, n in stores if n == sweep]
        inner += [*updates, *(s.value for s in written)]
        chain += latency_chain(updates)
        count.add([*updates, *(s.value for s in written)], lambda d: 0 if d & reduced or "+" in d else 1)
        count.stores([s.address for s in written], 0)
    last = [s for s in region.stores if not s.address.dims() & reduced]
    count.add([s.value for s in last] + [r.init for r in region.reductions], lambda _: 2)
    count.stores([s.address for s in last], 2)
    extents = region.extents
    return Pattern(
        counts=count.table,
        columns=extents.get(lane, 1),
        rows=extents.get(rows, 1),
        batch=prod(n for d, n in extents.items() if d not in reduced and d != rows),
        reduction=prod(extents[d] for d in reduced if d != lane),
        inner=extents.get(lane, 1),
        sweeps=sweeps,
        chain=chain,
        live=(most_alive(inner), most_alive([s.value for s in last])),
        constants=(constants(inner), constants([s.value for s in last])),
        accesses=tuple(_accesses(region)),
        loops={(LANE if d == lane else d): n for d, n in extents.items()},
        row_loop=rows,
        reduction_loops=tuple(d for d in reduced if d != lane),
        overlaps=0.0,
    )


def _level(found: list[Expr], levels: list[int]) -> int:
    """The first sweep in which all of `found` can be computed."""
    return max((levels[e.reduction] + 1 for e in walk(*found) if isinstance(e, Reduced)), default=0)


class _Counter:
    """Counts the nodes of expressions, each once, into a table by place, class and what they vary with."""

    def __init__(self, rows: str, lanes: tuple[str, ...], vector: int, keep: bool = False) -> None:
        self.rows, self.lanes, self.vector, self.keep = rows, set(lanes), vector, keep
        self.table = np.zeros((len(WHERES), len(CLASSES), 4))
        self.memo: dict[int, frozenset[str]] = {}
        self.kept: set[int] = set()

    def depends(self, expr: Expr) -> frozenset[str]:
        """Loops that a value varies with; `*` for accumulators and finished reductions, `+` for accumulators alone."""
        if id(expr) not in self.memo:
            self.memo[id(expr)] = self._depends(expr)
        return self.memo[id(expr)]

    def _depends(self, expr: Expr) -> frozenset[str]:
        match expr:
            case Load(_, address, _):
                return address.dims()
            case Index(form, _):
                return form.dims()
            case Gather(_, address, dynamic, _):
                return address.dims().union(*[self.depends(e) for e, _, _ in dynamic])
            case Apply(_, operands, _):
                return frozenset[str]().union(*[self.depends(e) for e in operands])
            case Accumulator():
                return frozenset({"*", "+"})
            case Reduced():
                return frozenset({self.rows}) if self.keep else frozenset({"*"})
            case Constant():
                return frozenset()

    def add(self, found: list[Expr], where: Callable[[frozenset[str]], int]) -> None:
        """Counts every node below `found`; a multiply-add into an accumulator is one operation."""
        fused = {id(p) for e in walk(*found) for p in product(e)}
        for expr in self._walk(found):
            if isinstance(expr, (Load, Gather, Apply)) and id(expr) not in fused:
                depends = self.depends(expr)
                name, amount = self._class(expr, depends, bool(product(expr)))
                self.table[where(depends), CLASS_AT[name], self._column(depends)] += amount

    def stores(self, addresses: Iterable[Linear], where: int) -> None:
        """Counts what is written."""
        for address in addresses:
            depends = address.dims()
            along = [address.coefficient(d) for d in self.lanes if d in depends]
            name, amount = ("store", 1) if not along or 1 in along else ("scatter", self.vector)
            self.table[where, CLASS_AT[name], self._column(depends)] += amount

    def _walk(self, found: list[Expr]) -> list[Expr]:
        """Nodes below `found`; of an earlier sweep's expensive values only the load of what it kept."""
        if not self.keep:
            return walk(*found)
        nodes = [e for e in walk(*found) if id(e) not in self.kept]
        again = [e for e in walk(*found) if id(e) in self.kept]
        self.table[0, CLASS_AT["load"], 3] += min(1, len(again))
        self.table[0, CLASS_AT["store"], 3] += min(1, len(again))
        self.kept |= {id(e) for e in nodes if isinstance(e, Apply) and group(e) in EXPENSIVE}
        return nodes

    def _class(self, expr: Load | Gather | Apply, depends: frozenset[str], fused: bool) -> tuple[str, int]:
        if isinstance(expr, Apply):
            return ("fma" if fused else group(expr)), 1
        if isinstance(expr, Gather):
            return "gather", self.vector
        along = [expr.address.coefficient(d) for d in self.lanes if d in depends]
        return ("broadcast", 1) if not along else ("load", 1) if 1 in along else ("strided", self.vector)

    def _column(self, depends: frozenset[str]) -> int:
        lane = bool(depends & self.lanes) or "*" in depends
        row = bool(self.rows) and (self.rows in depends or "*" in depends)
        return lane + 2 * row


def _overlaps(region: Region, rows: str, inner: str) -> bool:
    loads = [e for r in region.reductions for e in walk(r.update) if isinstance(e, Load)]
    return any(e.address.coefficient(rows) == e.address.coefficient(inner) != 0 for e in loads)


def _accesses(region: Region) -> Iterable[Access]:
    """Loads, each place once, and stores."""
    places = {(e.argument, e.address) for e in walk(*roots(region)) if isinstance(e, (Load, Gather))}
    for stored, found in ((False, places), (True, {(s.argument, s.address) for s in region.stores})):
        for argument, address in sorted(found, key=lambda place: (place[0], place[1].constant, place[1].terms)):
            size = _BYTES.get(str(region.arguments[argument].type), 4)
            yield Access(dict(address.terms), size, region.arguments[argument].span() * size, stored)


_BYTES = dict(i1=1, i8=1, f16=2, bf16=2, i32=4, f32=4, i64=8, f64=8, index=8)

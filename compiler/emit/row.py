"""Emits `row` schedules: reductions along the vector lanes and the elementwise work around them (softmax, norms).

All loops that no reduction runs over are rows. A row is swept once for each reduction that depends on an earlier one;
each sweep keeps `vectors` vectors of partial results, which are combined at its end.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from compiler.emit.builder import Point
from compiler.emit.combine import across_lanes, combine, combine_all, combiner, flags, neutral
from compiler.emit.evaluate import ExpressionBuilder, Memo
from compiler.emit.kernel import Kernel
from compiler.emit.nest import Nest
from compiler.emit.sweep import Op, RowPlan, Sweep, plan_row
from costmodel.region.expression import Accumulator, Apply, Constant, Expr, Load, Reduced, Reduction, walk
from costmodel.region.linear import Linear
from costmodel.region.region import Region
from costmodel.region.rewrite import drop_unit_dims, merge_dims, roots, substitute
from passes.mlir import ir
from passes.region.structure import UnsupportedRegion
from passes.tiling.schedule import Schedule

ROW, ROW_TILE, ONE = "row", "row_tile", "one"


def emit_row(region: Region, schedule: Schedule) -> Kernel:
    """The kernel of a region whose reductions all run over the same loops; UnsupportedRegion if they do not."""
    if not region.reductions:
        raise UnsupportedRegion(f"{region.name}: the row schedule needs a reduction")
    region = merge_dims(drop_unit_dims(region))
    reduced = frozenset(region.reductions[0].dims)
    if any(frozenset(r.dims) != reduced for r in region.reductions):
        raise UnsupportedRegion(f"{region.name}: the reductions run over different loops")
    if not reduced:
        region, reduced = _one_step(region), frozenset({ONE})
    lane = _lane(region, reduced)
    region = replace(region, reductions=tuple(_flagged(r) for r in region.reductions))
    lanes = _lanes(schedule.vector, region.extents[lane])
    width = lanes * schedule.vectors
    resident = len(reduced) == 1 and region.extents[lane] <= width
    rows = next((d for d in reversed(region.extents) if d not in reduced), "")
    region, extent = _split_rows(region, rows, schedule.rows)
    plan = plan_row(region, reduced, not resident)
    kinds = [(a.span(), a.type) for a in region.arguments]
    b = ExpressionBuilder(region.name, [*kinds, (plan.scratch, ir.F32Type.get())])
    _Rows(b, region, plan, lane, reduced, lanes, width, extent).emit(schedule.parallel)
    return Kernel(region.name, b.finish(), None, plan.scratch * 4)


def _one_step(region: Region) -> Region:
    """A reduction over nothing becomes one over a single step."""
    reductions = tuple(replace(r, dims=(ONE,)) for r in region.reductions)
    return replace(region, reductions=reductions, extents=region.extents | {ONE: 1})


def _flagged(reduction: Reduction) -> Reduction:
    name, update = combiner(reduction), reduction.update
    if isinstance(update, Apply) and flags(name):
        return replace(reduction, update=replace(update, op=Op(name, flags(name))))
    return reduction


def _lane(region: Region, reduced: frozenset[str]) -> str:
    """The reduced dimension along which most accesses are contiguous."""
    forms = [e.address for e in walk(*roots(region)) if isinstance(e, Load)] + [s.address for s in region.stores]
    dims = [d for d in region.extents if d in reduced]
    return max(dims, key=lambda d: (sum(f.coefficient(d) == 1 for f in forms), region.extents[d]))


def _lanes(wanted: int, extent: int) -> int:
    """Lanes of a vector: no more than hold the row."""
    if wanted & (wanted - 1):
        raise UnsupportedRegion(f"the row schedule needs a power of two as its vector, not {wanted}")
    while wanted // 2 >= extent:
        wanted //= 2
    return wanted


def _split_rows(region: Region, rows: str, tile: int) -> tuple[Region, int]:
    """The region with ROW_TILE and ROW instead of `rows`, and the extent of `rows`."""
    extent = region.extents.get(rows, 1)
    tile = min(tile, extent)
    if not rows:
        return region, extent
    extents: dict[str, int] = {}
    for dim, n in region.extents.items():
        extents |= {ROW_TILE: -(-extent // tile), ROW: tile} if dim == rows else {dim: n}
    return substitute(region, {rows: Linear.dim(ROW_TILE, tile) + Linear.dim(ROW)}, extents), extent


class _Rows:
    """Emits tiles of rows. Accumulators are ordered by reduction, then by row and vector."""

    def __init__(
        self,
        b: ExpressionBuilder,
        region: Region,
        plan: RowPlan,
        lane: str,
        reduced: frozenset[str],
        lanes: int,
        width: int,
        rows: int,
    ) -> None:
        self.b, self.region, self.plan, self.lane, self.lanes, self.width = b, region, plan, lane, lanes, width
        self.extent, self.rows, self.tile = region.extents[lane], rows, region.extents.get(ROW, 1)
        self.outer = [(d, n) for d, n in region.extents.items() if d in reduced and d != lane]
        self.parallel = [(d, n) for d, n in region.extents.items() if d not in reduced and d != ROW]
        self.whole = self.extent - self.extent % width
        self.resident = not self.outer and self.extent <= width
        self.slots = min(width, -(-self.extent // lanes) * lanes) // lanes

    def emit(self, parallel: bool) -> None:
        cut = frozenset({ROW_TILE}) if self.rows % self.tile else frozenset[str]()
        Nest(self.b, cut, self._tile).emit(self.parallel, parallel)

    def _tile(self, last: frozenset[str]) -> None:
        count = self.rows % self.tile if ROW_TILE in last else self.tile
        self.at = [((ROW, r),) if r else () for r in range(count)]
        self.values: dict[tuple[int, Any], Any] = {}
        self.scalar_memo, self.memo = Memo(), Memo()
        for sweep in self.plan.sweeps:
            self._scalars(sweep.roots() + [r.init for r in sweep.reductions])
            self._sweep(sweep)
        self._scalars([s.value for s in self.plan.row_stores])
        for store in self.plan.row_stores:
            for at in self.at:
                value = self.b.evaluate(store.value, Point(at), self.scalar_memo, self._known)
                self.b.store(store.argument, store.address, value, Point(at))

    # values of a row

    def _scalars(self, roots: list[Expr]) -> None:
        """Computes the scalars that `roots` read."""
        for node in walk(*roots):
            if isinstance(node, Reduced) and (node.reduction, self.at[0]) not in self.values:
                expr = self.plan.scalars[node.reduction - len(self.region.reductions)]
                self._scalars([expr])
                for at in self.at:
                    value = self.b.evaluate(expr, Point(at), self.scalar_memo, self._known)
                    self.values[node.reduction, at] = value

    def _known(self, expr: Expr, point: Point) -> Any:
        if not isinstance(expr, Reduced):
            raise UnsupportedRegion("an accumulator is read outside of its reduction")
        return self.values[expr.reduction, tuple((d, o) for d, o in point.offsets if d == ROW)]

    # one sweep

    def _points(self, count: int) -> list[tuple[int, Point]]:
        """Accumulator numbers and points of the next `count` elements of every row."""
        found: list[tuple[int, Point]] = []
        for row, at in enumerate(self.at):
            for slot, offset in enumerate(range(0, count, self.lanes)):
                offsets = (*(((self.lane, offset),) if offset else ()), *at)
                point = Point(offsets, self.lane, self.lanes, min(self.lanes, count - offset))
                found.append((row * self.slots + slot, point))
        return found

    def _sweep(self, sweep: Sweep) -> None:
        names = [combiner(self.region.reductions[n]) for n in sweep.numbers]
        count = len(self.at) * self.slots
        start: list[Any] = []
        for name, reduction in zip(names, sweep.reductions, strict=True):
            kind = reduction.update.type
            start += [self.b.broadcast(self.b.scalar(neutral(name, kind), kind), self.lanes)] * count
        ends = self._outer(self.outer, sweep, start)
        for i, (name, reduction) in enumerate(zip(names, sweep.reductions, strict=True)):
            for row, at in enumerate(self.at):
                first = i * count + row * self.slots
                total = across_lanes(self.b, name, combine_all(self.b, name, ends[first : first + self.slots]))
                if not self._is_neutral(reduction.init, name):
                    init = self.b.evaluate(reduction.init, Point(at), self.scalar_memo, self._known)
                    total = combine(self.b, name, init, total)
                self.values[sweep.numbers[i], at] = total

    def _is_neutral(self, init: Expr, name: str) -> bool:
        return isinstance(init, Constant) and str(init.attribute) == str(neutral(name, init.type))

    def _outer(self, dims: list[tuple[str, int]], sweep: Sweep, carried: list[Any]) -> list[Any]:
        if dims:
            (dim, count), *rest = dims
            return self.b.loop(dim, count, lambda v: self._outer(rest, sweep, v), carried)
        if self.whole and self.whole > self.width:
            carried = self.b.loop(
                self.lane, self.whole, lambda v: self._step(sweep, self.width, v), carried, self.width
            )
            begin = self.whole
        else:
            begin = 0
        outer = dict(self.b.env)
        while begin < self.extent:
            count = min(self.width, self.extent - begin)
            self.b.env[self.lane] = self.b.constant(begin)
            carried = self._step(sweep, count, carried)
            begin += count
        self.b.env = outer
        return carried

    def _step(self, sweep: Sweep, count: int, carried: list[Any]) -> list[Any]:
        """The next `count` elements of every row: first all values, then all stores."""
        memo = self.memo if self.resident else Memo()
        points, values = self._points(count), list(carried)
        total = len(self.at) * self.slots
        for i, reduction in enumerate(sweep.reductions):
            for number, point in points:
                at = i * total + number
                values[at] = self._update(reduction.update, point, memo, values[at])
        made = [
            (store, point, self.b.evaluate(store.value, point, memo, self._known))
            for store in sweep.stores
            for _, point in points
        ]
        for store, point, value in made:
            self.b.store(store.argument, store.address, value, point)
        return values

    def _update(self, update: Expr, point: Point, memo: Memo, current: Any) -> Any:
        def known(expr: Expr, at: Point) -> Any:
            return current if isinstance(expr, Accumulator) else self._known(expr, at)

        value = self.b.broadcast(self.b.evaluate(update, point, memo, known), self.lanes)
        if point.valid == self.lanes:
            return value
        return self.b.op("arith.select", [self.b.mask(self.lanes, point.valid), value, current], [value.type])

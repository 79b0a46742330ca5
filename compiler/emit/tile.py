"""Emits `direct` schedules: register tiles of rows x vectors, their reduction loops, and the fused epilogue.

One emitter serves matrix products, convolutions, pooling and elementwise regions: an operand that does not vary along
the columns is a scalar load and a broadcast, one that does not vary along the rows is loaded once for all rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from compiler.emit.builder import Point
from compiler.emit.evaluate import ExpressionBuilder, Memo
from compiler.emit.kernel import Kernel
from compiler.emit.nest import Nest
from compiler.emit.pack import emit_packing
from costmodel.region.expression import Expr, Load, walk
from costmodel.region.linear import Linear
from costmodel.region.region import Region
from costmodel.region.rewrite import rewrite, stores_reduced, substitute
from costmodel.region.roles import LANE, PANEL, Loops, split_columns
from passes.region.structure import UnsupportedRegion
from passes.tiling.schedule import Schedule

STREAM = 1 << 17
"""Bytes of a packed weight from which on it is read ahead, if it is read once: it will not be in the near caches."""
FEW_TILES = 4
"""Row tiles up to which a packed weight is read ahead: with more, computing takes longer than reading."""
LINE = 64
"""Bytes of a cache line."""
AHEAD = 4096
"""Bytes by which reading ahead runs in front."""

ROW, ROW_TILE, ROW_BLOCK, ROW_STEP = "row", "row_tile", "row_block", "row_step"


def emit_tile(region: Region, schedule: Schedule) -> Kernel:
    """The kernel of a region with at most one reduction; UnsupportedRegion otherwise."""
    if len(region.reductions) > 1:
        raise UnsupportedRegion(f"{region.name}: {len(region.reductions)} reductions do not fit the direct schedule")
    if stores_reduced(region):
        raise UnsupportedRegion(f"{region.name}: a result along the reduced dimension does not fit the direct schedule")
    loops = split_columns(region, schedule.vector * schedule.vectors, schedule.pack)
    packing = loops.packing
    ahead = packing is not None and region.arguments[packing.argument].constant
    scratch = packing.elements() if packing is not None and not ahead else 0
    kinds = [(a.span(), a.type) for a in region.arguments]
    kind = kinds[packing.argument][1] if packing is not None else kinds[0][1]
    if packing is not None and ahead:
        kinds[packing.argument] = (packing.elements(), kind)
    b = ExpressionBuilder(region.name, [*kinds, (scratch, kind)])
    if packing is not None and scratch:
        emit_packing(b, packing, len(kinds), kind, schedule.vector, schedule.parallel)
        loops = replace(loops, region=_redirect(loops.region, packing.argument, len(kinds)))
    stream = packing.argument if packing is not None and ahead else None
    itemsize = max(int("".join(c for c in str(kind) if c.isdigit()) or 64) // 8, 1)
    _Tiles(b, loops, schedule, stream, itemsize).emit()
    return Kernel(region.name, b.finish(), packing if ahead else None, scratch * itemsize)


def _redirect(region: Region, argument: int, target: int) -> Region:
    def load(expr: Load) -> Load:
        return replace(expr, argument=target) if expr.argument == argument else expr

    return rewrite(region, region.extents, lambda f: f, load)


class _Tiles:
    """The loops over tiles. A tile's shape is static: `last` names the tiled dimensions that are at their remainder."""

    def __init__(
        self, b: ExpressionBuilder, loops: Loops, schedule: Schedule, packed: int | None, itemsize: int
    ) -> None:
        """`packed`: argument whose panels may be read ahead; `itemsize`: bytes of its elements."""
        self.b, self.schedule = b, schedule
        extents = loops.region.extents
        self.columns = loops.columns
        self.rows = extents.get(loops.rows, 1)
        self.tile_rows = min(schedule.rows, self.rows)
        self.row_tiles = -(-self.rows // self.tile_rows)
        block = schedule.row_tile // self.tile_rows
        self.block = block if 0 < block < self.row_tiles else 0
        self.width = extents.get(LANE, 1)
        self.panels = extents.get(PANEL, 1)
        self.region = self._split_rows(loops)
        self.reduction = [(d, extents[d]) for d in loops.reduction if d in extents]
        self.batch = [(d, extents[d]) for d in loops.batch]
        self.stream, self.ahead, self.line = packed, AHEAD // itemsize, LINE // itemsize
        if self.batch or len(self.reduction) != 1 or self.block or self.row_tiles > FEW_TILES:
            self.stream = None
        elif self.panels * self.reduction[0][1] * self.width * itemsize <= STREAM:
            self.stream = None
        elif self.row_tiles > 1:
            self.ahead = self.reduction[0][1] * self.width  # the next panel, while this one's other tiles are computed
            self.stream = packed if schedule.order == "columns-rows" else None

    def _split_rows(self, loops: Loops) -> Region:
        if not loops.rows:
            return loops.region
        extents = {d: n for d, n in loops.region.extents.items() if d != loops.rows}
        extents |= {ROW_TILE: self.row_tiles, ROW: self.tile_rows}
        return substitute(loops.region, {loops.rows: Linear.dim(ROW_TILE, self.tile_rows) + Linear.dim(ROW)}, extents)

    def emit(self) -> None:
        rows = [(ROW_BLOCK, -(-self.row_tiles // self.block))] if self.block else [(ROW_TILE, self.row_tiles)]
        columns = [(PANEL, self.panels)]
        order = columns + rows if self.schedule.order == "columns-rows" and not self.block else rows + columns
        cut = {ROW_BLOCK} if self.block else set[str]()
        cut |= {PANEL} if self.columns % self.width else set[str]()
        cut |= {ROW_TILE} if self.rows % self.tile_rows else set[str]()
        Nest(self.b, frozenset(cut), self._inside).emit(self.batch + order, self.schedule.parallel)

    def _inside(self, last: frozenset[str]) -> None:
        """Inside the outer loops: one tile, or the tiles of one block of rows."""
        if not self.block:
            return self._tile(last)
        blocks = -(-self.row_tiles // self.block)
        tiles = self.row_tiles - (blocks - 1) * self.block if ROW_BLOCK in last else self.block
        cut = ROW_BLOCK in last and self.rows % self.tile_rows != 0
        form = Linear.dim(ROW_BLOCK, self.block) + Linear.dim(ROW_STEP)

        def step(_: list[Any]) -> list[Any]:
            self.b.env[ROW_TILE] = self.b.address(form, Point())
            self._tile(last)
            return []

        if tiles - cut:
            self.b.loop(ROW_STEP, tiles - cut, step)
        if cut:
            outer = dict(self.b.env)
            self.b.env[ROW_TILE] = self.b.constant(self.row_tiles - 1)
            self._tile(last | {ROW_TILE})
            self.b.env = outer
        return None

    # one register tile

    def _points(self, last: frozenset[str]) -> list[Point]:
        rows = self.rows % self.tile_rows if ROW_TILE in last else self.tile_rows
        columns = self.columns % self.width if PANEL in last else self.width
        lanes = self.schedule.vector
        points: list[Point] = []
        for row in range(rows):
            for lane in range(0, columns, lanes):
                offsets = tuple((d, o) for d, o in ((LANE, lane), (ROW, row)) if o)
                points.append(Point(offsets, LANE, lanes, min(lanes, columns - lane)))
        return points

    def _tile(self, last: frozenset[str]) -> None:
        points = self._points(last)
        finished: dict[Point, Any] = {}
        if self.region.reductions:
            finished = dict(zip(points, self._reduce(points), strict=True))
        memo = Memo()
        for point in points:
            for store in self.region.stores:
                value = self.b.evaluate(store.value, point, memo, lambda _, p: finished[p])
                self.b.store(store.argument, store.address, value, point)

    def _reduce(self, points: list[Point]) -> list[Any]:
        (reduction,) = self.region.reductions
        memo = Memo()
        init = [self.b.evaluate(reduction.init, p, memo, _nothing) for p in points]
        init = [self.b.broadcast(v, p.lanes) for v, p in zip(init, points, strict=True)]
        return self._reduction_loops(self.reduction, reduction.update, points, init)

    def _reduction_loops(
        self, dims: list[tuple[str, int]], update: Expr, points: list[Point], values: list[Any]
    ) -> list[Any]:
        if not dims:
            return self._update(update, points, values)
        (dim, count), *rest = dims
        if rest:
            return self.b.loop(dim, count, lambda v: self._reduction_loops(rest, update, points, v), values)
        return self._innermost(dim, count, update, points, values)

    def _innermost(self, dim: str, count: int, update: Expr, points: list[Point], values: list[Any]) -> list[Any]:
        unroll = min(self.schedule.unroll, count)
        whole = count - count % unroll

        def steps(n: int) -> Callable[[list[Any]], list[Any]]:
            def body(carried: list[Any]) -> list[Any]:
                self._read_ahead(update, n)
                for k in range(n):
                    moved = [replace(p, offsets=(*p.offsets, (dim, k)) if k else p.offsets) for p in points]
                    carried = self._update(update, moved, carried)
                return carried

            return body

        values = self.b.loop(dim, whole, steps(unroll), values, step=unroll)
        if whole == count:
            return values
        outer = dict(self.b.env)
        self.b.env[dim] = self.b.constant(whole)
        values = steps(count - whole)(values)
        self.b.env = outer
        return values

    def _read_ahead(self, update: Expr, steps: int) -> None:
        """Prefetches what the panels hold `ahead` elements after this iteration's; panels follow each other in memory.

        With few rows a step does little work for a cache line, and the loads that an out-of-order window holds do not
        cover the latency of memory: at 8 rows a quarter of the bandwidth was lost.
        """
        for load in (e for e in walk(update) if isinstance(e, Load) and e.argument == self.stream):
            for begin in range(0, steps * self.width, self.line):
                self.b.prefetch(load.argument, load.address, Point(), begin + self.ahead)

    def _update(self, update: Expr, points: list[Point], values: list[Any]) -> list[Any]:
        memo, current = Memo(), dict(zip(points, values, strict=True))
        made = [self.b.evaluate(update, p, memo, lambda _, q: current[q]) for p in points]
        return [self.b.broadcast(v, p.lanes) for v, p in zip(made, points, strict=True)]


def _nothing(expr: Expr, point: Point) -> Any:
    raise UnsupportedRegion("a reduction starts from its own result")

"""Emits `winograd2` and `winograd4` schedules: F(2x2,3x3) and F(4x4,3x3) convolutions, vectorised over channels.

The output is cut into tiles, which go through three steps: the input transform into V[position][tile][channel]; for a
block of tiles and a panel of filters one matrix product a position, M[position][tile][filter] = V U; and the output
transform of M, with the region's stores evaluated for every pixel. Tiles at the right and bottom edge are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from compiler.emit.builder import Point
from compiler.emit.evaluate import ExpressionBuilder, Memo
from compiler.emit.kernel import Kernel
from compiler.emit.winograd_plan import (
    BLOCK,
    CHANNEL,
    CHUNK,
    LANE,
    PANEL,
    PIXEL_H,
    PIXEL_W,
    POSITION,
    ROW,
    TILE,
    TILE_H,
    TILE_N,
    TILE_W,
    VECTOR,
    WinogradPlan,
)
from compiler.emit.winograd_transforms import transform_input, transform_output
from costmodel.region.expression import Expr
from costmodel.region.linear import Linear
from costmodel.region.region import Region
from passes.mlir import ir
from passes.region.structure import UnsupportedRegion
from passes.region.winograd import match_winograd
from passes.tiling.schedule import Schedule


def emit_winograd(region: Region, schedule: Schedule) -> Kernel:
    """The kernel of a convolution region; UnsupportedRegion if match_winograd does not know it."""
    shape = match_winograd(region)
    if shape is None:
        wanted = "a 3x3 convolution of stride 1 with constant weights, channels last"
        raise UnsupportedRegion(f"{region.name}: not {wanted}")
    plan = WinogradPlan(region, shape, schedule)
    sizes = [(a.span(), a.type) for a in region.arguments]
    kind = shape.source.type
    sizes[plan.packing.argument] = (plan.packing.elements(), kind)
    b = ExpressionBuilder(region.name, [*sizes, (plan.scratch, kind)])
    _Winograd(b, plan, schedule).emit()
    return Kernel(region.name, b.finish(), plan.packing, 4 * plan.scratch)


class _Winograd:
    def __init__(self, b: ExpressionBuilder, plan: WinogradPlan, schedule: Schedule) -> None:
        self.b, self.plan, self.schedule = b, plan, schedule
        self.lanes, self.kind = plan.lanes, plan.shape.source.type
        self.vector = b.vector_type(self.lanes, self.kind)
        self.source, self.weights = plan.shape.source.argument, plan.packing.argument
        self.memory = len(plan.region.arguments)

    # loops

    def emit(self) -> None:
        chunk, tiles = self.plan.chunk, self.plan.tiles
        if tiles >= chunk:
            self.b.loop(CHUNK, tiles // chunk, lambda _: self._chunk(chunk) or [])
        if tiles % chunk:
            self._at(CHUNK, tiles // chunk, lambda: self._chunk(tiles % chunk))

    def _at(self, dim: str, value: int, body: Callable[[], None]) -> None:
        outer = dict(self.b.env)
        self.b.env[dim] = self.b.constant(value)
        body()
        self.b.env = outer

    def _chunk(self, tiles: int) -> None:
        """V of all tiles of a chunk, then a matrix product and output transform for each block and panel."""
        plan = self.plan
        self._shared([(TILE, tiles)], lambda: self._tile(self._input_tile))
        rest_tiles, rest_filters = tiles % plan.block, plan.filters % plan.width
        dims = [(BLOCK, -(-tiles // plan.block), rest_tiles), (PANEL, plan.panels, rest_filters)]

        def product() -> None:
            self._last(dims[0], lambda block: self._last(dims[1], lambda panel: self._product(block, panel)))

        order = dims[::-1] if self.schedule.order == "columns-rows" else dims
        self._shared([(d, n) for d, n, _ in order], product)

    def _shared(self, dims: Sequence[tuple[str, int]], body: Callable[[], None]) -> None:
        """Loops over `dims`, distributed over threads if the schedule says so."""
        if self.schedule.parallel and prod(n for _, n in dims) > 1:
            self.b.parallel(dims, body)
        elif dims:
            self.b.loop(dims[0][0], dims[0][1], lambda _: self._shared(dims[1:], body) or [])
        else:
            body()

    def _last(self, dim: tuple[str, int, int], body: Callable[[int], None]) -> None:
        """`body(rest)` in the last iteration of (name, count, rest) if there is a rest, else `body(0)`."""
        name, count, rest = dim
        if rest and count > 1:
            self.b.branch(name, count - 1, lambda: body(rest), lambda: body(0))
        else:
            body(rest)

    def _product(self, tiles: int, columns: int) -> None:
        """One block and panel; 0 stands for whole ones."""
        tiles, columns = tiles or self.plan.block, columns or self.plan.width
        self._multiply(tiles, -(-columns // self.lanes))
        self.b.loop(TILE, tiles, lambda _: self._tile(lambda h, w: self._output_tile(columns, h, w)) or [])

    def _tile(self, body: Callable[[int, int], None]) -> None:
        """`body(height, width)` with the number of the tile's output pixels that exist."""
        b, plan = self.b, self.plan
        number = b.address(Linear.of(0, {CHUNK: plan.chunk, BLOCK: plan.block, TILE: 1}), Point())
        b.env[TILE_W] = b.op("arith.remui", [number, b.constant(plan.tiles_w)], [b.index])
        line = b.op("arith.divui", [number, b.constant(plan.tiles_w)], [b.index])
        b.env[TILE_H] = b.op("arith.remui", [line, b.constant(plan.tiles_h)], [b.index])
        b.env[TILE_N] = b.op("arith.divui", [line, b.constant(plan.tiles_h)], [b.index])
        m, extents = plan.outputs, plan.shape.extents
        height = (TILE_H, plan.tiles_h, extents[plan.shape.height] % m)
        width = (TILE_W, plan.tiles_w, extents[plan.shape.width] % m)
        self._last(height, lambda h: self._last(width, lambda w: body(h or m, w or m)))

    # the three steps

    def _input_tile(self, height: int, width: int) -> None:
        """V of one tile of which `height` x `width` output pixels exist; what lies beyond their input is zero."""

        def channels(rest: bool) -> None:
            valid = self.plan.channels % self.lanes if rest else self.lanes
            self._transform_input(height + 2, width + 2, valid)

        whole, rest = divmod(self.plan.channels, self.lanes)
        if whole:
            self.b.loop(CHANNEL, whole * self.lanes, lambda _: channels(False) or [], step=self.lanes)
        if rest:
            self._at(CHANNEL, whole * self.lanes, lambda: channels(True))

    def _transform_input(self, height: int, width: int, valid: int) -> None:
        def pixel(i: int, j: int) -> Any:
            if i >= height or j >= width:
                return self.b.zero(self.vector)
            point = Point(((PIXEL_H, i), (PIXEL_W, j)), CHANNEL, self.lanes, valid)
            return self.b.load(self.source, self.plan.source, self.kind, point)

        side = range(self.plan.side)
        for i, row in enumerate(transform_input(self, [[pixel(i, j) for j in side] for i in side])):
            for j, value in enumerate(row):
                point = Point(((POSITION, i * self.plan.side + j),), CHANNEL, self.lanes, self.lanes)
                self.b.store(self.memory, self.plan.v, value, point)

    def _multiply(self, tiles: int, vectors: int) -> None:
        """M = V * U for one panel, of which `vectors` vectors hold filters."""
        rows = self.plan.rows
        whole = tiles - tiles % rows

        def position(_: list[Any]) -> list[Any]:
            if whole:
                self.b.loop(TILE, whole, lambda _: self._register_tile(rows, vectors) or [], step=rows)
            if whole < tiles:
                self._at(TILE, whole, lambda: self._register_tile(tiles - whole, vectors))
            return []

        self.b.loop(POSITION, self.plan.positions, position)

    def _register_tile(self, rows: int, vectors: int) -> None:
        zero = self.b.zero(self.vector)
        unroll = min(self.schedule.unroll, self.plan.channels)
        whole = self.plan.channels - self.plan.channels % unroll

        def steps(count: int) -> Callable[[list[Any]], list[Any]]:
            def body(values: list[Any]) -> list[Any]:
                for channel in range(count):
                    values = self._multiply_add(rows, vectors, channel, values)
                return values

            return body

        values = self.b.loop(CHANNEL, whole, steps(unroll), [zero] * (rows * vectors), step=unroll)
        if whole < self.plan.channels:
            outer = dict(self.b.env)
            self.b.env[CHANNEL] = self.b.constant(whole)
            values = steps(self.plan.channels - whole)(values)
            self.b.env = outer
        for i, value in enumerate(values):
            self.b.store(self.memory, self.plan.m, value, self._full((ROW, i // vectors), (VECTOR, i % vectors)))

    def _multiply_add(self, rows: int, vectors: int, channel: int, values: list[Any]) -> list[Any]:
        at = [self._full((VECTOR, v), (CHANNEL, channel)) for v in range(vectors)]
        columns = [self.b.load(self.weights, self.plan.u, self.kind, point) for point in at]
        made: list[Any] = []
        for row in range(rows):
            scalar = self.b.load(self.memory, self.plan.v, self.kind, Point(((ROW, row), (CHANNEL, channel))))
            left = self.b.broadcast(scalar, self.lanes)
            for right, value in zip(columns, values[row * vectors :], strict=False):
                made.append(self.b.op("vector.fma", [left, right, value], [self.vector]))
        return made

    def _output_tile(self, columns: int, height: int, width: int) -> None:
        """The stores of one tile and panel, of which `columns` filters exist."""
        whole, rest = divmod(columns, self.lanes)
        if whole:
            self.b.loop(VECTOR, whole, lambda _: self._transform_output(height, width, self.lanes) or [])
        if rest:
            self._at(VECTOR, whole, lambda: self._transform_output(height, width, rest))

    def _transform_output(self, height: int, width: int, valid: int) -> None:
        def position(i: int, j: int) -> Any:
            return self.b.load(self.memory, self.plan.m, self.kind, self._full((POSITION, i * self.plan.side + j)))

        side = range(self.plan.side)
        pixels = transform_output(self, [[position(i, j) for j in side] for i in side])
        memo = Memo()
        for i in range(height):
            for j in range(width):
                self._store(pixels[i][j], Point(((PIXEL_H, i), (PIXEL_W, j)), LANE, self.lanes, valid), memo)

    def _store(self, value: Any, point: Point, memo: Memo) -> None:
        """One vector of results: the reduction's start is added, then the region's stores are evaluated."""
        init = self.b.evaluate(self.plan.region.reductions[0].init, point, memo, _nothing)
        total = self.add(self.b.broadcast(init, self.lanes), value)
        for store in self.plan.region.stores:
            stored = self.b.evaluate(store.value, point, memo, lambda *_: total)
            self.b.store(store.argument, store.address, stored, point)

    def _full(self, *offsets: tuple[str, int]) -> Point:
        """A whole vector of filters."""
        return Point(offsets, LANE, self.lanes, self.lanes)

    # Arithmetic

    def add(self, left: Any, right: Any) -> Any:
        return self.b.op("arith.addf", [left, right], [self.vector])

    def sub(self, left: Any, right: Any) -> Any:
        return self.b.op("arith.subf", [left, right], [self.vector])

    def times(self, factor: float, value: Any) -> Any:
        return self.b.op("arith.mulf", [self._splat(factor), value], [self.vector])

    def scaled(self, factor: float, value: Any, addend: Any) -> Any:
        return self.b.op("vector.fma", [self._splat(factor), value, addend], [self.vector])

    def _splat(self, factor: float) -> Any:
        value = ir.FloatAttr.get(self.kind, factor)
        return self.b.scalar(ir.DenseElementsAttr.get_splat(self.vector, value), self.vector)


def _nothing(expr: Expr, point: Point) -> Any:
    raise UnsupportedRegion("a reduction starts from its own result")

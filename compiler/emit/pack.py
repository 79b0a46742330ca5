"""Copies an operand into panels of contiguous vectors: ahead of time with NumPy, or at run time inside a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from compiler.emit.builder import KernelBuilder, Point
from compiler.emit.winograd_weights import WinogradPacking, transform_weights
from costmodel.region.linear import Linear, dot, row_major
from costmodel.region.roles import LANE, PANEL, Packing
from passes.mlir import ir


def pack_array(array: np.ndarray[Any, Any], packing: Packing | WinogradPacking) -> np.ndarray[Any, Any]:
    """The packed copy of `array`, whose memory is addressed by the strides of `packing` from its first element."""
    return transform_weights(array, packing) if isinstance(packing, WinogradPacking) else _pack_panels(array, packing)


def _pack_panels(array: np.ndarray[Any, Any], packing: Packing) -> np.ndarray[Any, Any]:
    axes = [*packing.batch, packing.columns, *packing.reduction]
    shape, strides = [n for n, _ in axes], [s * array.itemsize for _, s in axes]
    flat = as_strided(array, (1 + packing.offset,), (array.itemsize,))[packing.offset :]
    view = as_strided(flat, shape, strides)
    at, (columns, _), width = len(packing.batch), packing.columns, packing.width
    panels = -(-columns // width)
    packed = np.zeros(packing.shape(), array.dtype)
    for panel in range(panels):
        begin, end = panel * width, min((panel + 1) * width, columns)
        source = np.moveaxis(view[(slice(None),) * at + (slice(begin, end),)], at, -1)
        packed[(slice(None),) * at + (panel,)][..., : end - begin] = source
    return packed


def emit_packing(b: KernelBuilder, packing: Packing, scratch: int, kind: Any, lanes: int, parallel: bool) -> None:
    """Emits the copy from the packing's argument into argument `scratch`."""
    batch = [f"pack_b{i}" for i in range(len(packing.batch))]
    steps = [f"pack_k{i}" for i in range(len(packing.reduction))]
    packed = dot([Linear.dim(d) for d in (*batch, PANEL, *steps, LANE)], row_major(packing.shape()))
    source = Linear(packing.offset) + Linear.dim(PANEL, packing.columns[1] * packing.width)
    source = source + Linear.dim(LANE, packing.columns[1])
    for dim, (_, stride) in zip((*batch, *steps), (*packing.batch, *packing.reduction), strict=True):
        source = source + Linear.dim(dim, stride)
    copy = _Copy(b, packing, scratch, kind, lanes, source, packed, steps)
    dims = [(d, n) for d, (n, _) in zip(batch, packing.batch, strict=True)]
    panels, rest = divmod(packing.columns[0], packing.width)
    if panels:
        _outer(b, [*dims, (PANEL, panels)], parallel, lambda: copy.panel(packing.width))
    if rest:
        last = b.constant(panels)

        def tail() -> None:
            b.env[PANEL] = last
            copy.panel(rest)

        _outer(b, dims, False, tail)


def _outer(b: KernelBuilder, dims: list[tuple[str, int]], parallel: bool, body: Any) -> None:
    if parallel and dims:
        b.parallel(dims, body)
    elif dims:
        b.loop(dims[0][0], dims[0][1], lambda _: _outer(b, dims[1:], False, body) or [])
    else:
        body()


class _Copy:
    def __init__(
        self,
        b: KernelBuilder,
        packing: Packing,
        scratch: int,
        kind: Any,
        lanes: int,
        source: Linear,
        packed: Linear,
        steps: list[str],
    ) -> None:
        self.b, self.packing, self.scratch, self.kind, self.lanes = b, packing, scratch, kind, lanes
        self.source, self.packed, self.steps = source, packed, steps

    def panel(self, valid: int) -> None:
        """Copies one panel of which the first `valid` columns exist."""
        dims = [(d, n) for d, (n, _) in zip(self.steps, self.packing.reduction, strict=True)]
        inner, count = dims[-1]
        transposed = self.packing.reduction[-1][1] == 1 and self.packing.columns[1] != 1 and self.lanes > 1
        blocks = count // self.lanes if transposed else 0

        def innermost() -> None:
            done = blocks * self.lanes
            if blocks:
                self.b.loop(inner, done, lambda _: self.transpose(valid) or [], step=self.lanes)
            if done < count:
                begin = self.b.constant(done)

                def rest(_: list[Any]) -> list[Any]:
                    if done:
                        self.b.env[inner] = self.b.op("arith.addi", [self.b.env[inner], begin], [self.b.index])
                    self.columns(valid)
                    return []

                self.b.loop(inner, count - done, rest)

        _outer(self.b, dims[:-1], False, innermost)

    def columns(self, valid: int) -> None:
        """One reduction step: all columns of the panel."""
        for begin in range(0, self.packing.width, self.lanes):
            point = Point(((LANE, begin),), LANE, self.lanes, max(min(self.lanes, valid - begin), 0))
            value = self._load(point)
            full = Point(((LANE, begin),), LANE, self.lanes, self.lanes)
            self.b.store(self.scratch, self.packed, value, full)

    def _load(self, point: Point) -> Any:
        if point.valid:
            return self.b.load(self.packing.argument, self.source, self.kind, point)
        return self.b.zero(self.b.vector_type(self.lanes, self.kind) if self.lanes > 1 else self.kind)

    def transpose(self, valid: int) -> None:
        """`lanes` reduction steps at once: vectors along the reduction, transposed in registers."""
        inner = self.steps[-1]
        for begin in range(0, self.packing.width, self.lanes):
            rows: list[Any] = []
            for lane in range(self.lanes):
                inside = begin + lane < valid
                point = Point(((LANE, begin + lane),), inner, self.lanes, self.lanes if inside else 0)
                rows.append(self._load(point))
            for step, row in enumerate(transpose_square(self.b, rows)):
                point = Point(((LANE, begin), (inner, step)), LANE, self.lanes, self.lanes)
                self.b.store(self.scratch, self.packed, row, point)


def transpose_square(b: KernelBuilder, rows: list[Any]) -> list[Any]:
    """Transposes n vectors of n lanes (a power of two) by log2(n) stages of shuffles."""
    n, half = len(rows), len(rows) // 2
    while half:
        made = list(rows)
        for i in range(n):
            if i & half:
                continue
            low = [j if not j & half else n + (j ^ half) for j in range(n)]
            high = [j | half if not j & half else n + j for j in range(n)]
            made[i] = _shuffle(b, rows[i], rows[i | half], low)
            made[i | half] = _shuffle(b, rows[i], rows[i | half], high)
        rows, half = made, half // 2
    return rows


def _shuffle(b: KernelBuilder, left: Any, right: Any, order: list[int]) -> Any:
    return b.op("vector.shuffle", [left, right], [left.type], mask=ir.DenseI64ArrayAttr.get(order))

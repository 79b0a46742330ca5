"""Sizes, memory places and addresses of a Winograd kernel: tiles, blocks and chunks of tiles, V, M and U."""

from __future__ import annotations

from compiler.emit.winograd_weights import WinogradPacking
from costmodel.region.linear import Linear
from costmodel.region.region import Region
from costmodel.region.rewrite import substitute
from passes.region.winograd import WinogradShape
from passes.tiling.schedule import Schedule

OUTPUTS = {"winograd2": 2, "winograd4": 4}
"""Output pixels of a tile along one side."""
CHUNK, BLOCK, TILE, ROW = "chunk", "block", "tile", "row"
TILE_N, TILE_H, TILE_W, PIXEL_H, PIXEL_W = "tile_n", "tile_h", "tile_w", "pixel_h", "pixel_w"
POSITION, PANEL, VECTOR, LANE, CHANNEL = "position", "panel", "vector", "lane", "channel"
CHUNK_ELEMENTS = {False: 1 << 18, True: 1 << 19}
"""Scratch memory of a chunk, by whether threads share it; one block of tiles may take more.

1 MiB is a core's second-level cache. Threads wait for each other twice a chunk, so they get fewer and larger ones.
"""
_LINE = 16
"""Elements of a cache line: added to strides so that positions and rows do not fall into the same cache sets."""


class WinogradPlan:
    """Tiles are numbered through the batch, TILE of them make a BLOCK (one matrix product), blocks make a CHUNK.

    Scratch memory holds V[position][tile of the chunk][channel], then M[position][tile of the block][column] once, or
    for every block and panel of the chunk if these run in parallel. All sizes are in elements.
    """

    def __init__(self, region: Region, shape: WinogradShape, schedule: Schedule) -> None:
        self.shape, self.lanes = shape, schedule.vector
        self.outputs = OUTPUTS[schedule.algorithm]
        self.side = self.outputs + 2
        self.positions = self.side**2
        self.images, self.tiles_h, self.tiles_w = shape.tiles(self.outputs)
        self.tiles = self.images * self.tiles_h * self.tiles_w
        self.width = schedule.vector * schedule.vectors
        self.channels, self.filters = shape.extents[shape.channels], shape.extents[shape.filters]
        self.panels = -(-self.filters // self.width)
        self.rows = min(schedule.rows, self.tiles)
        self.block = min(schedule.row_tile // self.rows * self.rows or self.tiles, self.tiles)
        self._place(schedule.parallel)
        self.packing = self._packing()
        self.source, self.region = self._split(region)

    def _place(self, parallel: bool) -> None:
        v_row = -(-self.channels // self.lanes) * self.lanes + _LINE
        panels = self.panels if parallel else 1
        a_block = self.positions * self.block * (v_row + panels * self.width)
        blocks = min(max(CHUNK_ELEMENTS[parallel] // a_block, 1), -(-self.tiles // self.block))
        self.chunk = blocks * self.block
        v_position, m_position = self.chunk * v_row + _LINE, self.block * self.width + _LINE
        product = self.positions * m_position
        m_begin = self.positions * v_position
        self.scratch = m_begin + product * (blocks * panels if parallel else 1)
        v_terms = {POSITION: v_position, BLOCK: self.block * v_row, TILE: v_row, ROW: v_row, CHANNEL: 1}
        m_terms = {POSITION: m_position, TILE: self.width, ROW: self.width, VECTOR: self.lanes, LANE: 1}
        if parallel:
            m_terms |= {BLOCK: panels * product, PANEL: product}
        self.v, self.m = Linear.of(0, v_terms), Linear.of(m_begin, m_terms)
        panel = self.channels * self.width
        u_terms = {PANEL: self.positions * panel, POSITION: panel, CHANNEL: self.width, VECTOR: self.lanes, LANE: 1}
        self.u = Linear.of(0, u_terms)

    def _packing(self) -> WinogradPacking:
        shape, address = self.shape, self.shape.weights.address

        def axis(dim: str) -> tuple[int, int]:
            return shape.extents[dim], address.coefficient(dim)

        return WinogradPacking(
            argument=shape.weights.argument,
            outputs=self.outputs,
            offset=address.constant,
            filters=axis(shape.filters),
            channels=axis(shape.channels),
            rows=axis(shape.kernel_height),
            columns=axis(shape.kernel_width),
            width=self.width,
        )

    def _split(self, region: Region) -> tuple[Linear, Region]:
        """The input's address and the region, over tiles, pixels in them, and panels, vectors and lanes of filters."""
        shape = self.shape
        forms = {
            shape.height: Linear.dim(TILE_H, self.outputs) + Linear.dim(PIXEL_H),
            shape.width: Linear.dim(TILE_W, self.outputs) + Linear.dim(PIXEL_W),
            shape.filters: Linear.dim(PANEL, self.width) + Linear.dim(VECTOR, self.lanes) + Linear.dim(LANE),
            shape.channels: Linear.dim(CHANNEL),
            shape.kernel_height: Linear(),
            shape.kernel_width: Linear(),
        }
        if shape.batch:
            forms[shape.batch] = Linear.dim(TILE_N)
        extents = {TILE_N: self.images, TILE_H: self.tiles_h, TILE_W: self.tiles_w, PANEL: self.panels}
        extents |= {PIXEL_H: self.outputs, PIXEL_W: self.outputs, VECTOR: self.width // self.lanes, LANE: self.lanes}
        return shape.source.address.substitute(forms), substitute(region, forms, extents)

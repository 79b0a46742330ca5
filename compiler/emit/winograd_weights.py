"""Winograd's transform of 3x3 weights, ahead of time: U = G w G^T, packed in panels of filters.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015); the points of F(4x4,3x3) are chosen
for accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

NEAR, FAR = 5 / 8, 3 / 2
"""The points of F(4x4,3x3) are 0, +-NEAR, +-FAR and infinity. Exact in f32; half the error of +-1, +-2."""


def _evaluate(points: Sequence[float]) -> np.ndarray[Any, Any]:
    """G: a filter of three taps as a polynomial at `points` (over the product of distances) and infinity."""
    rows = [[p**k / prod(p - q for q in points if q != p) for k in range(3)] for p in points]
    return np.array([*rows, [0, 0, 1]])


_MATRIX = {2: _evaluate((0, 1, -1)) * [[-1], [1], [1], [1]], 4: _evaluate((0, NEAR, -NEAR, FAR, -FAR))}


@dataclass(frozen=True)
class WinogradPacking:
    """Transformed weights as [panels, (outputs + 2)^2 positions, channels, width], the last panel filled up with zeros.

    The operand's element (filter, channel, row, column) is at `offset` + strides, in elements; `filters`, `channels`,
    `rows` and `columns` are (extent, stride).
    """

    argument: int
    outputs: int
    """Output pixels of a tile along one side: 2 or 4."""
    offset: int
    filters: tuple[int, int]
    channels: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]
    width: int

    def shape(self) -> tuple[int, int, int, int]:
        panels = -(-self.filters[0] // self.width)
        return panels, (self.outputs + 2) ** 2, self.channels[0], self.width

    def elements(self) -> int:
        return prod(self.shape())


def transform_weights(array: np.ndarray[Any, Any], packing: WinogradPacking) -> np.ndarray[Any, Any]:
    """The transformed and packed copy of `array`, computed in float64 and rounded once to its type."""
    axes = (packing.filters, packing.channels, packing.rows, packing.columns)
    flat = as_strided(array, (1 + packing.offset,), (array.itemsize,))[packing.offset :]
    taps = as_strided(flat, [n for n, _ in axes], [s * array.itemsize for _, s in axes])
    matrix = _MATRIX[packing.outputs]
    panels, positions, channels, width = packing.shape()
    packed = np.zeros(packing.shape(), array.dtype)
    for panel in range(panels):
        part = taps[panel * width : (panel + 1) * width].astype(np.float64)
        made = matrix @ part @ matrix.T
        packed[panel, :, :, : len(part)] = made.reshape(len(part), channels, positions).transpose(2, 1, 0)
    return packed

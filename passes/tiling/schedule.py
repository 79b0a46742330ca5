"""How a workload is computed: one frozen record, printed as an MLIR attribute on the region's root op."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

ALGORITHMS = ("direct", "row", "winograd2", "winograd4", "plain", "transform")
ORDERS = ("columns-rows", "rows-columns")


@dataclass(frozen=True, order=True)
class Schedule:
    """A schedule of one region.

    `direct` computes register tiles of `rows` x (`vectors` * `vector`) elements; the vector lanes run along one
    parallel dimension (columns), the rows along another. `row` puts the lanes along the reduced dimension (softmax,
    layer norm). `winograd2` and `winograd4` are F(2x2,3x3) and F(4x4,3x3); their batched matrix products use the same
    register tile.
    `plain` is the lowering of upstream MLIR without tiling; `transform` computes the register tiles of `direct` for any
    linalg region by transform dialect scripts.
    """

    algorithm: str = "direct"
    vector: int = 8
    """Lanes of one vector operation."""
    vectors: int = 1
    """Vectors of the register tile along the columns."""
    rows: int = 1
    """Rows of the register tile."""
    unroll: int = 1
    """Unrolling of the innermost reduction loop."""
    row_tile: int = 0
    """Rows of a cache tile (0: all rows)."""
    reduction_tile: int = 0
    """Reduction steps of a cache tile (0: the whole reduction)."""
    order: str = "columns-rows"
    """Outer loop order: `columns-rows` keeps a panel of the packed operand in cache, `rows-columns` a block of rows."""
    pack: bool = True
    """Copy the column operand into panels of contiguous vectors (ahead of time if it is constant)."""
    parallel: bool = True
    """Distribute the outermost loop over threads."""

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm {self.algorithm!r} is not one of {', '.join(ALGORITHMS)}")
        if self.order not in ORDERS:
            raise ValueError(f"order {self.order!r} is not one of {', '.join(ORDERS)}")
        if min(self.vector, self.vectors, self.rows, self.unroll) < 1 or min(self.row_tile, self.reduction_tile) < 0:
            raise ValueError(f"sizes of a schedule are positive: {self}")

    def __str__(self) -> str:
        """The MLIR dictionary attribute, keys in alphabetic order as MLIR prints them."""
        return _text(self)

    @staticmethod
    def parse(text: str) -> Schedule:
        """The schedule of a dictionary attribute as `str` prints it; absent keys take their defaults."""
        kinds = {f.name: type(f.default) for f in fields(Schedule)}
        found = dict(re.findall(r"(\w+) = (\"[\w-]+\"|-?\d+|true|false)", text))
        unknown = found.keys() - kinds.keys()
        if unknown:
            raise ValueError(f"schedule has unknown keys {sorted(unknown)}; known: {sorted(kinds)}")
        return Schedule(**{k: _read(v, kinds[k]) for k, v in found.items()})


@lru_cache(maxsize=1 << 16)
def _text(schedule: Schedule) -> str:
    """A schedule occurs in the candidates of many workloads."""
    names = sorted(f.name for f in fields(schedule))
    return "{" + ", ".join(f"{name} = {_print(getattr(schedule, name))}" for name in names) + "}"


def _print(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value} : i64" if isinstance(value, int) else f'"{value}"'


def _read(text: str, kind: type) -> Any:
    if kind is bool:
        return text == "true"
    return int(text) if kind is int else text.strip('"')

"""A region of a model as its loops and expressions: what is reduced over which dimensions and stored where."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

from costmodel.region.expression import Reduction, Store


@dataclass(frozen=True)
class Argument:
    """An operand or result of a region: shape, element type, strides in elements, whether it is a weight."""

    shape: tuple[int, ...]
    type: Any
    strides: tuple[int, ...]
    constant: bool

    def span(self) -> int:
        """Elements between the first and one past the last."""
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)) if prod(self.shape) else 0


@dataclass(frozen=True)
class Region:
    """`arguments` holds the inputs, then the results; `extents` maps loop dimensions to trip counts."""

    name: str
    arguments: tuple[Argument, ...]
    inputs: int
    extents: dict[str, int]
    reductions: tuple[Reduction, ...]
    stores: tuple[Store, ...]
    schedule: Any
    """What the root carries, if anything."""
    module: Any = field(default=None, repr=False, compare=False)
    """Keeps alive what the expressions point to."""

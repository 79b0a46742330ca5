"""Winograd's transforms of input and output tiles in few operations, on any values that Arithmetic knows.

The points come in pairs +p and -p, whose lines share their even and odd parts: 4 operations an input line and 4 an
output line for F(2,3), 12 and 12 for F(4,3) with fused multiply-add.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from compiler.emit.winograd_weights import FAR, NEAR

Line = Callable[["Arithmetic", Sequence[Any]], list[Any]]


class Arithmetic(Protocol):
    """Operations on the values of a tile (vectors over channels or filters)."""

    def add(self, left: Any, right: Any) -> Any: ...

    def sub(self, left: Any, right: Any) -> Any: ...

    def times(self, factor: float, value: Any) -> Any: ...

    def scaled(self, factor: float, value: Any, addend: Any) -> Any:
        """factor * value + addend."""
        ...


def transform_input(a: Arithmetic, tile: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """B^T d B of a square of `outputs` + 2 rows."""
    return _both_ways(a, _INPUT[len(tile) - 2], tile)


def transform_output(a: Arithmetic, tile: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """A^T m A: the `outputs` x `outputs` pixels of a square of positions."""
    return _both_ways(a, _OUTPUT[len(tile) - 2], tile)


def _both_ways(a: Arithmetic, line: Line, tile: Sequence[Sequence[Any]]) -> list[list[Any]]:
    columns = [line(a, column) for column in zip(*tile, strict=True)]
    return [line(a, row) for row in zip(*columns, strict=True)]


def _input_2(a: Arithmetic, d: Sequence[Any]) -> list[Any]:
    return [a.sub(d[0], d[2]), a.add(d[1], d[2]), a.sub(d[2], d[1]), a.sub(d[1], d[3])]


def _output_2(a: Arithmetic, m: Sequence[Any]) -> list[Any]:
    return [a.add(m[0], a.add(m[1], m[2])), a.sub(a.sub(m[1], m[2]), m[3])]


def _input_4(a: Arithmetic, d: Sequence[Any]) -> list[Any]:
    near, far = NEAR**2, FAR**2
    even_near, odd_near = a.scaled(-far, d[2], d[4]), a.scaled(-far, d[1], d[3])
    even_far, odd_far = a.scaled(-near, d[2], d[4]), a.scaled(-near, d[1], d[3])
    return [
        a.scaled(near * far, d[0], a.scaled(-near - far, d[2], d[4])),
        a.scaled(NEAR, odd_near, even_near),
        a.scaled(-NEAR, odd_near, even_near),
        a.scaled(FAR, odd_far, even_far),
        a.scaled(-FAR, odd_far, even_far),
        a.scaled(near * far, d[1], a.scaled(-near - far, d[3], d[5])),
    ]


def _output_4(a: Arithmetic, m: Sequence[Any]) -> list[Any]:
    even_near, odd_near = a.add(m[1], m[2]), a.sub(m[1], m[2])
    even_far, odd_far = a.add(m[3], m[4]), a.sub(m[3], m[4])
    return [
        a.add(a.add(m[0], even_near), even_far),
        a.scaled(FAR, odd_far, a.times(NEAR, odd_near)),
        a.scaled(FAR**2, even_far, a.times(NEAR**2, even_near)),
        a.scaled(FAR**3, odd_far, a.scaled(NEAR**3, odd_near, m[5])),
    ]


_INPUT: dict[int, Line] = {2: _input_2, 4: _input_4}
_OUTPUT: dict[int, Line] = {2: _output_2, 4: _output_4}

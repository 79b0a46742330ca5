"""Linear forms over named loop dimensions: every index and every address of a kernel is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Linear:
    """`constant + sum(coefficient * dimension)`; terms are sorted by dimension and never zero."""

    constant: int = 0
    terms: tuple[tuple[str, int], ...] = ()

    @staticmethod
    def of(constant: int = 0, terms: Mapping[str, int] | None = None) -> Linear:
        return Linear(constant, tuple(sorted((d, c) for d, c in (terms or {}).items() if c)))

    @staticmethod
    def dim(name: str, coefficient: int = 1) -> Linear:
        return Linear.of(0, {name: coefficient})

    def __add__(self, other: Linear) -> Linear:
        terms = dict(self.terms)
        for name, coefficient in other.terms:
            terms[name] = terms.get(name, 0) + coefficient
        return Linear.of(self.constant + other.constant, terms)

    def __mul__(self, factor: int) -> Linear:
        return Linear.of(self.constant * factor, {d: c * factor for d, c in self.terms})

    def coefficient(self, name: str) -> int:
        return dict(self.terms).get(name, 0)

    def dims(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.terms)

    def substitute(self, forms: Mapping[str, Linear]) -> Linear:
        """Each named dimension replaced by a form."""
        result = Linear(self.constant)
        for name, coefficient in self.terms:
            result = result + forms.get(name, Linear.dim(name)) * coefficient
        return result

    def as_dim(self) -> str | None:
        """The dimension, if the form is exactly one dimension."""
        return self.terms[0][0] if self.constant == 0 and len(self.terms) == 1 and self.terms[0][1] == 1 else None


def dot(indices: Sequence[Linear], strides: Sequence[int]) -> Linear:
    """The address of an element: indices times strides (both in elements)."""
    total = Linear()
    for index, stride in zip(indices, strides, strict=True):
        total = total + index * stride
    return total


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of a contiguous array; dimensions of size 1 count too."""
    strides = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * max(shape[i + 1], 1)
    return tuple(strides)

"""Values of MLIR with Python's operators, so that a polynomial reads as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from passes.mlir import arith, ir, math


@dataclass(frozen=True)
class Lanes:
    """A scalar or vector value with Python's operators; numbers become constants of its type."""

    value: ir.Value

    def like(self, number: float | int) -> Lanes:
        return constant(self.value.type, number)

    def _other(self, other: Lanes | float) -> ir.Value:
        return other.value if isinstance(other, Lanes) else self.like(other).value

    def __add__(self, other: Lanes | float) -> Lanes:
        return Lanes(arith.addf(self.value, self._other(other)))

    def __sub__(self, other: Lanes | float) -> Lanes:
        return Lanes(arith.subf(self.value, self._other(other)))

    def __mul__(self, other: Lanes | float) -> Lanes:
        return Lanes(arith.mulf(self.value, self._other(other)))

    def __truediv__(self, other: Lanes | float) -> Lanes:
        return Lanes(arith.divf(self.value, self._other(other)))

    def __neg__(self) -> Lanes:
        return Lanes(arith.negf(self.value))

    def __lt__(self, other: Lanes | float) -> Lanes:
        return Lanes(arith.cmpf(arith.CmpFPredicate.OLT, self.value, self._other(other)))

    def __gt__(self, other: Lanes | float) -> Lanes:
        return Lanes(arith.cmpf(arith.CmpFPredicate.OGT, self.value, self._other(other)))

    def equals(self, other: Lanes | float) -> Lanes:
        return Lanes(arith.cmpf(arith.CmpFPredicate.OEQ, self.value, self._other(other)))

    def fma(self, factor: Lanes | float, addend: Lanes | float) -> Lanes:
        """self * factor + addend, rounded once."""
        return Lanes(math.fma(self.value, self._other(factor), self._other(addend)))

    def where(self, yes: Lanes | float, no: Lanes) -> Lanes:
        """`yes` in the lanes where this condition holds, else `no`."""
        return Lanes(arith.select(self.value, no._other(yes), no.value))

    def clamp(self, low: float, high: float) -> Lanes:
        """Within [low, high]; NaN stays NaN."""
        below = (self > high).where(high, self)
        return (below < low).where(low, below)

    def bits(self) -> Lanes:
        return Lanes(arith.bitcast(with_element(self.value.type, integer_type(self.value.type)), self.value))

    def floats(self, like: Lanes) -> Lanes:
        return Lanes(arith.bitcast(like.value.type, self.value))

    def integer(self, op: Callable[[ir.Value, ir.Value], ir.Value], other: Lanes | int) -> Lanes:
        """An integer operation (`arith.addi`, `arith.shli`, ...) with a value or a number."""
        return Lanes(op(self.value, self._other(other)))

    def cast(self, op: Callable[[ir.Type, ir.Value], ir.Value], element: ir.Type) -> Lanes:
        return Lanes(op(with_element(self.value.type, element), self.value))


def constant(type_: ir.Type, number: float | int) -> Lanes:
    """`number` as a scalar or a splat of `type_`."""
    element = element_type(type_)
    scalar = ir.FloatAttr.get(element, number) if _is_float(element) else ir.IntegerAttr.get(element, int(number))
    attribute = scalar if element == type_ else ir.DenseElementsAttr.get_splat(type_, scalar)
    return Lanes(arith.constant(type_, attribute))


def element_type(type_: ir.Type) -> ir.Type:
    return ir.VectorType(type_).element_type if isinstance(type_, ir.VectorType) else type_


def with_element(type_: ir.Type, element: ir.Type) -> ir.Type:
    return ir.VectorType.get(ir.VectorType(type_).shape, element) if isinstance(type_, ir.VectorType) else element


def _is_float(element: ir.Type) -> bool:
    return isinstance(element, ir.F32Type | ir.F64Type)


def integer_type(type_: ir.Type) -> ir.Type:
    return ir.IntegerType.get_signless(64 if isinstance(element_type(type_), ir.F64Type) else 32)

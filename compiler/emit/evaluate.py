"""Expressions as scalar or vector operations: what does not vary along the lanes stays a scalar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from compiler.emit.builder import KernelBuilder, Point
from costmodel.region.expression import Accumulator, Apply, Constant, Expr, Gather, Index, Load, Reduced
from costmodel.region.linear import Linear
from passes.mlir import ir

INTEGER_DIVISIONS = frozenset(f"arith.{op}" for op in "divsi divui remsi remui floordivsi ceildivsi ceildivui".split())


@dataclass
class Memo:
    """Values already emitted at this place: by expression and by the offsets that it depends on."""

    values: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    """Vector or scalar values by (expression, offsets)."""


class ExpressionBuilder(KernelBuilder):
    """A kernel builder that evaluates the expressions of a region."""

    def __init__(self, name: str, argument_types: Sequence[tuple[int, Any]]) -> None:
        super().__init__(name, argument_types)
        self._depends: dict[int, frozenset[str]] = {}
        self._alive: list[Expr] = []

    def depends(self, expr: Expr) -> frozenset[str]:
        """The dimensions that the value of `expr` varies with."""
        if id(expr) not in self._depends:
            self._alive.append(expr)
            self._depends[id(expr)] = self._depends_on(expr)
        return self._depends[id(expr)]

    def _depends_on(self, expr: Expr) -> frozenset[str]:
        match expr:
            case Load(_, address, _):
                return address.dims()
            case Index(form, _):
                return form.dims()
            case Gather(_, address, dynamic, _):
                return address.dims().union(*[self.depends(e) for e, _, _ in dynamic])
            case Apply(_, operands, _):
                return frozenset[str]().union(*[self.depends(e) for e in operands])
            case Accumulator() | Reduced():
                return frozenset({"*"})
            case Constant():
                return frozenset()

    def key(self, expr: Expr, point: Point) -> tuple[Any, ...]:
        dims = self.depends(expr)
        offsets = point.offsets if "*" in dims else tuple((d, o) for d, o in point.offsets if d in dims)
        return (id(expr), offsets, point.valid if point.lane in dims or "*" in dims else 0)

    def evaluate(self, expr: Expr, point: Point, memo: Memo, known: Callable[[Expr, Point], Any]) -> Any:
        """The value of `expr` at `point`: scalar if it does not vary along the lanes, else a vector.

        `known` gives the values of accumulators and finished reductions.
        """
        if isinstance(expr, (Accumulator, Reduced)):
            return known(expr, point)
        key = self.key(expr, point)
        if key not in memo.values:
            memo.values[key] = self._evaluate(expr, point, memo, known)
        return memo.values[key]

    def _evaluate(self, expr: Expr, point: Point, memo: Memo, known: Callable[[Expr, Point], Any]) -> Any:
        match expr:
            case Load(argument, address, kind):
                return self.load(argument, address, kind, point)
            case Constant(attribute, kind):
                return self.scalar(attribute, kind)
            case Index(form, _):
                return self._index(form, point)
            case Gather():
                return self._gather(expr, point, memo, known)
            case Apply(op, operands, kind):
                return self._apply(op, operands, kind, point, memo, known)
            case _:
                raise TypeError(f"unexpected expression {type(expr).__name__}")

    def _index(self, form: Linear, point: Point) -> Any:
        base = self.address(form, point)
        stride = form.coefficient(point.lane) if point.lanes > 1 else 0
        if not stride:
            return base
        kind = self.vector_type(point.lanes, self.index)
        steps = ", ".join(str(i * stride) for i in range(point.lanes))
        step = self.scalar(ir.Attribute.parse(f"dense<[{steps}]> : {kind}"), kind)
        return self.op("arith.addi", [self.broadcast(base, point.lanes), step], [kind])

    def _gather(self, expr: Gather, point: Point, memo: Memo, known: Callable[[Expr, Point], Any]) -> Any:
        indices = [(self.evaluate(e, point, memo, known), stride, extent) for e, stride, extent in expr.dynamic]
        if not any(self.is_vector(v) for v, _, _ in indices):
            return self._load_at(expr, self._offset(indices), point)
        loaded: list[Any] = []
        for i in range(point.valid):
            at = [(self.extract(v, i) if self.is_vector(v) else v, s, n) for v, s, n in indices]
            extra = i * expr.address.coefficient(point.lane)
            single = Point(point.offsets, point.lane, 1, 1)
            loaded.append(self._load_at(expr, self._offset(at), single, extra))
        loaded += [self.zero(expr.type)] * (point.lanes - point.valid)
        return self.op("vector.from_elements", loaded, [self.vector_type(point.lanes, expr.type)])

    def _offset(self, indices: Sequence[tuple[Any, int, int]]) -> Any:
        """Sum of index * stride, each index clamped to its dimension: an index out of range must not read elsewhere."""
        total = self.constant(0)
        for value, stride, extent in indices:
            low = self.op("arith.maxsi", [value, self.constant(0)], [self.index])
            safe = self.op("arith.minsi", [low, self.constant(extent - 1)], [self.index])
            scaled = self.op("arith.muli", [safe, self.constant(stride)], [self.index])
            total = self.op("arith.addi", [total, scaled], [self.index])
        return total

    def _load_at(self, expr: Gather, offset: Any, point: Point, extra: int = 0) -> Any:
        name = f"gather{len(self.env)}"
        self.env[name] = offset
        form = expr.address + Linear.dim(name) + Linear(extra)
        value = self.load(expr.argument, form, expr.type, point)
        del self.env[name]
        return value

    def _apply(
        self,
        op: Any,
        operands: tuple[Expr, ...],
        kind: Any,
        point: Point,
        memo: Memo,
        known: Callable[[Expr, Point], Any],
    ) -> Any:
        fused = self._multiply_add(op, operands, point, memo, known)
        if fused is not None:
            return fused
        values = [self.evaluate(e, point, memo, known) for e in operands]
        if any(self.is_vector(v) for v in values):
            values = [self.broadcast(v, point.lanes) for v in values]
            kind = self.vector_type(point.lanes, kind)
            if op.name in INTEGER_DIVISIONS and point.valid < point.lanes:
                values[1] = self._at_least_one(values[1], point)
        return self.op(op.name, values, [kind], **dict(op.attributes.items()))

    def _at_least_one(self, divisor: Any, point: Point) -> Any:
        """The divisor with ones in the lanes that do not exist: a division by zero there would trap."""
        one = ir.IntegerAttr.get(divisor.type.element_type, 1)
        ones = self.broadcast(self.scalar(one, divisor.type.element_type), point.lanes)
        return self.op("arith.select", [self.mask(point.lanes, point.valid), divisor, ones], [divisor.type])

    def _multiply_add(
        self, op: Any, operands: tuple[Expr, ...], point: Point, memo: Memo, known: Callable[[Expr, Point], Any]
    ) -> Any:
        """`a * b + c` in one rounding, as the accumulation of a contraction."""
        if op.name != "arith.addf":
            return None
        for product, addend in (operands, operands[::-1]):
            if isinstance(product, Apply) and product.op.name == "arith.mulf" and isinstance(addend, Accumulator):
                values = [self.evaluate(e, point, memo, known) for e in (*product.operands, addend)]
                lanes = point.lanes if any(self.is_vector(v) for v in values) else 1
                values = [self.broadcast(v, lanes) for v in values]
                return self.op("math.fma", values, [values[0].type])
        return None

"""Reductions in several accumulators: which updates allow it, their neutral elements, and joining them."""

from __future__ import annotations

from typing import Any

from compiler.emit.builder import KernelBuilder
from costmodel.region.expression import Accumulator, Apply, Expr, Reduction, walk
from passes.mlir import ir
from passes.region.structure import UnsupportedRegion

_FLOAT_NEUTRAL = {
    "arith.addf": 0.0,
    "arith.mulf": 1.0,
    "arith.maximumf": -float("inf"),
    "arith.maxnumf": -float("inf"),
    "arith.minimumf": float("inf"),
    "arith.minnumf": float("inf"),
}
_INTEGER_NEUTRAL = {
    "arith.addi": "zero",
    "arith.muli": "one",
    "arith.ori": "zero",
    "arith.xori": "zero",
    "arith.andi": "ones",
    "arith.maxui": "zero",
    "arith.minui": "ones",
    "arith.maxsi": "smallest",
    "arith.minsi": "largest",
}


def combiner(reduction: Reduction) -> str:
    """The op that joins two accumulators: that of the update, if it adds a value that does not depend on them."""
    update = reduction.update
    if isinstance(update, Apply) and (update.op.name in _FLOAT_NEUTRAL or update.op.name in _INTEGER_NEUTRAL):
        inside = [any(isinstance(e, Accumulator) for e in walk(operand)) for operand in update.operands]
        direct = [isinstance(operand, Accumulator) for operand in update.operands]
        if sum(inside) == 1 and inside == direct:
            return update.op.name
    raise UnsupportedRegion(f"a reduction by {_describe(update)} cannot be split into independent accumulators")


def _describe(update: Expr) -> str:
    return update.op.name if isinstance(update, Apply) else type(update).__name__


def flags(name: str) -> dict[str, Any]:
    """The attributes of a combining op: the sign of a zero maximum is not kept, which is faster."""
    if name in ("arith.maximumf", "arith.minimumf"):
        return {"fastmath": ir.Attribute.parse("#arith.fastmath<nsz>")}
    return {}


def neutral(name: str, kind: Any) -> Any:
    """The attribute of the value e with `combine(e, x) = x`."""
    if name in _FLOAT_NEUTRAL:
        return ir.FloatAttr.get(kind, _FLOAT_NEUTRAL[name])
    width = ir.IntegerType(kind).width
    values = {"zero": 0, "one": 1, "ones": -1, "smallest": -(1 << (width - 1)), "largest": (1 << (width - 1)) - 1}
    return ir.IntegerAttr.get(kind, values[_INTEGER_NEUTRAL[name]])


def combine(b: KernelBuilder, name: str, left: Any, right: Any) -> Any:
    return b.op(name, [left, right], [left.type], **flags(name))


def combine_all(b: KernelBuilder, name: str, values: list[Any]) -> Any:
    """All of `values` combined pairwise, so that the chain is short."""
    while len(values) > 1:
        pairs = [combine(b, name, x, y) for x, y in zip(values[::2], values[1::2], strict=False)]
        values = pairs + values[len(pairs) * 2 :]
    return values[0]


def across_lanes(b: KernelBuilder, name: str, value: Any) -> Any:
    """The scalar that combines all lanes (a power of two) of a vector; a scalar stays as it is."""
    if not b.is_vector(value):
        return value
    lanes = value.type.shape[0]
    while lanes > 1:
        lanes //= 2
        kind = b.vector_type(lanes, value.type.element_type)
        halves = [
            b.op("vector.shuffle", [value, value], [kind], mask=ir.DenseI64ArrayAttr.get(range(start, start + lanes)))
            for start in (0, lanes)
        ]
        value = combine(b, name, *halves)
    return b.extract(value, 0)

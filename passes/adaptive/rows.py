"""Small tensor code at the insertion point: loops with a Python body, rows of a matrix, leading dimensions as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from passes.fusion.generic import build, map_of, shape
from passes.mlir import arith, ir, linalg, tensor

Scalars = list[ir.Value]


def loops(
    inputs: Sequence[ir.Value],
    dims: Sequence[Sequence[int]],
    sizes: Sequence[int],
    element: ir.Type,
    body: Callable[[Scalars], Scalars],
    summed: int = 0,
) -> ir.Value:
    """A tensor from a linalg.generic over loops of `sizes` whose inputs are indexed by the loops `dims`.

    `body` gets one element of each input and what was there before: the sum so far if the last `summed` loops, which
    the result does not have, add up from 0.
    """
    kept = len(sizes) - summed
    out = tensor.empty(list(sizes[:kept]), element)
    if summed:
        out = linalg.fill(constant(element, 0), outs=[out])
    maps = [map_of(len(sizes), d) for d in (*dims, range(kept))]
    return build(inputs, [out], maps, [d < kept for d in range(len(sizes))], body).results[0]


def pick_rows(source: ir.Value, rows: ir.Value) -> ir.Value:
    """source[rows[i], :] of a matrix; `rows` i32 [n]."""

    def body(scalars: Scalars) -> Scalars:
        return [tensor.extract(source, [cast(scalars[0], ir.IndexType.get()), index(1)])]

    return loops([rows], [[0]], [shape(rows)[0], shape(source)[1]], element_of(source), body)


def as_matrix(value: ir.Value) -> ir.Value:
    """All dimensions but the last as one."""
    sizes = shape(value)
    if len(sizes) == 2:
        return value
    kind = ir.RankedTensorType.get([prod(sizes[:-1]), sizes[-1]], element_of(value))
    return tensor.collapse_shape(kind, value, _groups([list(range(len(sizes) - 1)), [len(sizes) - 1]]))


def as_vector(value: ir.Value) -> ir.Value:
    """All dimensions as one."""
    sizes = shape(value)
    kind = ir.RankedTensorType.get([prod(sizes)], element_of(value))
    return tensor.collapse_shape(kind, value, _groups([list(range(len(sizes)))])) if len(sizes) > 1 else value


def split_first(value: ir.Value, sizes: Sequence[int]) -> ir.Value:
    """The first dimension as several: [a * b, ...] to [a, b, ...]."""
    rest = shape(value)[1:]
    if len(sizes) == 1:
        return value
    groups = [list(range(len(sizes))), *([len(sizes) + d] for d in range(len(rest)))]
    kind = ir.RankedTensorType.get([*sizes, *rest], element_of(value))
    return tensor.expand_shape(kind, value, _groups(groups), [], [*sizes, *rest])


def index(loop: int) -> ir.Value:
    """The number of a loop's iteration, in a body."""
    return linalg.IndexOp(loop).result


def cast(value: ir.Value, type_: ir.Type) -> ir.Value:
    """Between index and integers."""
    return arith.index_cast(type_, value)


def constant(type_: ir.Type, value: float) -> ir.Value:
    floating = isinstance(type_, ir.FloatType)
    return arith.constant(type_, ir.FloatAttr.get(type_, value) if floating else ir.IntegerAttr.get(type_, int(value)))


def i32() -> ir.Type:
    return ir.IntegerType.get_signless(32)


def element_of(value: ir.Value) -> ir.Type:
    return ir.RankedTensorType(value.type).element_type


def _groups(groups: Sequence[Sequence[int]]) -> ir.ArrayAttr:
    i64 = ir.IntegerType.get_signless(64)
    return ir.ArrayAttr.get([ir.ArrayAttr.get([ir.IntegerAttr.get(i64, d) for d in group]) for group in groups])

"""Products with a weight matrix as products with two thin ones: W = L R, the singular value decomposition cut off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from passes.adaptive.dataflow import read_structured
from passes.fusion.generic import Generic, build, is_contraction, shape
from passes.mlir import arith, ir, linalg, tensor

Array = np.ndarray[Any, Any]
LEFT, RIGHT = ".left", ".right"


def low_rank_factors(array: Array, rank: int) -> tuple[Array, Array]:
    """L [m, rank] and R [rank, n] whose product is nearest to the matrix [m, n] in the Frobenius norm (Eckart-Young).

    Each takes the square roots of the singular values; computed in float64, returned in the type of `array`.
    """
    left, values, right = np.linalg.svd(array.astype(np.float64), full_matrices=False)
    roots = np.sqrt(values[:rank])
    factors = left[:, :rank] * roots, roots[:, None] * right[:rank]
    return factors[0].astype(array.dtype), np.ascontiguousarray(factors[1].astype(array.dtype))


def with_factors(weights: Mapping[str, Array], names: Iterable[str], rank: int) -> dict[str, Array]:
    """The arrays of a module in which matrices were factored.

    Args:
        weights: the arrays before.
        names: the weight arguments of @main, in order; those that have no array are factors of one that has.
        rank: that of the pass.
    """
    known: dict[str, tuple[Array, Array]] = {}
    found: dict[str, Array] = {}
    for name in names:
        if name in weights:
            found[name] = weights[name]
        else:
            base = name.removesuffix(LEFT).removesuffix(RIGHT)
            known[base] = known.get(base) or low_rank_factors(weights[base], rank)
            found[name] = known[base][name.endswith(RIGHT)]
    return found


def product_with(op: ir.Operation, weights: Mapping[ir.Value, str]) -> tuple[Generic, ir.Value] | None:
    """`op` as loops, and its weight matrix [m, n], if it multiplies one by an activation.

    One dimension of the matrix is summed over, the other one the result has and the activation has not.
    """
    generic = read_structured(op)
    if generic is None or not is_contraction(generic):
        return None
    for matrix, activation in (generic.inputs, generic.inputs[::-1]):
        if matrix not in weights or activation in weights or len(shape(matrix)) != 2:
            continue
        at = generic.operands.index(matrix)
        dims, others, written = generic.dims[at], generic.dims[1 - at], generic.dims[-1]
        if dims is None or others is None or written is None:
            continue
        summed = [d for d in dims if not generic.parallel[d]]
        kept = [d for d in dims if generic.parallel[d]]
        if len(summed) == len(kept) == 1 and summed[0] in others and kept[0] not in others and kept[0] in written:
            return generic, matrix
    return None


def factored(generic: Generic, matrix: ir.Value, left: ir.Value, right: ir.Value) -> ir.Value:
    """What `product_with` found as two products, at the insertion point; `left` [m, r], `right` [r, n]."""
    at = generic.operands.index(matrix)
    dims = generic.dims[at]
    assert dims is not None
    transposed = generic.parallel[dims[0]]  # the result has the rows of the matrix, so its columns are summed over
    first, second = (right, left) if transposed else (left, right)
    inner = _product(generic, at, generic.inputs[1 - at], generic.maps[1 - at], first, None)
    swap = {dims[0]: dims[1], dims[1]: dims[0]}
    kept = dims[0] if transposed else dims[1]
    read = [ir.AffineExpr.get_dim(swap[kept] if d == kept else d) for d in generic.dims[-1] or ()]
    map_ = ir.AffineMap.get(len(generic.parallel), 0, read)
    return _product(generic, at, inner, map_, second, generic.outputs[0])


def _product(
    generic: Generic, at: int, activation: ir.Value, map_: ir.AffineMap, factor: ir.Value, out: ir.Value | None
) -> ir.Value:
    """The contraction of `activation`, read at `map_`, with a factor in the place of the matrix.

    Without `out` the result has the rank of the factor where it would have the matrix's kept dimension, from zeros.
    """
    written = generic.maps[-1]
    if out is None:
        sizes = list(shape(generic.outputs[0]))
        for position, dim in enumerate(generic.dims[-1] or ()):
            if dim in (generic.dims[at] or ()):
                sizes[position] = shape(factor)[list(generic.dims[at] or ()).index(dim)]
        element = ir.RankedTensorType(generic.outputs[0].type).element_type
        zero = arith.constant(element, ir.FloatAttr.get(element, 0.0))
        out = linalg.fill(zero, outs=[tensor.empty(sizes, element)])

    def body(scalars: list[ir.Value]) -> list[ir.Value]:
        return [arith.addf(scalars[2], arith.mulf(scalars[0], scalars[1]))]

    maps = [map_, generic.maps[at], written]
    return build([activation, factor], [out], maps, generic.parallel, body).results[0]

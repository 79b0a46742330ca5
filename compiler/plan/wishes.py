"""Where the users of a value want it to lie: read backwards through views, so that they stay views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from compiler.plan.tensor_ops import concat_parts, groups, slice_place
from compiler.plan.views import (
    Place,
    collapse_strides,
    contiguous,
    expand_strides,
    extract_slice,
    permuted_strides,
    transpose,
)
from compiler.plan.windows import filter_order
from costmodel.region.linear import row_major
from passes.mlir import ir
from passes.region.structure import shape_of


class Joins(Protocol):
    """What a wish needs to know of the layout so far."""

    places: dict[Any, Place]

    def joined(self, value: Any) -> Place:
        """The buffer of a pad or concatenation."""
        ...


def wished_place(layout: Joins, value: Any) -> Place | None:
    """A place with a buffer, a place with buffer "" (only its strides count), or None if every layout is as good."""
    found: Place | None = None
    for use in sorted(value.uses, key=lambda u: u.operand_number):
        wish = _wish(layout, use, value)
        if wish is not None and wish.buffer:
            return wish
        found = found or wish
    return found


def _wish(layout: Joins, use: Any, value: Any) -> Place | None:
    op, shape = use.owner, shape_of(value)
    match op.name:
        case "func.return":
            first = list(op.operands).index(value) == use.operand_number
            return contiguous(f"out{use.operand_number}", shape) if first else None
        case "scf.yield" if op.parent.name == "scf.if":
            first = list(op.operands).index(value) == use.operand_number
            # Results are placed before their sides: what comes from outside of the branch has no wish yet.
            return layout.places.get(op.parent.results[use.operand_number]) if first else None
        case "linalg.transpose" if use.operand_number == 0:
            wanted = wished_place(layout, op.results[0])
            permutation = list(ir.DenseI64ArrayAttr(op.attributes["permutation"]))
            return transpose(wanted, [int(p) for p in np.argsort(permutation)]) if wanted is not None else None
        case "tensor.collapse_shape":
            result = shape_of(op.results[0])
            wanted = wished_place(layout, op.results[0]) or Place("", result, row_major(result))
            return replace(wanted, shape=shape, strides=expand_strides(wanted.strides, groups(op), shape))
        case "tensor.expand_shape":
            return _collapsed(wished_place(layout, op.results[0]), op, shape)
        case "tensor.pad" if use.operand_number == 0:
            low = list(ir.DenseI64ArrayAttr(op.attributes["static_low"]))
            return extract_slice(layout.joined(op.results[0]), low, shape, [1] * len(shape))
        case "tensor.concat":
            return concat_parts(op, layout.joined(op.results[0]))[use.operand_number]
        case "tensor.insert_slice" if use.operand_number == 0 and op.operands[1] in layout.places:
            return slice_place(op, layout.places[op.operands[1]], value, op.parent.regions[0].blocks[0].arguments[0])
        case _:
            return None


def filter_strides(functions: Mapping[str, Any], value: Any) -> tuple[int, ...] | None:
    """Strides in which the one reader of a weight wants it, if that is a depthwise convolution; else None."""
    uses = list(value.uses)
    if len(uses) != 1:
        return None
    op, shape = uses[0].owner, shape_of(value)
    match op.name:
        case "func.call":
            function = functions[ir.FlatSymbolRefAttr(op.attributes["callee"]).value]
            order = filter_order(function, uses[0].operand_number)
            return permuted_strides(order, shape) if order is not None else None
        case "tensor.collapse_shape":
            wanted = filter_strides(functions, op.results[0])
            return expand_strides(wanted, groups(op), shape) if wanted is not None else None
        case "tensor.expand_shape":
            wanted = filter_strides(functions, op.results[0])
            return collapse_strides(wanted, shape_of(op.results[0]), groups(op)) if wanted is not None else None
        case _:
            return None


def _collapsed(wanted: Place | None, op: Any, shape: tuple[int, ...]) -> Place | None:
    strides = collapse_strides(wanted.strides, wanted.shape, groups(op)) if wanted is not None else None
    return replace(wanted, shape=shape, strides=strides) if wanted is not None and strides is not None else None

"""What a region function says of itself: its arguments, its root, and the loops of its structured ops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costmodel.errors import SeercError
from costmodel.region.linear import Linear, row_major
from costmodel.region.region import Argument
from passes.mlir import ir


class UnsupportedRegion(SeercError):
    """A region that this emitter cannot express; the plain lowering can."""


def find_function(module: Any) -> Any:
    """The one function of a candidate module."""
    functions = [op for op in module.body.operations if op.operation.name == "func.func"]
    if len(functions) != 1:
        raise UnsupportedRegion(f"a candidate holds one function, this has {len(functions)}")
    return functions[0]


def read_arguments(func: Any) -> tuple[tuple[Argument, ...], int]:
    """Inputs then results of a region function, and the number of inputs."""
    kind = func.type
    attrs = func.attributes
    arg_attrs = list(attrs["arg_attrs"]) if "arg_attrs" in attrs else [None] * len(kind.inputs)
    res_attrs = list(attrs["res_attrs"]) if "res_attrs" in attrs else [None] * len(kind.results)
    types = [*kind.inputs, *kind.results]
    made = [_argument(ir.RankedTensorType(t), a) for t, a in zip(types, [*arg_attrs, *res_attrs], strict=True)]
    return tuple(made), len(kind.inputs)


def _argument(kind: Any, attrs: Any) -> Argument:
    shape = tuple(kind.shape)
    attrs = {} if attrs is None else attrs
    strides = tuple(attrs["seerc.strides"]) if "seerc.strides" in attrs else row_major(shape)
    return Argument(shape, kind.element_type, strides, "seerc.constant" in attrs)


def find_root(func: Any) -> Any:
    """The op with the schedule, the one marked root, or the last structured op."""
    ops = [op.operation for op in func.entry_block.operations if op.operation.name == "linalg.generic"]
    for key in ("seerc.schedule", "seerc.root"):
        for op in ops:
            if key in op.attributes:
                return op
    if not ops:
        raise UnsupportedRegion(f"{func.name}: no linalg.generic in the region")
    return ops[-1]


def indexing_maps(op: Any) -> list[Any]:
    """The affine maps of a linalg.generic, one an operand."""
    return [ir.AffineMapAttr(a).value for a in op.attributes["indexing_maps"]]


def reduction_positions(op: Any) -> list[int]:
    """Which loops reduce."""
    return [i for i, kind in enumerate(op.attributes["iterator_types"]) if "reduction" in str(kind)]


def is_reduction(op: Any) -> bool:
    """Whether an op is a linalg.generic that reduces."""
    return op.name == "linalg.generic" and bool(reduction_positions(op))


def loop_extents(op: Any) -> list[int]:
    """Trip count of every loop of a linalg.generic, from the operands that it indexes by a plain dimension."""
    maps = indexing_maps(op)
    extents: dict[int, int] = {}
    for value, affine_map in zip(op.operands, maps, strict=True):
        shape = shape_of(value)
        for i in range(len(affine_map.results)):
            expr = affine_map.results[i]
            if isinstance(expr, ir.AffineDimExpr):
                extents.setdefault(expr.position, shape[i])
    if len(extents) != maps[0].n_dims:
        raise ValueError("a loop whose extent no operand shows")
    return [extents[i] for i in range(maps[0].n_dims)]


def shape_of(value: Any) -> tuple[int, ...]:
    """The static shape of a tensor value; () for a scalar."""
    return tuple(ir.RankedTensorType(value.type).shape) if isinstance(value.type, ir.RankedTensorType) else ()


def element_type(value: Any) -> Any:
    """The element type of a tensor value; the type itself of a scalar."""
    return ir.RankedTensorType(value.type).element_type if isinstance(value.type, ir.RankedTensorType) else value.type


def reshape_index(index: Sequence[Linear], source: Sequence[int], result: Sequence[int]) -> list[Linear]:
    """Index into a reshape that adds or drops only dimensions of size 1."""
    kept = [form for form, n in zip(index, source, strict=True) if n != 1]
    if [n for n in source if n != 1] != [n for n in result if n != 1]:
        raise ValueError(f"a reshape of {tuple(source)} to {tuple(result)} inside a region")
    forms = iter(kept)
    return [Linear() if n == 1 else next(forms) for n in result]


def splat(op: Any) -> Any:
    """The scalar attribute of a constant; ValueError if its elements differ."""
    attribute = op.attributes["value"]
    if not isinstance(attribute, ir.DenseElementsAttr):
        return attribute
    if not attribute.issplat:
        raise ValueError("a dense constant inside a region")
    return attribute.getsplat_value()


def zero(kind: Any) -> Any:
    """The zero attribute of an element type."""
    return ir.FloatAttr.get(kind, 0.0) if "f" in str(kind) else ir.IntegerAttr.get(kind, 0)


def apply_map(affine_map: Any, dims: Sequence[Linear]) -> list[Linear]:
    """The results of an affine map at `dims`; ValueError if one is not linear (floordiv, mod, symbols)."""
    return [_evaluate(affine_map.results[i], dims) for i in range(len(affine_map.results))]


def _evaluate(expr: Any, dims: Sequence[Linear]) -> Linear:
    if isinstance(expr, ir.AffineConstantExpr):
        return Linear(expr.value)
    if isinstance(expr, ir.AffineDimExpr):
        return dims[expr.position]
    if isinstance(expr, ir.AffineAddExpr):
        return _evaluate(expr.lhs, dims) + _evaluate(expr.rhs, dims)
    if isinstance(expr, ir.AffineMulExpr):
        left, right = _evaluate(expr.lhs, dims), _evaluate(expr.rhs, dims)
        if not right.terms:
            return left * right.constant
        if not left.terms:
            return right * left.constant
    raise ValueError(f"index {expr} is not linear")

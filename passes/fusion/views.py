"""Slices and concatenations without unit dimensions, and windows that read only what they use."""

from __future__ import annotations

from collections.abc import Sequence

from passes.fusion.generic import Generic, walk
from passes.mlir import ir, tensor

_DYNAMIC = -(2**63)


def trim_windows(op: ir.Operation) -> None:
    """Slice the input of a window op where a single position of the window leaves elements unread.

    Upstream's folding of unit dimensions builds an invalid op from those that are left.
    """
    generic = Generic.read(op)
    for index, (value, map_) in enumerate(zip(generic.inputs, generic.maps, strict=False)):
        if not isinstance(value.type, ir.RankedTensorType):
            continue
        shape = list(value.type.shape)
        used = [_extent(expr, generic.sizes, size) for expr, size in zip(map_.results, shape, strict=True)]
        if used != shape:
            with ir.InsertionPoint(op), op.location:
                op.operands[index] = extract(value, [0] * len(used), used)


def _extent(expr: ir.AffineExpr, sizes: Sequence[int], size: int) -> int:
    """How many elements are read if only one loop of the window moves, by one; `size` for any other expression."""
    if isinstance(expr, ir.AffineDimExpr):
        return size
    moving = [(scale, loop) for scale, loop in _terms(expr) if loop < 0 or sizes[loop] > 1]
    if [scale for scale, _ in moving] != [1]:
        return size
    return sizes[moving[0][1]]


def _terms(expr: ir.AffineExpr) -> list[tuple[int, int]]:
    """`2 * d0 + d1` as [(2, 0), (1, 1)]; scale 0 and loop -1 stand for anything else."""
    if isinstance(expr, ir.AffineDimExpr):
        return [(1, expr.position)]
    if isinstance(expr, ir.AffineAddExpr):
        return _terms(expr.lhs) + _terms(expr.rhs)
    if isinstance(expr, ir.AffineMulExpr) and isinstance(expr.rhs, ir.AffineConstantExpr):
        return [(scale * expr.rhs.value, loop) for scale, loop in _terms(expr.lhs)]
    return [(0, -1)]


def extract(value: ir.Value, offsets: Sequence[int], sizes: Sequence[int]) -> ir.Value:
    """A static `tensor.extract_slice` with unit strides."""
    type_ = ir.RankedTensorType.get(list(sizes), value.type.element_type)
    return tensor.ExtractSliceOp(type_, value, [], [], [], list(offsets), list(sizes), [1] * len(sizes)).result


def drop_unit_dims(module: ir.Operation) -> None:
    """Slice and concatenate tensors of rank without unit dimensions; reshapes around them restore the types."""
    for op in list(walk(module)):
        with module.context:
            if op.name == "tensor.extract_slice":
                _plain_slice(op)
            elif op.name == "tensor.concat":
                _plain_concat(op)


def _plain_slice(op: ir.Operation) -> None:
    source = op.operands[0]
    shape = list(source.type.shape)
    kept = [d for d, size in enumerate(shape) if size != 1]
    static = [list(op.attributes[f"static_{part}"]) for part in ("offsets", "sizes", "strides")]
    if len(kept) == len(shape) or not kept or any(_DYNAMIC in part for part in static):
        return
    offsets, sizes, strides = ([part[d] for d in kept] for part in static)
    with ir.InsertionPoint(op), op.location:
        type_ = ir.RankedTensorType.get(sizes, source.type.element_type)
        new = tensor.ExtractSliceOp(type_, squeeze(source, kept), [], [], [], offsets, sizes, strides).result
        op.results[0].replace_all_uses_with(reshape_units(new, list(op.results[0].type.shape)))
    op.erase()


def _plain_concat(op: ir.Operation) -> None:
    dim = ir.IntegerAttr(op.attributes["dim"]).value
    shape = list(op.results[0].type.shape)
    kept = [d for d, size in enumerate(shape) if size != 1 or d == dim]
    if len(kept) == len(shape):
        return
    with ir.InsertionPoint(op), op.location:
        parts = [squeeze(value, kept) for value in op.operands]
        type_ = ir.RankedTensorType.get([shape[d] for d in kept], op.results[0].type.element_type)
        new = tensor.ConcatOp(type_, kept.index(dim), parts).result
        op.results[0].replace_all_uses_with(reshape_units(new, shape))
    op.erase()


def squeeze(value: ir.Value, kept: Sequence[int]) -> ir.Value:
    """Collapse away the dimensions that are not `kept`; they are 1."""
    shape = list(value.type.shape)
    return reshape_units(value, [shape[d] for d in kept])


def reshape_units(value: ir.Value, shape: Sequence[int]) -> ir.Value:
    """A view of `value` with unit dimensions added or removed so that its shape is `shape`."""
    old = list(value.type.shape)
    if old == list(shape):
        return value
    core = [size for size in old if size != 1] or [1]
    element = value.type.element_type
    if old != core:
        value = tensor.CollapseShapeOp(ir.RankedTensorType.get(core, element), value, _groups(old)).result
    if list(shape) != core:
        type_ = ir.RankedTensorType.get(list(shape), element)
        value = tensor.ExpandShapeOp(type_, value, _groups(shape), [], list(shape)).result
    return value


def _groups(shape: Sequence[int]) -> ir.ArrayAttr:
    """Reassociation of `shape` into its dimensions other than 1: each takes the unit dimensions before it."""
    groups: list[list[int]] = [[]]
    for d, size in enumerate(shape):
        if size != 1 and any(shape[i] != 1 for i in groups[-1]):
            groups.append([])
        groups[-1].append(d)
    i64 = ir.IntegerType.get_signless(64)
    return ir.ArrayAttr.get([ir.ArrayAttr.get([ir.IntegerAttr.get(i64, i) for i in group]) for group in groups])

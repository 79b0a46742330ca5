"""Reads of the tensor operations that stand in a fused @main."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from compiler.plan.views import Place, drop_dims, extract_slice
from costmodel.errors import SeercError
from passes.mlir import ir
from passes.region.structure import shape_of

BITS = {"i1": 8, "i8": 8, "f16": 16, "bf16": 16, "i16": 16, "f32": 32, "i32": 32, "f64": 64, "i64": 64, "index": 64}
_DYNAMIC = -(2**63)


def groups(op: Any) -> list[list[int]]:
    """The reassociation of an expand_shape or collapse_shape."""
    return [[int(i) for i in group] for group in op.attributes["reassociation"]]


def element_of(value: Any) -> str:
    """The element type of a tensor value; SeercError if no kernel could hold it."""
    if not isinstance(value.type, ir.RankedTensorType):
        raise SeercError(f"a scalar ({value.type}) is computed from tensors at {value.location}: keep it in a tensor")
    kind = str(ir.RankedTensorType(value.type).element_type)
    if kind not in BITS:
        raise SeercError(f"element type {kind} is not supported; supported: {', '.join(BITS)}")
    return kind


def slice_place(op: Any, whole: Place, sizes_of: Any, loop_index: Any) -> Place:
    """The place of an extract_slice's result or an insert_slice's part in `whole`; `sizes_of` is the sliced value.

    One offset may be `loop_index`, the index of the enclosing loop.
    """
    offsets, sizes, steps = (
        list(ir.DenseI64ArrayAttr(op.attributes[k])) for k in ("static_offsets", "static_sizes", "static_strides")
    )
    if _DYNAMIC in sizes or _DYNAMIC in steps:
        raise SeercError(f"a slice with dynamic sizes at {op.location}: shapes must be static")
    tensors = 2 if op.name == "tensor.insert_slice" else 1
    dynamic = list(op.operands)[tensors:]
    moving = [d for d, offset in enumerate(offsets) if offset == _DYNAMIC]
    if any(value != loop_index for value in dynamic):
        raise SeercError(f"a slice at a computed offset at {op.location}: only the index of the loop may be one")
    step = sum(whole.strides[d] for d in moving)
    static = [0 if d in moving else offset for d, offset in enumerate(offsets)]
    place = replace(extract_slice(whole, static, sizes, steps), step_stride=whole.step_stride + step)
    return drop_dims(place, _kept(sizes, shape_of(sizes_of)))


def _kept(sizes: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Which dimensions a rank-reducing slice keeps: as many size-1 ones go, from the left, as the result lacks."""
    surplus = len(sizes) - len(wanted)
    kept: list[int] = []
    for dim, size in enumerate(sizes):
        at = len(kept)
        if (
            surplus
            and size == 1
            and (at >= len(wanted) or wanted[at] != 1 or sizes[dim:].count(1) > list(wanted[at:]).count(1))
        ):
            surplus -= 1
        else:
            kept.append(dim)
    return kept


def pad_value(op: Any) -> str:
    """The constant of a tensor.pad as an MLIR attribute with its type."""
    yielded = list(op.regions[0].blocks[0].operations)[-1].operation.operands[0]
    owner = yielded.owner
    if owner.name != "arith.constant":
        raise SeercError(f"padding with a computed value at {op.location}")
    return str(owner.attributes["value"])


def concat_parts(op: Any, whole: Place) -> list[Place]:
    """Where the operands of a tensor.concat lie in it."""
    dim = ir.IntegerAttr(op.attributes["dim"]).value
    parts: list[Place] = []
    begin = 0
    for value in op.operands:
        extent = shape_of(value)
        offsets = [begin if d == dim else 0 for d in range(len(extent))]
        parts.append(extract_slice(whole, offsets, extent, [1] * len(extent)))
        begin += extent[dim]
    return parts

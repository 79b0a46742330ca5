"""Splits elementwise work at concatenations and slices.

The halves of a rotary embedding, or the branches of a dense block, are then computed by their producers' regions and
written in place by `tensor.concat`.
"""

from __future__ import annotations

from passes.fusion.generic import Generic, Values, build, inline_body, walk
from passes.fusion.views import extract
from passes.mlir import ir, tensor

_MOST_PARTS = 4
Range = tuple[int, int]
"""Offset and size along one loop."""


def split_concats(module: ir.Operation) -> None:
    """Edit `module` in place: elementwise ops move above `tensor.concat` and below `tensor.extract_slice`."""
    with module.context:
        for op in [op for op in walk(module) if op.name == "linalg.generic"]:
            _above_concat(Generic.read(op))
        for op in [op for op in walk(module) if op.name == "linalg.generic"][::-1]:
            _below_slices(Generic.read(op))


def _above_concat(generic: Generic) -> None:
    """Replace op(concat(a, b)) by concat(op(a), op(b)) if a or b was computed by a generic."""
    if not generic.elementwise or len(generic.op.results) != 1 or generic.copies:
        return
    found = next(((i, c) for i, v in enumerate(generic.inputs) if (c := _concat(v)) is not None), None)
    if found is None or generic.dims[found[0]] is None or not _single_user(found[1]):
        return
    position, concat = found
    dims, dim = generic.dims[position], ir.IntegerAttr(concat.attributes["dim"]).value
    assert dims is not None
    loop = dims[dim]
    if not _can_narrow(generic, {loop}) or not any(_is_generic(part) for part in concat.operands):
        return
    with ir.InsertionPoint(generic.op), generic.op.location:
        parts: list[ir.Value] = []
        offset = 0
        for part in concat.operands:
            size = part.type.shape[dim]
            parts.append(_narrow(generic, {loop: (offset, size)}, {position: part}))
            offset += size
        out = generic.dims[-1]
        assert out is not None
        result = tensor.ConcatOp(generic.op.results[0].type, out.index(loop), parts).result
    generic.op.results[0].replace_all_uses_with(result)
    generic.op.erase()


def _below_slices(generic: Generic) -> None:
    """Replace slice(op(a)) by op(slice(a)) if nothing else reads op(a)."""
    users = [use.owner.operation for use in generic.op.results[0].uses]
    if not all(user.name == "tensor.extract_slice" for user in users) or not _reads_views(generic):
        return
    ranges = [_slice_ranges(generic, user) for user in users]
    if not users or any(r is None or not _can_narrow(generic, set(r)) for r in ranges):
        return
    for user, found in zip(users, ranges, strict=True):
        assert found is not None
        with ir.InsertionPoint(user), user.location:
            user.results[0].replace_all_uses_with(_narrow(generic, found, {}))
        user.erase()
    generic.op.erase()


def _reads_views(generic: Generic) -> bool:
    """The op can be narrowed without being parted from a contraction or reduction whose epilogue it is."""
    if not generic.elementwise or len(generic.op.results) != 1 or generic.dims[-1] is None:
        return False
    producers = [Generic.read(v.owner.operation) for v in generic.inputs if _is_generic(v)]
    return all(_reads_views(producer) for producer in producers)


def _slice_ranges(generic: Generic, user: ir.Operation) -> dict[int, Range] | None:
    """What a slice takes of each loop, or None if `user` is not a slice of the same rank with unit strides."""
    if user.name != "tensor.extract_slice" or len(user.operands) != 1:
        return None
    offsets, sizes, strides = (list(user.attributes[f"static_{p}"]) for p in ("offsets", "sizes", "strides"))
    if any(s != 1 for s in strides) or list(user.results[0].type.shape) != sizes:
        return None
    out = generic.dims[-1]
    assert out is not None
    return {
        loop: (offset, size)
        for loop, offset, size in zip(out, offsets, sizes, strict=True)
        if size != generic.sizes[loop]
    }


def _narrow(generic: Generic, ranges: dict[int, Range], sources: dict[int, ir.Value]) -> ir.Value:
    """The op on part of its loops; `sources` gives inputs that have that part already."""

    def viewed(index: int) -> ir.Value:
        value, dims = generic.operands[index], generic.dims[index]
        if index in sources:
            return sources[index]
        if dims is None or not any(d in ranges for d in dims):
            return value
        picked = [ranges.get(d, (0, generic.sizes[d])) for d in dims]
        return slice_of(value, [p[0] for p in picked], [p[1] for p in picked])

    def body(arguments: list[ir.Value]) -> list[ir.Value]:
        values: Values = dict(zip(generic.arguments, arguments, strict=True))
        return inline_body(generic, values)

    inputs = [viewed(i) for i in range(len(generic.inputs))]
    out = generic.dims[-1]
    assert out is not None
    shape = [ranges.get(d, (0, generic.sizes[d]))[1] for d in out]
    empty = tensor.empty(shape, generic.outputs[0].type.element_type)
    return build(inputs, [empty], generic.maps, generic.parallel, body).results[0]


def slice_of(value: ir.Value, offsets: list[int], sizes: list[int]) -> ir.Value:
    """A slice of `value`; of a concatenation its part, if the slice is exactly that."""
    concat = _concat(value)
    if concat is not None:
        dim = ir.IntegerAttr(concat.attributes["dim"]).value
        start = 0
        for part in concat.operands:
            if start == offsets[dim] and list(part.type.shape) == sizes:
                return part
            start += part.type.shape[dim]
    return extract(value, offsets, sizes)


def _can_narrow(generic: Generic, loops: set[int]) -> bool:
    """Every operand that uses `loops` names them directly, and the body does not ask for their index."""
    indexed = {ir.IntegerAttr(op.attributes["dim"]).value for op in generic.body if op.name == "linalg.index"}
    return not (indexed & loops) and all(d is not None for d in generic.dims)


def _concat(value: ir.Value) -> ir.Operation | None:
    if isinstance(value, ir.OpResult) and value.owner.name == "tensor.concat":
        op = value.owner.operation
        return op if len(op.operands) <= _MOST_PARTS else None
    return None


def _single_user(op: ir.Operation) -> bool:
    return len(list(op.results[0].uses)) == 1


def _is_generic(value: ir.Value) -> bool:
    return isinstance(value, ir.OpResult) and value.owner.name == "linalg.generic"

"""Moves views below the ops that read them, so that elementwise ops and rows meet the contraction they belong to.

A contraction is often followed by a reshape or transpose and only then by its bias, residual or activation. Here the
elementwise op is rewritten to the shape before the view, and the view follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from passes.fusion.generic import Generic, Values, build, classify, compose, inline_body, map_of, walk
from passes.mlir import ir, linalg, tensor

_RESHAPES = ("linalg.transpose", "tensor.expand_shape", "tensor.collapse_shape")
Groups = list[list[int]]
Viewed = Callable[[ir.Value, tuple[int, ...]], ir.Value]


def sink_views(module: ir.Operation) -> None:
    """Edit `module` in place; it is in the normal form of `prepare.simplify`."""
    for op in [op for op in walk(module) if op.name == "linalg.generic"]:
        current: ir.Operation | None = op
        while current is not None:
            current = _sink(current)


def _sink(op: ir.Operation) -> ir.Operation | None:
    """Move one view from an operand of `op` to its results. Returns the new op, or None if nothing was done."""
    generic = Generic.read(op)
    kind = classify(generic)
    if kind == "contraction":
        return _sink_repeat(generic)
    if kind not in ("elementwise", "row") or len(op.results) != 1:
        return None
    position = _leading(generic)
    view = _view_of(generic.inputs[position]) if position is not None else None
    if position is None or view is None or not _computed(view):
        return None
    if view.name == "linalg.transpose" and _feeds_row(view):
        return None
    with ir.InsertionPoint(op), op.location:
        if view.name == "linalg.transpose":
            return permute(generic, position, view) if kind == "elementwise" else None
        if view.name == "tensor.expand_shape":
            return collapse(generic, position, view)
        return expand(generic, position, view)


def _leading(generic: Generic) -> int | None:
    """The input that spans all loops and was computed last: the op should follow it."""
    count = len(generic.parallel)
    spanning = [i for i, d in enumerate(generic.dims[: len(generic.inputs)]) if d and sorted(d) == list(range(count))]
    computed = [i for i in spanning if isinstance(_origin(generic.inputs[i]), ir.OpResult)]
    if not computed:
        return None
    last = computed[0]
    for i in computed[1:]:
        if _after(_origin(generic.inputs[i]), _origin(generic.inputs[last])):
            last = i
    return last


def _origin(value: ir.Value) -> ir.Value:
    while isinstance(value, ir.OpResult) and value.owner.name in (*_RESHAPES, "tensor.extract_slice"):
        value = value.owner.operands[0]
    return value


def _after(first: ir.Value, second: ir.Value) -> bool:
    if not isinstance(first, ir.OpResult) or not isinstance(second, ir.OpResult):
        return isinstance(first, ir.OpResult)
    a, b = first.owner.operation, second.owner.operation
    return a.block == b.block and a != b and b.is_before_in_block(a)


def _view_of(value: ir.Value) -> ir.Operation | None:
    if isinstance(value, ir.OpResult) and value.owner.name in _RESHAPES:
        return value.owner.operation
    return None


def _computed(view: ir.Operation) -> bool:
    """The view shows the result of a generic, not an argument or a slice."""
    value = view.operands[0]
    while (inner := _view_of(value)) is not None:
        value = inner.operands[0]
    return isinstance(value, ir.OpResult) and value.owner.name == "linalg.generic"


def _feeds_row(view: ir.Operation) -> bool:
    """A row reduction reads the view, so that elementwise ops next to it should read it too."""
    users = [use.owner.operation for use in view.results[0].uses]
    return any(user.name == "linalg.generic" and classify(Generic.read(user)) == "row" for user in users)


def permute(generic: Generic, position: int, view: ir.Operation) -> ir.Operation | None:
    """Run an elementwise op in the order of the source of a transpose; the result is transposed instead."""
    permutation, dims, out = list(view.attributes["permutation"]), generic.dims[position], generic.dims[-1]
    assert dims is not None
    assert out is not None
    order = [dims[permutation.index(j)] for j in range(len(dims))]
    inverse = [order.index(d) for d in range(len(order))]
    loops = map_of(len(order), inverse)
    inputs = [view.operands[0] if i == position else value for i, value in enumerate(generic.inputs)]
    identity = map_of(len(order), range(len(order)))
    maps = [identity if i == position else compose(m, loops) for i, m in enumerate(generic.maps[:-1])] + [identity]
    element = generic.outputs[0].type.element_type
    empty = tensor.empty([generic.sizes[d] for d in order], element)
    new = build(inputs, [empty], maps, generic.parallel, _body(generic, inverse))
    destination = tensor.empty(list(generic.outputs[0].type.shape), element)
    result = linalg.transpose(new.results[0], outs=[destination], permutation=[inverse[d] for d in out])
    return _finish(generic, new, result)


def collapse(generic: Generic, position: int, view: ir.Operation) -> ir.Operation | None:
    """Run an op on the shape before a `tensor.expand_shape`; None if another operand does not allow it."""
    dims = generic.dims[position]
    assert dims is not None
    groups = [[dims[i] for i in group] for group in reassociation(view)]
    if any(group != list(range(group[0], group[0] + len(group))) for group in groups):
        return None
    groups.sort()
    number = {loop: new for new, group in enumerate(groups) for loop in group}
    if _indexes(generic, {d for g in groups if len(g) > 1 for d in g}) or any(
        len({generic.parallel[d] for d in g}) > 1 for g in groups
    ):
        return None
    plans = [_collapsed(d, groups) for d in generic.dims]
    if any(plan is None for plan in plans):
        return None
    joins = [plan for plan in plans if plan is not None]
    sizes = [prod(generic.sizes[d] for d in group) for group in groups]
    maps = [map_of(len(groups), [number[group[0]] for group in plan]) for plan in joins]

    def viewed(index: int) -> ir.Value:
        if index == position:
            return view.operands[0]
        value, plan = generic.operands[index], joins[index]
        shape = [sizes[number[group[0]]] for group in plan]
        if index >= len(generic.inputs):
            return _destination(value, shape)
        return _collapse_shape(value, _consecutive(plan), shape)

    operands = [viewed(i) for i in range(len(generic.operands))]
    count = len(generic.inputs)
    parallel = [generic.parallel[group[0]] for group in groups]
    new = build(operands[:count], operands[count:], maps, parallel, _body(generic, [number[d] for d in sorted(number)]))
    old = generic.op.results[0]
    return _finish(generic, new, _expand_shape(new.results[0], _consecutive(joins[-1]), old.type.shape))


def expand(generic: Generic, position: int, view: ir.Operation) -> ir.Operation | None:
    """Run an op on the shape before a `tensor.collapse_shape`; None if its body needs the joined index."""
    dims = generic.dims[position]
    assert dims is not None
    source = list(view.operands[0].type.shape)
    factors = {dims[i]: [source[j] for j in group] for i, group in enumerate(reassociation(view))}
    return _expand(generic, factors, {position: view.operands[0]})


def _expand(generic: Generic, factors: dict[int, list[int]], sources: dict[int, ir.Value]) -> ir.Operation | None:
    """Split loop d into loops of sizes `factors[d]`; `sources` gives operands that have that shape already."""
    if any(d is None for d in generic.dims) or _indexes(generic, {d for d, f in factors.items() if len(f) > 1}):
        return None
    split: Groups = []
    for d, size in enumerate(generic.sizes):
        start = split[-1][-1] + 1 if split else 0
        split.append(list(range(start, start + len(factors.get(d, [size])))))
    total = split[-1][-1] + 1
    sizes = [s for d, size in enumerate(generic.sizes) for s in factors.get(d, [size])]
    plans = [[split[d] for d in dims] for dims in generic.dims if dims is not None]
    maps = [map_of(total, [loop for group in plan for loop in group]) for plan in plans]

    def viewed(index: int) -> ir.Value:
        shape = [sizes[loop] for group in plans[index] for loop in group]
        if index in sources:
            return sources[index]
        if index >= len(generic.inputs):
            return _destination(generic.operands[index], shape)
        return _expand_shape(generic.operands[index], _consecutive(plans[index]), shape)

    operands = [viewed(i) for i in range(len(generic.operands))]
    count = len(generic.inputs)
    parallel = [generic.parallel[d] for d, group in enumerate(split) for _ in group]
    body = _body(generic, [group[0] for group in split])
    new = build(operands[:count], operands[count:], maps, parallel, body)
    old = generic.op.results[0]
    return _finish(generic, new, _collapse_shape(new.results[0], _consecutive(plans[-1]), list(old.type.shape)))


def _sink_repeat(generic: Generic) -> ir.Operation | None:
    """A contraction that reads heads repeated for a group of queries runs on the heads themselves instead."""
    for position, value in enumerate(generic.inputs):
        if generic.dims[position] is None:
            continue
        source, through = value, None
        if isinstance(value, ir.OpResult) and value.owner.name == "linalg.transpose":
            source, through = value.owner.operands[0], list(value.owner.attributes["permutation"])
        view = _view_of(source)
        repeat = _repeat_of(view)
        if view is None or repeat is None:
            continue
        if through is not None:
            dims = generic.dims[position]
            assert dims is not None
            straight = map_of(len(generic.parallel), [dims[through.index(d)] for d in range(len(dims))])
            _set_operand(generic.op, position, source, straight)
            generic = Generic.read(generic.op)
        with ir.InsertionPoint(generic.op), generic.op.location:
            new = expand(generic, position, view)
        if new is not None:
            out, inner = repeat.dims[-1], repeat.dims[0]
            assert out is not None
            assert inner is not None
            picked = map_of(len(out), [out.index(d) for d in inner])
            _set_operand(new, position, repeat.inputs[0], compose(picked, Generic.read(new).maps[position]))
            return new
    return None


def _repeat_of(view: ir.Operation | None) -> Generic | None:
    """The broadcast whose result a collapse_shape shows."""
    if view is None or view.name != "tensor.collapse_shape":
        return None
    source = view.operands[0]
    if not isinstance(source, ir.OpResult) or source.owner.name != "linalg.generic":
        return None
    repeat = Generic.read(source.owner.operation)
    broadcasts = repeat.copies and repeat.dims[0] is not None and len(repeat.dims[0]) < len(repeat.parallel)
    return repeat if broadcasts and repeat.dims[-1] is not None else None


def _set_operand(op: ir.Operation, position: int, value: ir.Value, map_: ir.AffineMap) -> None:
    """Let a generic read `value` through `map_` in place."""
    maps = list(op.attributes["indexing_maps"])
    maps[position] = ir.AffineMapAttr.get(map_)
    op.attributes["indexing_maps"] = ir.ArrayAttr.get(maps)
    op.operands[position] = value


def _body(generic: Generic, loops: Sequence[int]) -> Callable[[list[ir.Value]], list[ir.Value]]:
    def body(arguments: list[ir.Value]) -> list[ir.Value]:
        values: Values = dict(zip(generic.arguments, arguments, strict=True))
        return inline_body(generic, values, loops)

    return body


def _finish(generic: Generic, new: ir.Operation, result: ir.Value | ir.OpView) -> ir.Operation:
    value = result.results[0] if isinstance(result, ir.OpView) else result
    generic.op.results[0].replace_all_uses_with(value)
    generic.op.erase()
    return new


def _indexes(generic: Generic, loops: set[int]) -> bool:
    """The body asks for the index of one of `loops`."""
    return any(op.name == "linalg.index" and ir.IntegerAttr(op.attributes["dim"]).value in loops for op in generic.body)


def _collapsed(dims: tuple[int, ...] | None, groups: Groups) -> Groups | None:
    """The dimensions of an operand as whole groups, or None if it holds a part of one."""
    if dims is None:
        return None
    of = {loop: group for group in groups for loop in group}
    found: Groups = []
    index = 0
    while index < len(dims):
        group = of[dims[index]]
        if list(dims[index : index + len(group)]) != group:
            return None
        found.append(group)
        index += len(group)
    return found


def _consecutive(groups: Groups) -> Groups:
    """Groups of the same lengths that number the dimensions 0, 1, ..."""
    numbers = iter(range(sum(map(len, groups))))
    return [[next(numbers) for _ in group] for group in groups]


def reassociation(view: ir.Operation) -> Groups:
    """The dimension groups of an expand_shape or collapse_shape."""
    return [[ir.IntegerAttr(i).value for i in group] for group in view.attributes["reassociation"]]


def _groups_attr(groups: Groups) -> ir.ArrayAttr:
    i64 = ir.IntegerType.get_signless(64)
    return ir.ArrayAttr.get([ir.ArrayAttr.get([ir.IntegerAttr.get(i64, i) for i in group]) for group in groups])


def _collapse_shape(value: ir.Value, groups: Groups, shape: Sequence[int]) -> ir.Value:
    if all(len(group) == 1 for group in groups):
        return value
    type_ = ir.RankedTensorType.get(list(shape), value.type.element_type)
    return tensor.CollapseShapeOp(type_, value, _groups_attr(groups)).result


def _expand_shape(value: ir.Value, groups: Groups, shape: Sequence[int]) -> ir.Value:
    if all(len(group) == 1 for group in groups):
        return value
    type_ = ir.RankedTensorType.get(list(shape), value.type.element_type)
    return tensor.ExpandShapeOp(type_, value, _groups_attr(groups), [], list(shape)).result


def _destination(value: ir.Value, shape: Sequence[int]) -> ir.Value:
    """An output operand of another shape: empty, or filled with the same scalar."""
    empty = tensor.empty(list(shape), value.type.element_type)
    owner = value.owner.operation if isinstance(value, ir.OpResult) else None
    if owner is not None and owner.name == "linalg.fill":
        return linalg.fill(owner.operands[0], outs=[empty])
    return empty

"""Brings an imported model into the normal form that regions are grown from.

Named ops become generics without unit dimensions; fills, splat constants, broadcasts and copies disappear into the
generics that read them; permutations become `linalg.transpose`; every contraction accumulates onto a fill.
"""

from __future__ import annotations

from passes.fusion.generic import (
    Generic,
    Values,
    build,
    classify,
    combiner,
    compose,
    inline_body,
    map_of,
    walk,
)
from passes.fusion.reshape import sink_views
from passes.fusion.split import split_concats
from passes.fusion.views import drop_unit_dims, trim_windows
from passes.mlir import PassManager, arith, ir, linalg, tensor

_NORMAL = "builtin.module(func.func(linalg-fold-unit-extent-dims),canonicalize,cse)"
_GENERAL = "builtin.module(inline,symbol-dce,canonicalize,cse,func.func(linalg-generalize-named-ops))"
_CLEAN = "builtin.module(canonicalize,cse)"


def prepare(module: ir.Operation) -> None:
    """Edit `module` in place into the normal form described above."""
    erase_asserts(module)
    with module.context, ir.Location.unknown():
        PassManager.parse(_GENERAL).run(module)
        for op in _generics(module):
            trim_windows(op)
        PassManager.parse(_NORMAL).run(module)
        for op in _generics(module):
            simplify(op)
        drop_unit_dims(module)
        PassManager.parse(_CLEAN).run(module)
        split_concats(module)
        PassManager.parse(_CLEAN).run(module)
        sink_views(module)
        PassManager.parse(_CLEAN).run(module)
        for op in [op for op in walk(module) if op.name == "linalg.fill"]:
            settle_fill(op)


def _generics(module: ir.Operation) -> list[ir.Operation]:
    return [op for op in walk(module) if op.name == "linalg.generic"]


def erase_asserts(module: ir.Operation) -> None:
    """Drop `cf.assert`: PyTorch has checked indices already when it exported, and a kernel has no way to report."""
    for op in [op for op in walk(module) if op.name == "cf.assert"]:
        op.erase()


def simplify(op: ir.Operation) -> None:
    """Replace one generic by its normal form; those that produce its operands have been visited before."""
    generic = Generic.read(op)
    with ir.InsertionPoint(op), op.location:
        if generic.copies and _replace_copy(generic):
            return
        _rebuild(generic)


def settle_fill(op: ir.Operation) -> None:
    """Fill an empty tensor, not a view of one; where no generic reads the fill, make it a generic with a kernel."""
    value, out = op.operands[0], op.operands[1]
    with ir.InsertionPoint(op), op.location:
        if not isinstance(out, ir.OpResult) or out.owner.name != "tensor.empty":
            op.operands[1] = _empty(out.type)
        others = [use for use in op.results[0].uses if use.owner.name != "linalg.generic"]
        if others:
            rank = len(out.type.shape)
            filled = build([], [_empty(out.type)], [map_of(rank, range(rank))], [True] * rank, lambda _: [value])
            for use in others:
                use.owner.operands[use.operand_number] = filled.results[0]


def _replace_copy(generic: Generic) -> bool:
    """Turn a copy into a fill, a transpose, or nothing; a broadcast stays a generic."""
    op, source, out = generic.op, generic.inputs[0], generic.outputs[0]
    scalar = source if not _is_tensor(source) else splat(source)
    dims, out_dims = generic.dims[0], generic.dims[-1]
    if scalar is not None:
        result = linalg.fill(scalar, outs=[_empty(out.type)])
    elif dims is None or out_dims is None or sorted(dims) != list(range(len(generic.parallel))):
        return False
    elif dims == out_dims:
        result = source
    else:
        permutation = [dims.index(d) for d in out_dims]
        result = linalg.transpose(source, outs=[_empty(out.type)], permutation=permutation)
        result = result.results[0] if isinstance(result, ir.OpView) else result
    _replace(op, [result])
    return True


def _rebuild(generic: Generic) -> None:
    """Fold scalars, fills and broadcasts into the op that reads them; drop what is not used."""
    inputs, in_maps, values = _fold_inputs(generic)
    kept = _live_results(generic)
    outputs = [generic.outputs[i] for i in kept]
    out_maps = [generic.maps[len(generic.inputs) + i] for i in kept]
    out_arguments = [generic.arguments[len(generic.inputs) + i] for i in kept]
    if generic.elementwise:
        for i, (out, argument) in enumerate(zip(outputs, out_arguments, strict=True)):
            if _used(argument):
                scalar = splat(out)
                if scalar is not None:
                    values[argument] = scalar
                else:
                    inputs.append((out, argument))
                    in_maps.append(out_maps[i])
            outputs[i] = _empty(out.type)
    init = None
    if _adds_up(generic) and splat(generic.outputs[0]) is None:
        init, outputs = outputs[0], [_zeros(outputs[0].type)]

    def body(arguments: list[ir.Value]) -> list[ir.Value]:
        local: Values = dict(values)
        for (_, old), new in zip(inputs, arguments, strict=False):
            local[old] = new
        for old, new in zip(out_arguments, arguments[len(inputs) :], strict=True):
            local.setdefault(old, new)
        for old, alias in list(values.items()):
            local[old] = local.get(alias, alias)
        yielded = inline_body(generic, local)
        return [yielded[i] for i in kept]

    new = build([value for value, _ in inputs], outputs, in_maps + out_maps, generic.parallel, body)
    results = list(new.results)
    if init is not None:
        results = [_add(results[0], init)]
    _replace(generic.op, results, kept)


def _fold_inputs(generic: Generic) -> tuple[list[tuple[ir.Value, ir.Value]], list[ir.AffineMap], Values]:
    """(operand, old block argument) pairs with their maps, and block arguments that become another value."""
    inputs: list[tuple[ir.Value, ir.Value]] = []
    maps: list[ir.AffineMap] = []
    values: Values = {}
    for position, value in enumerate(generic.inputs):
        argument, map_ = generic.arguments[position], generic.maps[position]
        scalar = value if not _is_tensor(value) else splat(value)
        if scalar is not None and _used(argument):
            values[argument] = scalar
            continue
        if not _used(argument) and generic.elementwise:
            continue
        if not (value_is_window := not _used(argument)):
            value, map_ = _through_copies(generic, position, value, map_)
        same = [old for (other, old), m in zip(inputs, maps, strict=True) if other == value and m == map_]
        if same and not value_is_window and generic.elementwise:
            values[argument] = same[0]
            continue
        inputs.append((value, argument))
        maps.append(map_)
    return inputs, maps, values


def _through_copies(
    generic: Generic, position: int, value: ir.Value, map_: ir.AffineMap
) -> tuple[ir.Value, ir.AffineMap]:
    """Read the source of a broadcast instead of the copy."""
    while isinstance(value, ir.OpResult):
        source = copy_source(value.owner.operation)
        if source is None:
            break
        origin, through, permutes = source
        if permutes:
            break
        folded = compose(through, map_)
        if not generic.elementwise and not _covers(generic, position, folded):
            break
        value, map_ = origin, folded
    return value, map_


def copy_source(op: ir.Operation) -> tuple[ir.Value, ir.AffineMap, bool] | None:
    """What a transpose or broadcast copies: the tensor, the map from result to source indices, whether it permutes."""
    if op.name == "linalg.transpose":
        permutation = list(op.attributes["permutation"])
        dims = [permutation.index(d) for d in range(len(permutation))]
        return op.operands[0], map_of(len(dims), dims), True
    if op.name != "linalg.generic":
        return None
    generic = Generic.read(op)
    dims, out_dims = generic.dims[0], generic.dims[-1]
    if not generic.copies or dims is None or out_dims is None or len(dims) == len(out_dims):
        return None
    return generic.inputs[0], map_of(len(out_dims), [out_dims.index(d) for d in dims]), False


def _covers(generic: Generic, position: int, folded: ir.AffineMap) -> bool:
    """Every loop still has a trip count when the operand at `position` is read through `folded`."""
    maps = [folded if i == position else m for i, m in enumerate(generic.maps)]
    found = {expr.position for m in maps for expr in m.results if isinstance(expr, ir.AffineDimExpr)}
    return len(found) == len(generic.parallel)


def _adds_up(generic: Generic) -> bool:
    last = combiner(generic) if classify(generic) in ("contraction", "row", "reduction") else None
    return last is not None and last.name in ("arith.addf", "arith.addi")


def _live_results(generic: Generic) -> list[int]:
    """Results that are used, or that another used one needs (argmax needs the maximum)."""
    results, outs = list(generic.op.results), generic.arguments[len(generic.inputs) :]
    live = {i for i, result in enumerate(results) if _used(result)} or {0}
    while True:
        needed = _slice(generic, [generic.yields[i] for i in live])
        more = live | {i for i, argument in enumerate(outs) if argument in needed}
        if more == live:
            return sorted(live)
        live = more


def _slice(generic: Generic, values: list[ir.Value]) -> set[ir.Value]:
    """The values of the body that `values` depend on."""
    needed = set(values)
    for op in reversed(generic.body[:-1]):
        if any(result in needed for result in op.results):
            needed.update(v for nested in walk(op) for v in nested.operands)
    return needed


def splat(value: ir.Value) -> ir.Value | None:
    """The scalar of a filled or splat constant tensor, defined before the current insertion point; None if neither."""
    if not isinstance(value, ir.OpResult):
        return None
    op = value.owner.operation
    if op.name == "linalg.fill":
        return op.operands[0]
    if op.name == "arith.constant" and isinstance(op.attributes["value"], ir.DenseElementsAttr):
        attr = op.attributes["value"]
        return arith.constant(ir.ShapedType(value.type).element_type, attr.get_splat_value()) if attr.is_splat else None
    return None


def _add(left: ir.Value, right: ir.Value) -> ir.Value:
    rank = len(left.type.shape)
    identity = map_of(rank, range(rank))
    origin, map_ = right, identity
    if isinstance(right, ir.OpResult) and (source := copy_source(right.owner.operation)):
        origin, map_ = source[0], source[1]
    op = arith.AddFOp if isinstance(left.type.element_type, ir.FloatType) else arith.AddIOp
    new = build(
        [left, origin],
        [_empty(left.type)],
        [identity, map_, identity],
        [True] * rank,
        lambda arguments: [op(arguments[0], arguments[1]).result],
    )
    return new.results[0]


def _zeros(type_: ir.Type) -> ir.Value:
    element = ir.ShapedType(type_).element_type
    zero = ir.FloatAttr.get(element, 0.0) if isinstance(element, ir.FloatType) else ir.IntegerAttr.get(element, 0)
    return linalg.fill(arith.constant(element, zero), outs=[_empty(type_)])


def _empty(type_: ir.Type) -> ir.Value:
    return tensor.empty(list(type_.shape), type_.element_type)


def _replace(op: ir.Operation, results: list[ir.Value], kept: list[int] | None = None) -> None:
    for index, new in zip(kept if kept is not None else range(len(results)), results, strict=True):
        op.results[index].replace_all_uses_with(new)
    op.erase()


def _is_tensor(value: ir.Value) -> bool:
    return isinstance(value.type, ir.RankedTensorType)


def _used(value: ir.Value) -> bool:
    return next(iter(value.uses), None) is not None

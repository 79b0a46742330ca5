"""Dimensions in memory order: what is contiguous becomes the last dimension, where vectors are loaded and stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from passes.mlir import ir, linalg


def sort_dimensions(func: Any) -> None:
    """Permutes the dimensions of a kernel's arguments by falling stride, and the maps of the ops that use them.

    Arguments are bare pointers with static strides, so that their types may be written in any order. `func` is as
    `on_memrefs` makes it; ops other than linalg.generic see a transposed value.
    """
    block = func.regions[0].blocks[0]
    for argument in block.arguments:
        order = _memory_order(argument.type)
        if order != sorted(order):
            for op in [use.owner.operation for use in argument.uses]:
                (_sort_input if op.name == "bufferization.to_tensor" else _sort_result)(op, order)
            argument.set_type(_memref(argument.type, order))
    kind = ir.FunctionType.get([a.type for a in block.arguments], [])
    func.attributes["function_type"] = ir.TypeAttr.get(kind)


def _memory_order(kind: Any) -> list[int]:
    """Positions of dimensions by falling stride; those of size 1 stay in front of the one that follows."""
    steps = kind.get_strides_and_offset()[0]
    return sorted(range(len(steps)), key=lambda d: -steps[d])


def _memref(kind: Any, order: Sequence[int]) -> Any:
    steps = kind.get_strides_and_offset()[0]
    layout = ir.StridedLayoutAttr.get(0, [steps[d] for d in order])
    return ir.MemRefType.get([kind.shape[d] for d in order], kind.element_type, layout)


def _tensor(kind: Any, order: Sequence[int]) -> Any:
    return ir.RankedTensorType.get([kind.shape[d] for d in order], kind.element_type)


def _sort_input(op: Any, order: Sequence[int]) -> None:
    """The tensor of an argument: ops that read it through a map get another map, others a transposed copy."""
    value = op.results[0]
    uses = [(use.owner.operation, use.operand_number) for use in value.uses]
    old = value.type
    value.set_type(_tensor(old, order))
    for user, number in uses:
        if user.name == "linalg.generic":
            _permute_map(user, number, order)
        else:
            with ir.InsertionPoint(user):
                back = [order.index(d) for d in range(len(order))]
                user.operands[number] = _transposed(value, old, back)


def _sort_result(op: Any, order: Sequence[int]) -> None:
    """The value stored in an argument: computed in the order of memory by the op that makes it, else transposed."""
    value = op.operands[0]
    maker = value.owner.operation if not isinstance(value.owner, ir.Block) else None
    if maker is not None and maker.name == "linalg.generic" and len(list(value.uses)) == 1:
        first = len(maker.operands) - len(maker.results)
        number = first + list(maker.results).index(value)
        fresh = _fresh(maker, maker.operands[number], order)
        if fresh is not None:
            maker.operands[number] = fresh
            value.set_type(fresh.type)
            _permute_map(maker, number, order)
            return
    with ir.InsertionPoint(op):
        op.operands[0] = _transposed(value, _tensor(value.type, order), order)


def _fresh(maker: Any, init: Any, order: Sequence[int]) -> Any:
    """The initial value of a result with permuted dimensions: an empty tensor or a filled one."""
    owner = init.owner.operation if not isinstance(init.owner, ir.Block) else None
    if owner is None or owner.name not in ("tensor.empty", "linalg.fill"):
        return None
    kind = _tensor(init.type, order)
    with ir.InsertionPoint(maker):
        empty = ir.Operation.create("tensor.empty", results=[kind]).results[0]
        return linalg.fill(owner.operands[0], outs=[empty]) if owner.name == "linalg.fill" else empty


def _permute_map(op: Any, number: int, order: Sequence[int]) -> None:
    maps = [ir.AffineMapAttr(a).value for a in op.attributes["indexing_maps"]]
    results = maps[number].results
    maps[number] = ir.AffineMap.get(maps[number].n_dims, 0, [results[d] for d in order])
    op.attributes["indexing_maps"] = ir.ArrayAttr.get([ir.AffineMapAttr.get(m) for m in maps])


def _transposed(value: Any, kind: Any, order: Sequence[int]) -> Any:
    empty = ir.Operation.create("tensor.empty", results=[kind]).results[0]
    made = linalg.transpose(value, outs=[empty], permutation=list(order))
    return made if isinstance(made, ir.Value) else made.results[0]

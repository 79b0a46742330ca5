"""Repairs to the linalg that torch-mlir emits: no assertions, no unused indices of maxima, NaN kept."""

from __future__ import annotations

from typing import Any

from passes.mlir import arith, ir

OGT, OLT, ORDERED, UGT, ULT = 2, 4, 7, 9, 11  # arith.cmpf predicates


def find(module: ir.Module, *prefixes: str) -> list[Any]:
    """The operations, at any depth, whose names start with one of `prefixes`."""
    found = list[Any]()

    def collect(op: Any) -> ir.WalkResult:
        if op.name.startswith(prefixes):
            found.append(op)
        return ir.WalkResult.ADVANCE

    module.operation.walk(collect)
    return found


def keep_nan(module: ir.Module) -> None:
    """Makes maximum, minimum and clamp of NaN give NaN, as in torch.

    torch-mlir lowers them to `select(a > b, a, b)` with an ordered comparison. Where b is a literal an unordered one
    suffices; else they become arith.maximumf and minimumf. torch's own `where` and `>` never meet in one body here.
    """
    for op in find(module, "arith.cmpf"):
        predicate = ir.IntegerAttr(op.attributes["predicate"]).value
        users = [use.owner for use in op.results[0].uses]
        if predicate not in (OGT, OLT) or len(users) != 1 or users[0].operation.name != "arith.select":
            continue
        select = users[0].operation
        if _is_index_of_maximum(op, select):
            _keep_nan_index(op, select)
            continue
        if list(select.operands)[1:] != list(op.operands):
            continue
        if not isinstance(op.operands[1].owner, ir.Block) and op.operands[1].owner.name == "arith.constant":
            unordered = UGT if predicate == OGT else ULT
            op.attributes["predicate"] = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), unordered)
            continue
        with ir.InsertionPoint(select), select.location:
            build = arith.maximumf if predicate == OGT else arith.minimumf
            select.results[0].replace_all_uses_with(build(*op.operands))
        select.erase()
        op.erase()


def _is_index_of_maximum(compare: Any, select: Any) -> bool:
    """Whether `select` yields the index beside the maximum or minimum that `compare` extends."""
    block = compare.operands[0].owner
    if not isinstance(block, ir.Block) or len(block.owner.results) != 2 or block.owner.name != "linalg.generic":
        return False
    value, index = list(block.arguments)[-2:]
    kinds = str(block.owner.attributes["iterator_types"])
    return "reduction" in kinds and compare.operands[1] == value and select.operands[2] == index


def _keep_nan_index(compare: Any, select: Any) -> None:
    """The first NaN is the largest and the smallest value of all, as in torch: a later one does not replace it."""
    new, old = compare.operands
    predicate = ir.IntegerAttr(compare.attributes["predicate"]).value
    with ir.InsertionPoint(select), select.location:
        beyond = arith.cmpf(UGT if predicate == OGT else ULT, new, old)
        select.operands[0] = arith.andi(beyond, arith.cmpf(ORDERED, old, old))
    compare.erase()


def drop_asserts(module: ir.Module) -> None:
    """cf.assert guards what is undefined in torch (an index out of range); kernels do not check."""
    for op in find(module, "cf.assert"):
        op.erase()


def drop_argmax(module: ir.Module) -> None:
    """Turns (max, index of max) reductions whose index nobody reads into plain max reductions.

    torch-mlir lowers amax and amin so. The index is the second result, its block argument the last.
    """
    for op in find(module, "linalg.generic"):
        if len(op.results) != 2 or any(True for _ in op.results[1].uses):
            continue
        maps, kinds = op.attributes["indexing_maps"], op.attributes["iterator_types"]
        operands = list(op.operands)[:-1]
        attributes = {
            "indexing_maps": ir.ArrayAttr.get(list(maps)[:-1]),
            "iterator_types": kinds,
            "operandSegmentSizes": ir.DenseI32ArrayAttr.get([len(operands) - 1, 1]),
        }
        new = ir.Operation.create(
            "linalg.generic", [op.results[0].type], operands, attributes, regions=1, loc=op.location,
            ip=ir.InsertionPoint(op),
        )  # fmt: skip
        block = op.regions[0].blocks[0]
        block.append_to(new.regions[0])
        _drop_index(block)
        op.results[0].replace_all_uses_with(new.results[0])
        op.erase()


def _drop_index(block: Any) -> None:
    """Leaves only the first value of the block's yield and what computes it; erases the last argument."""
    ops = list(block.operations)
    result = ops[-1].operands[0]
    ops[-1].operation.erase()
    with ir.InsertionPoint(block):
        ir.Operation.create("linalg.yield", [], [result])
    for op in reversed(ops[:-1]):
        if not any(True for r in op.results for _ in r.uses):
            op.operation.erase()
    block.erase_argument(len(block.arguments) - 1)

"""@main and its arguments: found, added, and put in the order of the contract (weights first)."""

from __future__ import annotations

from passes.adaptive.dataflow import weight_arguments
from passes.base import PassError
from passes.mlir import ir


def main_function(op: ir.Operation, name: str) -> ir.Operation:
    """@main of a module, or the function itself.

    Raises:
        PassError: the module has none with a body; the message begins with the pass's `name`.
    """
    if op.name == "func.func":
        return op
    for child in [c.operation for r in op.regions for b in r.blocks for c in b.operations]:
        if child.name == "func.func" and ir.StringAttr(child.attributes["sym_name"]).value == "main":
            if child.regions[0].blocks:
                return child
    raise PassError(f"{name} needs a function @main with a body; the module has none")


def add_argument(main: ir.Operation, type_: ir.Type, weight: str = "") -> ir.BlockArgument:
    """A new last argument of the function; a weight of that name, or an input."""
    kind = ir.FunctionType(ir.TypeAttr(main.attributes["function_type"]).value)
    added = main.regions[0].blocks[0].add_argument(type_, ir.Location.unknown())
    main.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get([*kind.inputs, type_], kind.results))
    own = ir.DictAttr.get({"seerc.weight": ir.StringAttr.get(weight)} if weight else {})
    if "arg_attrs" in main.attributes or weight:
        main.attributes["arg_attrs"] = ir.ArrayAttr.get([*_flags(main, len(kind.inputs)), own])
    return added


def weights_first(main: ir.Operation) -> None:
    """Move weights that stand behind inputs before them; otherwise the order stays."""
    block = main.regions[0].blocks[0]
    old = list(block.arguments)
    weights = weight_arguments(main)
    order = [*weights, *(n for n in range(len(old)) if n not in set(weights))]
    if order == list(range(len(old))):
        return
    flags = _flags(main, len(old))
    for number in order:
        old[number].replace_all_uses_with(block.add_argument(old[number].type, ir.Location.unknown()))
    for number in reversed(range(len(old))):
        block.erase_argument(number)
    results = ir.FunctionType(ir.TypeAttr(main.attributes["function_type"]).value).results
    types = [argument.type for argument in block.arguments]
    main.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(types, results))
    main.attributes["arg_attrs"] = ir.ArrayAttr.get([flags[number] for number in order])


def weight_names(main: ir.Operation) -> dict[int, str]:
    """The names of the weight arguments by number."""
    flags = _flags(main, len(main.regions[0].blocks[0].arguments))
    return {n: ir.StringAttr(ir.DictAttr(flags[n])["seerc.weight"]).value for n in weight_arguments(main)}


def _flags(main: ir.Operation, count: int) -> list[ir.Attribute]:
    return list(main.attributes["arg_attrs"]) if "arg_attrs" in main.attributes else [ir.DictAttr.get({})] * count

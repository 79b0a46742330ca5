"""Puts operations that torch-mlir cannot lower into functions of their own, called from @main.

The operation is cut out before the lowering, its operands becoming results of @main and its results arguments, and put
back as a call after it.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx

from compiler.frontend.graph import Node, WeightGraph, each
from compiler.frontend.recurrent import LSTM_STEPS, lstm_function
from passes.mlir import func, ir


@dataclass(frozen=True)
class Cut:
    """A call to put back: the function's text and how many operands and results it has."""

    function: str
    text: str
    operands: int
    results: int


def cut(weights: WeightGraph) -> list[Cut]:
    """Cuts every outlined operation out of the graph; equal ones share a function."""
    names = dict[str, str]()
    cuts = list[Cut]()
    output = next(n for n in weights.graph.nodes if n.op == "output")
    for node in each(weights, LSTM_STEPS):
        name = names.setdefault(lstm_function("", node), f"lstm_{len(names)}")
        text = lstm_function(name, node)
        operands = [a for a in node.args if isinstance(a, fx.Node)]
        results = len(node.meta["val"])
        output.args = ((*output.args[0], *operands),)
        for k in range(results):
            _replace_item(weights, node, k)
        weights.graph.erase_node(node)
        cuts.append(Cut(name, text, len(operands), results))
    return cuts


def _replace_item(weights: WeightGraph, node: Node, index: int) -> None:
    last = [n for n in weights.graph.nodes if n.op == "placeholder"][-1]
    with weights.graph.inserting_after(last):
        result = weights.graph.placeholder(f"{node.name}_{index}")
    result.meta["val"] = node.meta["val"][index]
    for user in [u for u in node.users if u.target is operator.getitem and u.args[1] == index]:
        user.replace_all_uses_with(result)
        weights.graph.erase_node(user)


def put_back(module: ir.Module, main: Any, cuts: Sequence[Cut]) -> None:
    """Adds the functions and calls them in @main, dropping the arguments and results that stood for them."""
    if not cuts:
        return
    for text in {c.function: c.text for c in cuts}.values():
        module.body.append(ir.Operation.parse(text))
    block = main.regions[0].blocks[0]
    end = block.operations[len(block.operations) - 1]
    first_operand = len(end.operands) - sum(c.operands for c in cuts)
    first_result = len(block.arguments) - sum(c.results for c in cuts)
    values, operand, result = list(end.operands), first_operand, first_result
    for c in cuts:
        stands = [block.arguments[result + k] for k in range(c.results)]
        with ir.InsertionPoint(end):
            operands = list(end.operands)[operand : operand + c.operands]
            call = func.CallOp([a.type for a in stands], c.function, operands)
        for stand, value in zip(stands, call.operation.results, strict=True):
            stand.replace_all_uses_with(value)
        operand, result = operand + c.operands, result + c.results
    values = list(end.operands)[:first_operand]
    with ir.InsertionPoint(end):
        func.ReturnOp(values)
    end.operation.erase()
    for k in reversed(range(first_result, len(block.arguments))):
        block.erase_argument(k)
    signature = ir.FunctionType.get([a.type for a in block.arguments], [v.type for v in values])
    main.operation.attributes["function_type"] = ir.TypeAttr.get(signature)
    _sort(block)


def _sort(block: Any) -> None:
    """Moves every operation behind those that define its operands."""
    ops = [op.operation for op in block.operations]
    position = {op: k for k, op in enumerate(ops)}
    done, order = set[int](), list[Any]()

    def visit(k: int) -> None:
        if k in done:
            return
        done.add(k)
        for definition in _definitions(ops[k]):
            if definition in position:
                visit(position[definition])
        order.append(ops[k])

    for k in range(len(ops) - 1):
        visit(k)
    for op in order:
        op.move_before(ops[-1])


def _definitions(op: Any) -> list[Any]:
    """The operations that define what `op` and the operations inside it use."""
    found = list[Any]()

    def collect(inner: Any) -> ir.WalkResult:
        found.extend(v.owner.operation for v in inner.operands if not isinstance(v.owner, ir.Block))
        return ir.WalkResult.ADVANCE

    op.walk(collect)
    return found

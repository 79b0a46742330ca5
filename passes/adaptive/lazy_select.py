"""`seerc-lazy-select`: work whose result nobody takes is not done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import networkx as nx

from passes.adaptive.arguments import main_function
from passes.adaptive.blocks import Block, escaping, with_private
from passes.adaptive.conditional import Editor
from passes.adaptive.dataflow import Dataflow
from passes.adaptive.rows import as_vector, element_of, loops
from passes.base import Pass, PassContext
from passes.fusion.generic import shape
from passes.mlir import arith, ir, tensor


@dataclass(frozen=True)
class LazySelectPass(Pass):
    """Put f behind an `scf.if` wherever x' = select(g, f(x), x) and f has a product: it runs where any g is true.

    So a layer that a router leaves to some tokens only (mixture of depths at decode, `compiler.decode.routers`) costs
    nothing in a step that no sequence takes it in. What else leaves f (new keys and values) is zeros then. What g
    is computed from is computed always.
    """

    name: ClassVar[str] = "seerc-lazy-select"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        main = main_function(op, self.name)
        flow = Dataflow(main)
        selects = list(find_selects(flow))
        with main.context, ir.Location.unknown():
            editor = Editor(main)
            for select in selects:
                with ir.InsertionPoint(select.op), select.op.location:
                    condition = _any(select.condition)
                result = editor.guard_when(select.part, condition, select.op)
                if prod(shape(select.condition)) == 1:
                    select.op.results[0].replace_all_uses_with(result)
                    editor.replaced[select.op.results[0]] = result
            editor.erase_dead()
        context.log.info("%s: %d", self.name, len(selects))


@dataclass(frozen=True)
class Select:
    """`op` gives f(x) where `condition` holds, x elsewhere; `part` is f."""

    op: ir.Operation
    condition: ir.Value
    part: Block


def find_selects(flow: Dataflow) -> Iterator[Select]:
    """The selects between a value and what matrix products make of it, in order; none lies in another's f."""
    taken = set[int]()
    for vertex in range(len(flow.nodes)):
        operands = _select_operands(flow, vertex)
        if operands is None:
            continue
        condition, made, kept = operands
        start = flow.producer[flow.root(kept)]
        asked = flow.producer[condition]
        inner = flow.between(start, flow.producer[made]) - {asked} - nx.ancestors(flow.edges, asked)
        if inner & taken or not any(map(flow.contracts, inner)):
            continue
        own = with_private(flow, inner, start)
        leaves = tuple(v for v in escaping(flow, own) if v != made)
        ops = tuple(sorted(v for v in own if v >= 0))
        yield Select(flow.nodes[vertex].op, condition, Block("layer", vertex, kept, kept, made, (), ops, leaves, ()))
        taken |= own


def _select_operands(flow: Dataflow, vertex: int) -> tuple[ir.Value, ir.Value, ir.Value] | None:
    """(condition, value where it holds, value elsewhere) of an elementwise select of two tensors of one type."""
    generic = flow.structured(vertex)
    if generic is None or not generic.elementwise or len(generic.body) != 2 or generic.body[0].name != "arith.select":
        return None
    given: Mapping[ir.Value, int] = {argument: n for n, argument in enumerate(generic.arguments)}
    places = [given.get(operand) for operand in generic.body[0].operands]
    if None in places or generic.yields != tuple(generic.body[0].results):
        return None
    condition, made, kept = (generic.operands[n] for n in places if n is not None)
    maps = [generic.maps[n] for n in places[1:] if n is not None]
    same = made.type == kept.type == generic.op.results[0].type and maps[0] == maps[1] == generic.maps[-1]
    return (condition, made, kept) if same and condition in flow.producer else None


def _any(condition: ir.Value) -> ir.Value:
    """Whether one element is true, as a scalar."""
    flat = as_vector(condition)
    count = prod(shape(condition))
    zero = arith.constant(ir.IndexType.get(), 0)
    if count == 1:
        return tensor.extract(flat, [zero])
    found = loops([flat], [[0]], [count], element_of(condition), lambda s: [arith.ori(s[0], s[1])], summed=1)
    return tensor.extract(found, [])

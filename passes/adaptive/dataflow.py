"""The dataflow of @main as a networkx graph, read the way it leaves the frontend: named linalg ops and generics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import networkx as nx

from passes.fusion.generic import Generic, is_contraction
from passes.fusion.graph import Graph
from passes.mlir import ir, linalg

RESHAPES = frozenset(("tensor.expand_shape", "tensor.collapse_shape", "tensor.cast", "linalg.transpose"))
"""Ops that show the same numbers in another shape; the residual stream runs through them."""


class Dataflow:
    """Vertices are the ops of the function's block by index, and its arguments as -1, -2, ...

    Constants, `tensor.empty` and fills have no edges: they carry no data of the model.
    """

    def __init__(self, main: ir.Operation) -> None:
        self.block = main.regions[0].blocks[0]
        graph = Graph(self.block)
        self.nodes = graph.nodes
        self.users = graph.users
        self.arguments = tuple(self.block.arguments)
        self.producer = dict(graph.producer)
        self.producer.update((value, -1 - number) for number, value in enumerate(self.arguments))
        self.edges: nx.DiGraph[int] = nx.DiGraph(graph.edges)
        for number, value in enumerate(self.arguments):
            self.edges.add_node(-1 - number)
            self.edges.add_edges_from((-1 - number, user) for user in self.users.get(value, ()))
        self.weights = frozenset(-1 - number for number in weight_arguments(main))
        self._structured: dict[int, Generic | None] = {}
        self._contractions: dict[int, bool] = {}

    @cached_property
    def activations(self) -> frozenset[int]:
        """Vertices that depend on an input of the model, not on weights alone."""
        inputs = {-1 - number for number in range(len(self.arguments))} - self.weights
        reached = set(inputs)
        for vertex in range(len(self.nodes)):
            if vertex in self.edges and not reached.isdisjoint(self.edges.predecessors(vertex)):
                reached.add(vertex)
        return frozenset(reached)

    def is_activation(self, value: ir.Value) -> bool:
        """Whether `value` depends on an input of the model; False for weights and constants."""
        return self.producer[value] in self.activations

    def structured(self, vertex: int) -> Generic | None:
        """The linalg op at `vertex` as loops, maps and body, named ops included; None for any other op."""
        if vertex not in self._structured:
            self._structured[vertex] = read_structured(self.nodes[vertex].op) if vertex >= 0 else None
        return self._structured[vertex]

    def contracts(self, vertex: int) -> bool:
        """Whether the op is a matrix product or a convolution."""
        if vertex not in self._contractions:
            generic = self.structured(vertex)
            self._contractions[vertex] = generic is not None and is_contraction(generic)
        return self._contractions[vertex]

    def reshapes(self, vertex: int) -> bool:
        return vertex >= 0 and self.nodes[vertex].op.name in RESHAPES

    def root(self, value: ir.Value) -> ir.Value:
        """The value that `value` is a reshape of."""
        while self.reshapes(vertex := self.producer[value]):
            value = self.nodes[vertex].op.operands[0]
        return value

    def operands(self, vertex: int) -> tuple[ir.Value, ...]:
        return self.nodes[vertex].operands

    def user_vertices(self, vertex: int) -> set[int]:
        values = self.nodes[vertex].results if vertex >= 0 else (self.arguments[-1 - vertex],)
        return {user for value in values for user in self.users.get(value, ())}

    def between(self, first: int, last: int) -> frozenset[int]:
        """The vertices on paths from `first`, exclusive, to `last`, inclusive; empty if there is no path."""
        below = {first}
        for vertex in range(max(first + 1, 0), last + 1):  # ops stand in topological order
            if vertex in self.edges and not below.isdisjoint(self.edges.predecessors(vertex)):
                below.add(vertex)
        if last not in below or last == first:
            return frozenset()
        above = {last}
        for vertex in sorted(below - {first, last}, reverse=True):
            if not above.isdisjoint(self.edges.successors(vertex)):
                above.add(vertex)
        return frozenset(above)

    def reshapes_of(self, vertex: int) -> frozenset[int]:
        """The reshapes of the value at `vertex`, and theirs."""
        found: set[int] = set()
        pending = [vertex]
        while pending:
            more = [v for v in self.edges.successors(pending.pop()) if self.reshapes(v) and v not in found]
            found.update(more)
            pending += more
        return frozenset(found)

    def sources(self, vertices: Iterable[int]) -> frozenset[int]:
        """The vertices outside of `vertices` that they read."""
        members = frozenset(vertices)
        return frozenset(s for v in members for s in self.edges.predecessors(v) if s not in members)


def weight_arguments(main: ir.Operation) -> list[int]:
    """The numbers of the arguments that are weights."""
    flags: Sequence[ir.Attribute] = list(main.attributes["arg_attrs"]) if "arg_attrs" in main.attributes else []
    return [number for number, flag in enumerate(flags) if "seerc.weight" in ir.DictAttr(flag)]


def read_structured(op: ir.Operation) -> Generic | None:
    """Any linalg op with loops as a `Generic`; loops that the results do not have reduce. None if it has none."""
    if op.name == "linalg.generic":
        return Generic.read(op)
    if not op.name.startswith("linalg.") or not op.regions or not op.results:
        return None
    try:
        maps = tuple(ir.AffineMapAttr(attr).value for attr in linalg.get_indexing_maps(op) or ())
    except (ValueError, TypeError):
        return None
    operands, count = tuple(op.operands), len(op.results)
    if len(maps) != len(operands):
        return None
    kept = {e.position for m in maps[-count:] for e in m.results if isinstance(e, ir.AffineDimExpr)}
    parallel = tuple(d in kept for d in range(maps[0].n_dims))
    return Generic(op, operands[:-count], operands[-count:], maps, parallel)

"""Sums of the residual stream: x' = x + f(x), where f is attention or an FFN."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from passes.adaptive.dataflow import Dataflow
from passes.adaptive.positions import positionwise
from passes.fusion.generic import shape
from passes.mlir import ir


@dataclass(frozen=True)
class Update:
    """One f of a sum: `leaves` are the values that are added, `vertices` what computes them from the stream alone."""

    leaves: tuple[ir.Value, ...]
    vertices: frozenset[int]
    kind: str


@dataclass(frozen=True)
class Sum:
    """x' = x + f(x) or x + f(x) + g(x).

    Attributes:
        vertex: the last addition.
        entry: x before reshapes, what the updates read.
        residual: x in the type of the sum: `entry` or a reshape of it.
        updates: one, whose vertices hold the additions too, or several that share nothing but norms.
    """

    vertex: int
    entry: ir.Value
    residual: ir.Value
    updates: tuple[Update, ...]


def find_sums(flow: Dataflow) -> list[Sum]:
    """All sums whose updates are attention or FFN, in program order."""
    made = (_read_sum(flow, vertex) for vertex in range(len(flow.nodes)) if vertex in flow.activations)
    return [found for found in made if found is not None]


def _read_sum(flow: Dataflow, vertex: int) -> Sum | None:
    pair = addends(flow, vertex)
    if pair is None or _is_inner(flow, vertex):
        return None
    leaves = _leaves(flow, vertex)
    for residual in leaves:
        entry = flow.root(residual)
        others = [leaf for leaf in leaves if leaf != residual]
        paths = [flow.between(flow.producer[entry], flow.producer[leaf]) for leaf in others]
        if others and all(paths) and not any(_bypasses(flow, entry, path, max(path)) for path in paths):
            updates = _updates(flow, vertex, entry, residual, dict(zip(others, paths, strict=True)))
            return Sum(vertex, entry, residual, updates) if updates else None
    return None


def _bypasses(flow: Dataflow, entry: ir.Value, path: frozenset[int], last: int) -> bool:
    """Whether a way from `entry` to `last` has no contraction, as in gated cells: h + z (n - h)."""
    pending, seen = [last], {last}
    while pending:
        vertex = pending.pop()
        if flow.contracts(vertex):
            continue
        sources = set(flow.edges.predecessors(vertex))
        if flow.producer[entry] in sources:
            return True
        more = (sources & path) - seen
        seen |= more
        pending += more
    return False


def addends(flow: Dataflow, vertex: int) -> tuple[ir.Value, ir.Value] | None:
    """The two activations of one shape that the op adds, element by element; None if it does anything else."""
    generic = flow.structured(vertex)
    if generic is None or len(generic.inputs) != 2 or len(generic.body) != 2 or not generic.elementwise:
        return None
    add = generic.body[0]
    if (
        add.name != "arith.addf"
        or set(add.operands) != set(generic.arguments[:2])
        or generic.yields != (add.results[0],)
    ):
        return None
    sizes = shape(generic.outputs[0])
    for value, dims in zip(generic.inputs, generic.dims, strict=False):
        if value.type != generic.outputs[0].type or dims is None or not flow.is_activation(value):
            return None
        if [d for d in dims if sizes[d] > 1] != [d for d in range(len(sizes)) if sizes[d] > 1]:
            return None
    return generic.inputs[0], generic.inputs[1]


def _is_inner(flow: Dataflow, vertex: int) -> bool:
    """Whether the addition only feeds another one, so that it is a part of its sum."""
    users = flow.user_vertices(vertex)
    return len(users) == 1 and addends(flow, next(iter(users))) is not None


def _leaves(flow: Dataflow, vertex: int) -> tuple[ir.Value, ...]:
    """What a tree of additions adds up."""
    found: list[ir.Value] = []
    for value in addends(flow, vertex) or ():
        source = flow.producer[value]
        inner = source >= 0 and addends(flow, source) is not None and _is_inner(flow, source)
        found += _leaves(flow, source) if inner else [value]
    return tuple(found)


def _updates(
    flow: Dataflow, vertex: int, entry: ir.Value, residual: ir.Value, paths: dict[ir.Value, frozenset[int]]
) -> tuple[Update, ...]:
    """The sum's updates: several if its leaves share no contraction and each is a sub-block, else one; () if none."""
    stream = flow.reshapes_of(flow.producer[entry])
    groups = _independent(flow, paths)
    if len(groups) > 1:
        made: list[Update] = []
        for group in groups:
            own = frozenset[int]().union(*(paths[leaf] for leaf in group))
            others = frozenset[int]().union(*(paths[leaf] for leaf in paths if leaf not in group))
            kind = _kind(flow, own, entry, residual, group[-1])
            made.append(Update(group, own - others - stream, kind))
        if all(update.kind for update in made):
            return tuple(sorted(made, key=lambda u: min(v for v in u.vertices if flow.contracts(v))))
    whole = flow.between(flow.producer[entry], vertex)
    kind = _kind(flow, whole, entry, residual, flow.nodes[vertex].results[0])
    return (Update(tuple(paths), whole - stream, kind),) if kind else ()


def _independent(flow: Dataflow, paths: dict[ir.Value, frozenset[int]]) -> list[tuple[ir.Value, ...]]:
    """The leaves in groups that share no contraction."""
    graph: nx.Graph[int] = nx.Graph()
    leaves = list(paths)
    graph.add_nodes_from(range(len(leaves)))
    for a, first in enumerate(leaves):
        for b in range(a):
            if any(flow.contracts(v) for v in paths[first] & paths[leaves[b]]):
                graph.add_edge(a, b)
    return [tuple(leaves[k] for k in sorted(group)) for group in nx.connected_components(graph)]


def _kind(
    flow: Dataflow,
    vertices: frozenset[int],
    entry: ir.Value,
    residual: ir.Value,
    last: ir.Value,
) -> str:
    """`attention`, `ffn`, or nothing, of what computes `last` from the stream.

    Attention multiplies activations twice, one product after the other (q k^T, then with v), of different positions or
    with a cache; an FFN has products with weights, and treats each position alone.
    """
    products = [v for v in vertices if flow.contracts(v)]
    if not products:
        return ""
    start = flow.producer[entry]
    alone = positionwise(flow, vertices | flow.between(start, flow.producer[residual]), entry, residual, last)
    mixing = {v for v in products if _multiplies_activations(flow, v)}
    if alone and max(shape(entry)[:-1], default=1) > 1:  # a position times itself, as gates of experts, is no attention
        mixing = {v for v in mixing if not all(x in vertices for x in map(flow.producer.get, _inputs(flow, v)))}
    if any(flow.between(first, second) for first in mixing for second in mixing):
        return "attention"
    return "ffn" if alone else ""


def _inputs(flow: Dataflow, vertex: int) -> tuple[ir.Value, ...]:
    generic = flow.structured(vertex)
    return () if generic is None else generic.inputs


def _multiplies_activations(flow: Dataflow, vertex: int) -> bool:
    return all(flow.is_activation(value) for value in _inputs(flow, vertex))

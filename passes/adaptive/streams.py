"""Residual streams: sums that follow each other, cut by the values between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import networkx as nx

from passes.adaptive.dataflow import Dataflow
from passes.adaptive.positions import positionwise
from passes.adaptive.sums import Sum, find_sums


@dataclass(frozen=True)
class Link:
    """`later` starts where `earlier` ends, after the vertices of `norm` if the model norms its sums."""

    earlier: Sum
    later: Sum
    norm: frozenset[int]


@dataclass(frozen=True)
class Stream:
    """Sums one after the other, in program order, with their links."""

    sums: tuple[Sum, ...]
    links: tuple[Link, ...]


def find_streams(flow: Dataflow) -> list[Stream]:
    """The residual streams, those with most sums first.

    Every entry of a stream is a cut vertex: all paths from the first entry to a sum lead through the sum's own entry.
    """
    sums = find_sums(flow)
    links = [link for link in (_link(flow, sums[:k], later) for k, later in enumerate(sums)) if link is not None]
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(s.vertex for s in sums)
    graph.add_edges_from((link.earlier.vertex, link.later.vertex) for link in links)
    streams: list[Stream] = []
    for members in nx.connected_components(graph):
        cut = _cut(flow, [s for s in sums if s.vertex in members])
        kept = {s.vertex for s in cut}
        streams.append(Stream(tuple(cut), tuple(x for x in links if {x.earlier.vertex, x.later.vertex} <= kept)))
    return sorted(streams, key=lambda stream: (-len(stream.sums), stream.sums[0].vertex))


def _cut(flow: Dataflow, sums: Sequence[Sum]) -> list[Sum]:
    """The sums whose entry dominates them, seen from the first entry."""
    first = flow.producer[sums[0].entry]
    dominators: dict[int, int] = nx.immediate_dominators(flow.edges, first)
    kept: list[Sum] = []
    for found in sums:
        vertex, entry = found.vertex, flow.producer[found.entry]
        while vertex not in (entry, first) and dominators.get(vertex, vertex) != vertex:
            vertex = dominators[vertex]
        if vertex == entry:
            kept.append(found)
    return kept


def _link(flow: Dataflow, earlier: Sequence[Sum], later: Sum) -> Link | None:
    """How `later` follows one of the sums before it, if it does: directly, or after a norm."""
    entry = flow.producer[later.entry]
    for found in reversed(earlier):
        if found.vertex == entry:
            return Link(found, later, frozenset())
    for found in reversed(earlier):
        path = flow.between(found.vertex, entry)
        if path:
            return Link(found, later, path) if is_norm(flow, found, path, entry) else None
    return None


def is_norm(flow: Dataflow, found: Sum, path: Iterable[int], last: int) -> bool:
    """Whether the vertices `path` from a sum to `last` only norm it: position by position, without contraction."""
    members = frozenset(path)
    total = flow.nodes[found.vertex].results[0]
    result = flow.nodes[last].results[0]
    if result.type != total.type or any(flow.contracts(v) for v in members):
        return False
    outside = flow.sources(members) - {found.vertex}
    return not (outside & flow.activations) and positionwise(flow, members, total, total, result)

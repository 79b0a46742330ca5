"""Attention and FFN sub-blocks of a model, found by structure alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import networkx as nx

from passes.adaptive.dataflow import Dataflow
from passes.adaptive.streams import Stream, find_streams, is_norm
from passes.adaptive.sums import Sum, Update
from passes.mlir import ir


@dataclass(frozen=True)
class Block:
    """One sub-block: x_i -> x_{i+1} = x_i + f(x_i).

    Attributes:
        kind: `attention` if f multiplies activations of different positions, `ffn` if it works position by position.
        index: number of the sub-block in stream order.
        entry: x_i, before reshapes. All that f reads besides it are weights and values that do not depend on the
            stream (masks, rotary tables, key/value caches).
        residual: x_i in the type of `exit`: what passes if the sub-block is skipped.
        exit: x_{i+1}. In a model that norms its sums (BERT: x' = norm(x + f(x))) the norm belongs to the sub-block
            and this is its result, so skipping passes x_i unchanged.
        updates: empty, or, if several sub-blocks share one sum (parallel residual, GPT-NeoX: x + f(x) + g(x)), the
            values that this one adds; they have the same entry, residual and exit then, and none holds the additions.
        ops: indices, in the block of @main, of the ops that only this sub-block needs, its sum and norm included.
        escapes: results of those ops, other than `exit` and `updates`, that are read elsewhere: new keys and values
            that the model returns, say.
        weights: numbers of the weight arguments that it reads.
    """

    kind: str
    index: int
    entry: ir.Value
    residual: ir.Value
    exit: ir.Value
    updates: tuple[ir.Value, ...]
    ops: tuple[int, ...]
    escapes: tuple[ir.Value, ...]
    weights: tuple[int, ...]


def find_blocks(main: ir.Operation | ir.OpView) -> tuple[Block, ...]:
    """The sub-blocks of @main as it leaves the frontend, in stream order (parallel ones: attention first).

    Names play no role. A sub-block lies between two cut vertices of a residual stream, adds to the stream what it
    computes, and is attention or an FFN; convolutional, recurrent and gated residuals are neither. Where a model norms
    its sums and has only one sub-block, the norm may as well be that of the output: it is left out.
    """
    flow = Dataflow(main.operation)
    taken: set[int] = set()
    found: list[tuple[Sum, Update, frozenset[int], ir.Value]] = []
    for stream in find_streams(flow):
        norms = _norms(flow, stream)
        for total in stream.sums:
            own = frozenset[int]().union(*(u.vertices for u in total.updates), norms.get(total.vertex, ()))
            if taken.isdisjoint(own):
                taken |= own
                found += [(total, u, *_extent(flow, total, u, norms)) for u in total.updates]
    found.sort(key=lambda item: (item[0].vertex, item[0].updates.index(item[1])))
    return tuple(_block(flow, k, *item) for k, item in enumerate(found))


def sums(blocks: tuple[Block, ...]) -> Iterator[tuple[Block, ...]]:
    """The sub-blocks in groups that share a sum."""
    for _, group in groupby(blocks, key=lambda block: block.exit):
        yield tuple(group)


def _extent(
    flow: Dataflow, total: Sum, update: Update, norms: dict[int, frozenset[int]]
) -> tuple[frozenset[int], ir.Value]:
    """The vertices of a sub-block, and its exit."""
    norm = norms.get(total.vertex, frozenset[int]())
    last = max(norm, default=total.vertex)
    return update.vertices | norm, flow.nodes[last].results[0]


def _block(flow: Dataflow, index: int, total: Sum, update: Update, vertices: frozenset[int], exit_: ir.Value) -> Block:
    parallel = len(total.updates) > 1
    own = with_private(flow, vertices, flow.producer[total.residual])
    leaves = update.leaves if parallel else ()
    escapes = [value for value in escaping(flow, own) if value != exit_ and value not in leaves]
    read = {
        a for v in flow.sources(own) - flow.activations for a in (v, *nx.ancestors(flow.edges, v)) if a in flow.weights
    }
    return Block(
        kind=update.kind,
        index=index,
        entry=total.entry,
        residual=total.residual,
        exit=exit_,
        updates=leaves,
        ops=tuple(sorted(own)),
        escapes=tuple(escapes),
        weights=tuple(sorted(-1 - vertex for vertex in read)),
    )


def escaping(flow: Dataflow, vertices: frozenset[int]) -> Iterator[ir.Value]:
    """Results of these ops that others read."""
    inner = {v for v in vertices if v >= 0}
    for vertex in sorted(inner):
        for value in flow.nodes[vertex].results:
            if any(user not in inner for user in flow.users.get(value, ())):
                yield value


def with_private(flow: Dataflow, vertices: frozenset[int], residual: int) -> frozenset[int]:
    """`vertices` and the ops that work for them alone, such as the slices of a key cache."""
    own = set(vertices)
    stream = {residual} | set(nx.ancestors(flow.edges, residual))
    for vertex in range(max(own), -1, -1):
        users = flow.user_vertices(vertex)
        if vertex in flow.edges and vertex not in own and vertex not in stream and users and users <= own:
            own.add(vertex)
    return frozenset(own)


def _norms(flow: Dataflow, stream: Stream) -> dict[int, frozenset[int]]:
    """By sum, the vertices of the norm after it, if most sums of the stream are normed before they are read."""
    normed = {link.earlier.vertex: link.norm for link in stream.links if link.norm and len(link.earlier.updates) == 1}
    if not normed or 2 * len(normed) <= len(stream.links):
        return {}
    last = stream.sums[-1]
    if len(last.updates) == 1 and last.vertex not in normed:
        norm = _same_norm(flow, last, next(iter(normed.values())))
        normed.update({last.vertex: norm} if norm else {})
    return normed


def _same_norm(flow: Dataflow, last: Sum, like: frozenset[int]) -> frozenset[int]:
    """What norms `last` with the same ops as `like`; empty if nothing does."""
    names = _names(flow, like)
    for vertex in range(last.vertex + 1, len(flow.nodes)):
        if vertex in flow.edges and len(flow.nodes[vertex].results) == 1:
            path = flow.between(last.vertex, vertex)
            if len(path) == len(like) and _names(flow, path) == names and is_norm(flow, last, path, vertex):
                return path
    return frozenset()


def _names(flow: Dataflow, vertices: frozenset[int]) -> Counter[tuple[str, ...]]:
    ops = (flow.nodes[v].op for v in vertices)
    return Counter((op.name, *(o.name for r in op.regions for b in r.blocks for o in b.operations)) for op in ops)

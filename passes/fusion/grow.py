"""Grows regions: which ops of the dataflow graph are computed by one kernel.

Contractions take their epilogues first (the later of two takes an op that joins them), then rows, then other
reductions; what is left is joined by iteration space. Every merge keeps the graph of regions acyclic, and an optional
callback can refuse it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from passes.fusion.generic import Generic, shape
from passes.fusion.graph import Graph, Node, Partition
from passes.mlir import ir

Dims = tuple[int, ...]
Judge = Callable[["Region", "Region", "Region"], bool]
"""Called with the merged region and its two parts; false refuses the merge."""


@dataclass
class Region:
    """Ops of one kernel over a common iteration space of `sizes`.

    `loops[n][d]` is the dimension of the space that loop d of node n runs along; `dims[v]` the same for the dimensions
    of the tensor v that the region produces. In a `row` region the first `rows` dimensions are the rows.
    """

    kind: str
    root: int
    sizes: Dims
    rows: int
    nodes: list[int] = field(default_factory=list[int])
    loops: dict[int, Dims] = field(default_factory=dict[int, Dims])
    dims: dict[ir.Value, Dims] = field(default_factory=dict[ir.Value, Dims])

    @staticmethod
    def of(node: Node) -> Region:
        """The region of one op; a reduction spans the dimensions of its result, a row op all its loops."""
        generic = node.generic
        region = Region(node.kind, node.index, (), 0, [node.index])
        if generic is None or node.kind == "plain":
            return region
        if node.kind in ("row", "elementwise"):
            region.sizes, region.rows = generic.sizes, sum(generic.parallel)
            region.add(node, tuple(range(len(generic.sizes))))
        else:
            result = generic.dims[-1] or ()
            region.sizes = tuple(generic.sizes[d] for d in result)
            region.dims[node.results[0]] = tuple(range(len(result)))
        return region

    def add(self, node: Node, loops: Dims) -> None:
        generic = node.generic
        assert generic is not None
        if node.index not in self.nodes:
            self.nodes = sorted([*self.nodes, node.index])
        self.loops[node.index] = loops
        for value, dims in zip(node.results, generic.dims[len(generic.inputs) :], strict=True):
            assert dims is not None
            self.dims[value] = tuple(loops[d] for d in dims)

    def joined(self, node: Node, loops: Dims) -> Region:
        copy = Region(self.kind, self.root, self.sizes, self.rows, list(self.nodes), dict(self.loops), dict(self.dims))
        copy.add(node, loops)
        return copy


class Grower:
    """Grows the regions of one block."""

    def __init__(self, graph: Graph, judge: Judge | None = None) -> None:
        self.graph = graph
        self.partition = Partition(graph.edges)
        self.regions = {node.index: Region.of(node) for node in graph.nodes if node.outlined}
        self.judge = judge

    def run(self) -> dict[int, Region]:
        """Regions by the name of their group in `partition`."""
        by_kind = {kind: [n.index for n in self.graph.nodes if n.kind == kind] for kind in _ORDER}
        for kind in _ORDER:
            anchors = by_kind[kind] if kind != "contraction" else list(reversed(by_kind[kind]))
            for anchor in anchors:
                if anchor in self.regions:
                    self._grow(anchor)
        self._join_siblings(by_kind["elementwise"])
        return self.regions

    def _grow(self, anchor: int) -> None:
        refused: set[int] = set()
        while (candidate := next(self._candidates(anchor, refused), None)) is not None:
            if not self._try(anchor, candidate):
                refused.add(candidate)

    def _candidates(self, anchor: int, refused: set[int]) -> Iterator[int]:
        """Single ops next to a region that its kind lets it take, consumers first."""
        kind = self.regions[anchor].kind
        near = sorted(self.partition.edges.successors(anchor))
        before = sorted(self.partition.edges.predecessors(anchor), reverse=True)
        near += before if kind in ("row", "elementwise") else [g for g in before if self._only_for(anchor, g)]
        wanted = ("elementwise", "row") if kind == "row" else ("elementwise",)
        for group in near:
            single = self.regions.get(group)
            if single is not None and single.kind in wanted and group not in refused and len(single.nodes) == 1:
                yield group

    def _only_for(self, anchor: int, group: int) -> bool:
        """Only the epilogue of a region reads the op, and no earlier epilogue can take it: a scaled residual, say."""
        region = self.regions[anchor]
        epilogue = [n for n in region.nodes if n != region.root]
        if any(u not in epilogue for v in self.graph.nodes[group].results for u in self.graph.users.get(v, ())):
            return False
        return not self._follows_contraction(group)

    def _follows_contraction(self, group: int) -> bool:
        """Elementwise ops lead from a contraction or reduction to this one."""
        for source in self.partition.edges.predecessors(group):
            kind = self.regions[source].kind if source in self.regions else "view"
            if kind in ("contraction", "reduction") or (kind == "elementwise" and self._follows_contraction(source)):
                return True
        return False

    def _try(self, anchor: int, candidate: int) -> bool:
        region, node = self.regions[anchor], self.graph.nodes[candidate]
        if region.kind != "row" and self._belongs_to_row(region, node):
            return False
        loops = self._align(region, node)
        if loops is None or not self.partition.can_merge(anchor, candidate):
            return False
        return self._merge(anchor, candidate, region.joined(node, loops))

    def _belongs_to_row(self, region: Region, node: Node) -> bool:
        """A row reduction reads `node`, and joining it to the region would not spare the region a result.

        So the square of a sum stays with the norm that adds it up; the sum itself is stored either way.
        """
        users = self.graph.users
        if not any(self.graph.nodes[u].kind == "row" for v in node.results for u in users.get(v, ())):
            return False
        read = [v for v in node.operands if v in region.dims]
        return all(any(u != node.index and u not in region.nodes for u in users[v]) for v in read)

    def _merge(self, anchor: int, candidate: int, merged: Region) -> bool:
        if self.judge is not None and not self.judge(merged, self.regions[anchor], self.regions[candidate]):
            return False
        self.partition.merge(anchor, candidate)
        del self.regions[candidate]
        self.regions[anchor] = merged
        return True

    def _align(self, region: Region, node: Node) -> Dims | None:
        """How the loops of `node` run along the space of `region`; None if they do not."""
        generic = node.generic
        assert generic is not None
        if generic.gathers and region.kind != "elementwise":
            return None
        found: dict[int, int] = {}
        for loop, dim in [*_reads(generic, region), *self._read_by(node, region)]:
            if found.setdefault(loop, dim) != dim:
                return None
        return _complete(region, generic, found)

    def _read_by(self, node: Node, region: Region) -> Iterator[tuple[int, int]]:
        """(loop of node, dimension) pairs from the places where the region reads results of `node`."""
        generic = node.generic
        assert generic is not None
        outs = generic.dims[len(generic.inputs) :]
        written = dict(zip(node.results, outs, strict=True))
        for index in self.partition.edges.successors(node.index):
            for member in self.partition.members[index]:
                if member not in region.loops:
                    continue
                reader = self.graph.nodes[member].generic
                assert reader is not None
                for value, dims in zip(reader.operands, reader.dims, strict=True):
                    if value in written:
                        if dims is None:
                            yield 0, -1
                        else:
                            for loop, read in zip(written[value] or (), dims, strict=True):
                                yield loop, region.loops[member][read]
                if any(value in written for value in reader.captured):
                    yield 0, -1

    def _join_siblings(self, indices: list[int]) -> None:
        """Join elementwise regions of one space that read a common tensor in the same way (halves of a rotation)."""
        for first in indices:
            if first not in self.regions:
                continue
            shared = {user for value in self._inputs(first) for user in self.graph.users.get(value, ())}
            for second in sorted({self.partition.group_of[u] for u in shared if u in self.partition.group_of}):
                if second > first and second in self.regions and first in self.regions:
                    self._try_sibling(first, second)

    def _inputs(self, group: int) -> list[ir.Value]:
        """Tensors from outside that span the whole space of an elementwise region."""
        region = self.regions[group]
        read = [value for n in region.nodes for value in (self.graph.nodes[n].operands)]
        rank = len(region.sizes)
        cloned = {
            v for v in read if v in self.graph.producer and self.graph.nodes[self.graph.producer[v]].kind == "cloned"
        }
        return [
            v for v in dict.fromkeys(read) if v not in region.dims and v not in cloned and len(shape(v)) == rank > 0
        ]

    def _try_sibling(self, first: int, second: int) -> None:
        region, other = self.regions[first], self.regions[second]
        if other.kind != "elementwise" or region.sizes != other.sizes or not self.partition.can_merge(first, second):
            return
        merged = region
        for index in other.nodes:
            merged = merged.joined(self.graph.nodes[index], other.loops[index])
        if _consistent(merged, self.graph):
            self._merge(first, second, merged)


_ORDER = ("contraction", "row", "reduction", "elementwise")


def _reads(generic: Generic, region: Region) -> Iterator[tuple[int, int]]:
    """(loop, dimension) pairs from the places where an op reads results of the region; -1 where it cannot."""
    for value, dims in zip(generic.operands, generic.dims, strict=True):
        space = region.dims.get(value)
        if space is None:
            continue
        if dims is None:
            yield 0, -1
            continue
        yield from zip(dims, space, strict=True)
    if any(value in region.dims for value in generic.captured):
        yield 0, -1


def _complete(region: Region, generic: Generic, found: dict[int, int]) -> Dims | None:
    """The loops found, with the open ones set to the open dimensions in order, if the region's kind allows them."""
    if -1 in found.values() or len(set(found.values())) != len(found):
        return None
    count = len(generic.sizes)
    if region.kind == "row" and count == region.rows and all(d < region.rows for d in found.values()):
        free = [d for d in range(region.rows) if d not in found.values()]
    elif count == len(region.sizes):
        free = [d for d in range(count) if d not in found.values()]
    else:
        return None
    if region.kind in ("contraction", "reduction") and free:
        return None
    loops = tuple(found[d] if d in found else free.pop(0) for d in range(count))
    if any(generic.sizes[d] != region.sizes[loop] for d, loop in enumerate(loops)):
        return None
    if region.kind == "row" and (loops != tuple(range(count)) or not _rows_match(region, generic)):
        return None
    return loops


def _rows_match(region: Region, generic: Generic) -> bool:
    """Whether a reduction reduces what the others of the region reduce: all loops but those over the rows."""
    return generic.elementwise or generic.parallel == tuple(d < region.rows for d in range(len(region.sizes)))


def _consistent(region: Region, graph: Graph) -> bool:
    """Every read of a value of the region follows the dimensions along which it is written."""
    for index in region.nodes:
        generic = graph.nodes[index].generic
        assert generic is not None
        if any(region.loops[index][loop] != dim for loop, dim in _reads(generic, region)):
            return False
    return True

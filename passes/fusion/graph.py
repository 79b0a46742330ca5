"""The dataflow graph of one block, and its partition into groups that never form a cycle."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import networkx as nx

from passes.fusion.generic import Generic, classify, defined, walk
from passes.mlir import ir

VIEWS = frozenset(
    "tensor.expand_shape tensor.collapse_shape tensor.extract_slice linalg.transpose tensor.pad tensor.concat "
    "tensor.insert_slice tensor.cast".split()
)
CLONED = frozenset(("arith.constant", "tensor.empty", "linalg.fill"))
"""Ops without work of their own: every region that reads one has its own copy."""


def is_cloned(op: ir.Operation) -> bool:
    """Whether regions copy `op`; a dense constant is not, @main passes it."""
    dense = op.name == "arith.constant" and isinstance(op.results[0].type, ir.RankedTensorType)
    return op.name in CLONED and not dense


@dataclass(frozen=True, eq=False)
class Node:
    """One op of a block.

    `kind` is that of `classify`, or `view`, `cloned`, `nested` (`scf` loop or branch), `scalar`, `end`.
    """

    index: int
    op: ir.Operation
    kind: str
    generic: Generic | None

    @cached_property
    def operands(self) -> tuple[ir.Value, ...]:
        """All values that the op reads, those that its regions capture included."""
        if self.generic is not None:
            return self.generic.operands + self.generic.captured
        inner = {value for op in walk(self.op) for value in defined(op)}
        return tuple(dict.fromkeys(v for op in walk(self.op) for v in op.operands if v not in inner))

    @cached_property
    def results(self) -> tuple[ir.Value, ...]:
        return tuple(self.op.results)

    @cached_property
    def signature(self) -> str:
        """The op without the names of its operands: equal for equal ops."""
        copy = self.op.clone(ip=False)
        text = copy.get_asm(use_local_scope=True)
        captured = () if self.generic is None else self.generic.captured
        values = {v: i for i, v in enumerate(self.operands)}
        nested = [tuple(values.get(v, -1) for v in op.operands) for op in walk(self.op)] if captured else []
        return f"{text}{nested}"

    @property
    def outlined(self) -> bool:
        """The op belongs in a region function."""
        return self.kind in ("elementwise", "contraction", "row", "reduction", "plain")


def read_node(index: int, op: ir.Operation) -> Node:
    name = op.name
    if name == "linalg.generic":
        generic = Generic.read(op)
        return Node(index, op, classify(generic), generic)
    if name in VIEWS or (name == "arith.constant" and not is_cloned(op)):
        kind = "view"
    elif is_cloned(op):
        kind = "cloned"
    elif name in ("func.return", "scf.yield"):
        kind = "end"
    elif any(block.operations for region in op.regions for block in region.blocks) and name.startswith("scf."):
        kind = "nested"
    elif name == "tensor.extract" and (isinstance(op.operands[0], ir.BlockArgument) or _is_condition(op)):
        kind = "scalar"  # the condition of a branch: read by @main itself
    else:
        values = [*op.operands, *op.results]
        kind = "plain" if any(isinstance(v.type, ir.RankedTensorType) for v in values) else "scalar"
    return Node(index, op, kind, None)


def _is_condition(op: ir.Operation) -> bool:
    return all(use.owner.name == "scf.if" and use.operand_number == 0 for use in op.results[0].uses)


class Graph:
    """The ops of a block with their data dependences (`edges`, a networkx graph over node indices)."""

    def __init__(self, block: ir.Block) -> None:
        self.nodes = [read_node(index, op.operation) for index, op in enumerate(block.operations)]
        self.producer = {value: node.index for node in self.nodes for value in node.results}
        self.edges: nx.DiGraph[int] = nx.DiGraph()
        self.edges.add_nodes_from(node.index for node in self.nodes if node.kind != "cloned")
        for node in self.nodes:
            if node.kind == "cloned":
                continue
            for value in node.operands:
                source = self.producer.get(value)
                if source is not None and self.nodes[source].kind != "cloned":
                    self.edges.add_edge(source, node.index)
        self.users: dict[ir.Value, list[int]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.operands):
                self.users.setdefault(value, []).append(node.index)


class Partition:
    """Disjoint groups of nodes, named by one member, whose graph stays acyclic.

    `below[g]` is a bit set of the groups that depend on g, so that a merge is checked without a search. Bits of groups
    that were merged into others stay set; nothing asks for them.
    """

    def __init__(self, edges: nx.DiGraph[int]) -> None:
        self.edges: nx.DiGraph[int] = nx.DiGraph(edges)
        self.below: dict[int, int] = {}
        for group in reversed(list(nx.topological_sort(edges))):
            self.below[group] = 0
            for successor in edges.successors(group):
                self.below[group] |= self.below[successor] | 1 << successor
        self.members: dict[int, list[int]] = {group: [group] for group in edges}
        self.group_of: dict[int, int] = {group: group for group in edges}

    def can_merge(self, a: int, b: int) -> bool:
        """No path leaves one group and enters the other through a third."""
        for first, second in ((a, b), (b, a)):
            for between in self.edges.successors(first):
                if between != second and self.below[between] >> second & 1:
                    return False
        return True

    def merge(self, a: int, b: int) -> None:
        """Add group b to group a."""
        for source in self.edges.predecessors(b):
            self.edges.add_edge(source, a)
        for target in self.edges.successors(b):
            self.edges.add_edge(a, target)
        self.edges.remove_node(b)
        if self.edges.has_edge(a, a):
            self.edges.remove_edge(a, a)
        self.below[a] |= self.below.pop(b)
        changed = [a]
        while changed:
            group = changed.pop()
            reached = self.below[group] | 1 << group
            for source in self.edges.predecessors(group):
                if self.below[source] | reached != self.below[source]:
                    self.below[source] |= reached
                    changed.append(source)
        self.members[a] = sorted(self.members[a] + self.members.pop(b))
        for member in self.members[a]:
            self.group_of[member] = a

    def order(self) -> Iterable[int]:
        """Groups so that each follows those it depends on; otherwise in program order."""
        return nx.lexicographical_topological_sort(self.edges, key=lambda group: self.members[group][-1])

"""A workload as a graph: its ops, its values, and how each op walks over each value (strides along its loops).

A use is a node of its own between value and op: for a compiler, a matrix product is told from its transpose by strides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log2
from typing import TYPE_CHECKING

import numpy as np

from costmodel.affine import Expression
from costmodel.facts import GROUPS, OP_GROUPS
from costmodel.neural.reading import Reading
from costmodel.tokens.tokenizer import PAD, UNKNOWN
from costmodel.workload import Op, Tensor, Workload, parse_workload, row_major

if TYPE_CHECKING:
    import networkx as nx

Node = tuple[str | int, ...]
"""`value` and its index, `op` and its index, or `use` with the indices of op and operand."""
SCHEME = "graph"
SLOTS = 6
"""Innermost loops or dimensions that have channels of their own."""
EDGES = ("reads", "read by", "writes", "written by", "results in", "result of")
CHANNELS = 2 * SLOTS + 6 + len(GROUPS)
_GROUP = {name: i for i, group in enumerate(GROUPS) for name in OP_GROUPS.get(group, ())}


@dataclass(frozen=True)
class GraphReader:
    """Reads dataflow graphs; `words` are the kinds of nodes that training held."""

    words: tuple[str, ...]

    @staticmethod
    def build(texts: Iterable[str]) -> GraphReader:
        """The reader of all kinds of nodes in workload texts."""
        graphs = (dataflow(parse_workload(text)) for text in texts)
        return GraphReader(tuple(sorted({str(graph.nodes[n]["kind"]) for graph in graphs for n in graph})))

    @cached_property
    def index(self) -> dict[str, int]:
        """Kind to id."""
        return {word: i for i, word in enumerate((PAD, UNKNOWN, *self.words))}

    @property
    def size(self) -> int:
        """Number of ids."""
        return len(self.words) + 2

    @property
    def channels(self) -> int:
        """Numbers of a node."""
        return CHANNELS

    def read(self, text: str) -> Reading:
        """See `reading.Reader`."""
        graph = dataflow(parse_workload(text))
        place = {node: i for i, node in enumerate(graph.nodes)}
        ids = np.array([self.index.get(graph.nodes[n]["kind"], 1) for n in graph], dtype=np.int32)
        numbers = np.array([graph.nodes[n]["numbers"] for n in graph], dtype=np.float32)
        edges = [(place[a], place[b], graph.edges[a, b]["kind"]) for a, b in graph.edges]
        return Reading(ids, numbers, np.array(edges, dtype=np.int32).reshape(-1, 3))

    def to_json(self) -> str:
        """tokenizer.json."""
        import json

        return json.dumps({"scheme": SCHEME, "words": self.words}, indent=0) + "\n"


def dataflow(workload: Workload) -> nx.DiGraph[Node]:
    """A networkx.DiGraph: nodes with `kind` (a word) and `numbers` (CHANNELS), edges with `kind` (index into EDGES)."""
    import networkx as nx

    graph: nx.DiGraph[Node] = nx.DiGraph()
    values = _with_result_strides(workload)
    for i, value in enumerate(values):
        kind = "constant" if value.constant else "argument" if i < workload.arguments else "value"
        graph.add_node(("value", i), kind=f"{kind} {value.dtype}", numbers=_value(value))
    for j, op in enumerate(workload.ops):
        graph.add_node(("op", j), kind=op.name, numbers=_op(op, j == workload.root))
        for k, (operand, strides) in enumerate(_uses(op, values)):
            output = op.inputs and k >= op.inputs
            use = ("use", j, k)
            graph.add_node(use, kind="output" if output else "input", numbers=_use(strides, values[operand]))
            _connect(graph, ("value", operand), use, 2 if output else 0)
            _connect(graph, use, ("op", j), 2 if output else 0)
        for result in op.results:
            _connect(graph, ("op", j), ("value", result), 4)
    return graph


def _connect(graph: nx.DiGraph[Node], a: Node, b: Node, kind: int) -> None:
    graph.add_edge(a, b, kind=kind)
    graph.add_edge(b, a, kind=kind + 1)


def _with_result_strides(workload: Workload) -> list[Tensor]:
    values = list(workload.values)
    for i, tensor in zip(workload.results, workload.result_types, strict=True):
        values[i] = tensor
    return values


def _uses(op: Op, values: Sequence[Tensor]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """(value, stride in elements along each loop) of every operand."""
    for k, operand in enumerate(op.operands):
        if k < len(op.maps):
            yield operand, _along(op.maps[k], values[operand].strides, len(op.extents))
        else:
            yield operand, values[operand].strides or row_major(values[operand].shape)


def _along(expressions: tuple[Expression, ...], strides: tuple[int, ...], loops: int) -> tuple[int, ...]:
    found = [0] * loops
    for expression, stride in zip(expressions, strides, strict=True):
        for dim, coefficient in expression.terms:
            found[dim] += coefficient * stride
    return tuple(found)


def _value(value: Tensor) -> list[float]:
    inner = value.shape[-1] if value.shape else 1
    facts = [_log(value.elements), _log(value.bytes), *(float(inner % d == 0) for d in (8, 16, 64)), 0.0]
    return [*_slots(value.shape), *_slots(value.strides), *facts, *[0.0] * len(GROUPS)]


def _use(strides: tuple[int, ...], value: Tensor) -> list[float]:
    unit = [0.0] * max(0, SLOTS - len(strides)) + [1.0 if s == 1 else -1.0 if s == 0 else 0.0 for s in strides]
    facts = [_log(value.elements), _log(value.bytes), 0.0, 0.0, 0.0, 0.0]
    return [*_slots(strides), *unit[-SLOTS:], *facts, *[0.0] * len(GROUPS)]


def _op(op: Op, root: bool) -> list[float]:
    kinds = [1.0 if i == "reduction" else -1.0 for i in op.iterators]
    inner = op.extents[-1] if op.extents else 1
    facts = [_log(op.points), float(len(op.body)) / 8.0, *(float(inner % d == 0) for d in (8, 16, 64)), float(root)]
    counts = [0.0] * len(GROUPS)
    for name, count in op.histogram.items():
        counts[_GROUP.get(name.rpartition(".")[2], len(GROUPS) - 1)] += count
    padded = [0.0] * max(0, SLOTS - len(kinds)) + kinds
    return [*_slots(op.extents), *padded[-SLOTS:], *facts, *(log2(1.0 + c) for c in counts)]


def _slots(numbers: tuple[int, ...]) -> list[float]:
    """The innermost SLOTS numbers as logarithms, the innermost last."""
    logs = [_log(n) for n in numbers[-SLOTS:]]
    return [0.0] * (SLOTS - len(logs)) + logs


def _log(n: int) -> float:
    return log2(1.0 + abs(n)) / 8.0

"""Whether a part of the graph computes every position of its input by itself."""

from __future__ import annotations

from collections.abc import Iterable

from passes.adaptive.dataflow import Dataflow
from passes.fusion.generic import Generic, shape
from passes.mlir import ir

Labels = tuple[bool, ...]
"""For each dimension of a tensor, whether positions of the stream run along it."""
Found = dict[ir.Value, Labels]


def positionwise(flow: Dataflow, vertices: Iterable[int], entry: ir.Value, like: ir.Value, last: ir.Value) -> bool:
    """Whether each position of `last` depends on the same position of `entry` alone.

    The features are the last dimension of `entry`, all others hold positions. Conservative: an op that is not known
    counts as mixing.

    Args:
        flow: the dataflow that all of this is about.
        vertices: every vertex on the paths from `entry` to `like` and `last`.
        entry: a value [..., positions, features].
        like: `entry` or a reshape of it, of the shape of `last`.
        last: the result.
    """
    sizes = shape(entry)
    found: Found = {entry: tuple(size > 1 for size in sizes[:-1]) + (False,) * bool(sizes)}
    for vertex in sorted(vertices):
        op = flow.nodes[vertex].op
        labels = _result_labels(flow, vertex, found)
        if labels is None or len(op.results) != 1:
            return False
        found[op.results[0]] = labels
    return last in found and found[last] == found.get(like)


def _result_labels(flow: Dataflow, vertex: int, found: Found) -> Labels | None:
    """The labels of the one result of an op; None if it mixes positions, or may."""
    op = flow.nodes[vertex].op
    generic = flow.structured(vertex)
    if generic is not None:
        return _through_loops(generic, found)
    if op.name == "tensor.expand_shape":
        return _expand(op, found[op.operands[0]])
    if op.name == "tensor.collapse_shape":
        return tuple(any(found[op.operands[0]][d] for d in group) for group in _groups(op))
    if op.name in ("tensor.cast", "tensor.extract_slice", "tensor.pad", "tensor.concat"):
        return _same_positions(op, found)
    return None


def _through_loops(generic: Generic, found: Found) -> Labels | None:
    """A loop runs over positions where an operand does; reducing such a loop mixes them, as a window or a gather."""
    if any(value in found for value in generic.captured):
        return None
    over = [False] * len(generic.parallel)
    for value, map_ in zip(generic.operands, generic.maps, strict=True):
        for expr, position in zip(map_.results, found.get(value, ()), strict=False):
            if position and not isinstance(expr, ir.AffineDimExpr):
                return None
            if position:
                over[expr.position] = True
    if any(over[d] for d, parallel in enumerate(generic.parallel) if not parallel):
        return None
    written = generic.maps[-1].results
    return tuple(isinstance(expr, ir.AffineDimExpr) and over[expr.position] for expr in written)


def _expand(op: ir.Operation, labels: Labels) -> Labels:
    sizes = shape(op.results[0])
    return tuple(labels[s] and sizes[d] > 1 for s, group in enumerate(_groups(op)) for d in group)


def _groups(op: ir.Operation) -> list[list[int]]:
    return [
        [ir.IntegerAttr(d).value for d in ir.ArrayAttr(group)] for group in ir.ArrayAttr(op.attributes["reassociation"])
    ]


def _same_positions(op: ir.Operation, found: Found) -> Labels | None:
    """Slices, padding and concatenation of features: dimensions of positions keep their size."""
    sizes = shape(op.results[0])
    labels = [False] * len(sizes)
    for value in op.operands:
        if value not in found:
            continue
        if len(found[value]) != len(sizes):
            return None
        for d, position in enumerate(found[value]):
            if position and shape(value)[d] != sizes[d]:
                return None
            labels[d] = labels[d] or position
    return tuple(labels)

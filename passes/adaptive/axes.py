"""Along which dimensions the sequences and the tokens of the residual stream run, through a sub-block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

from passes.adaptive.dataflow import Dataflow
from passes.base import PassError
from passes.fusion.generic import Generic, shape
from passes.fusion.reshape import reassociation
from passes.mlir import ir

SEQUENCE, TOKEN, OTHER = "sequence", "token", ""


@dataclass(frozen=True)
class Part:
    """One factor of a dimension: the sequences of a batch, their tokens, or anything else."""

    role: str
    size: int


Axis = tuple[Part, ...]
"""A dimension as a product of parts, the slowest first; () for size 1. [B * T, d] has the axes (B, T) and (d)."""
Axes = tuple[Axis, ...]


class Mixed(PassError):
    """An op that cannot be computed for fewer tokens; the message says which and why."""


def stream_axes(value: ir.Value, sequences: int) -> Axes:
    """The axes of a stream [B * T, d] or [B, T, d]; `sequences` is B."""
    *rows, features = shape(value)
    if len(rows) not in (1, 2) or prod(rows) % sequences or (len(rows) == 2 and rows[0] != sequences):
        raise Mixed(f"a stream of type {value.type} does not hold {sequences} sequences")
    batch, tokens = Part(SEQUENCE, sequences), Part(TOKEN, prod(rows) // sequences)
    return (*([_axis([batch]), _axis([tokens])] if len(rows) == 2 else [_axis([batch, tokens])]), other(features))


def other(size: int) -> Axis:
    return _axis([Part(OTHER, size)])


def size_of(axis: Axis) -> int:
    return prod(part.size for part in axis)


def has(axis: Axis, role: str = "") -> bool:
    """Whether sequences or tokens, or the one asked for, run along the dimension."""
    return any(part.role == role if role else part.role != OTHER for part in axis)


def narrowed(axes: Axes, tokens: int) -> list[int]:
    """The shape with that many tokens."""
    return [size_of(tuple(replace(p, size=tokens) if p.role == TOKEN else p for p in axis)) for axis in axes]


def track(flow: Dataflow, vertices: Iterable[int], entry: ir.Value, axes: Axes) -> dict[ir.Value, Axes]:
    """The axes of every value that depends on the stream.

    Args:
        flow: the dataflow.
        vertices: the ops on all paths from `entry` to what is wanted.
        entry: the stream.
        axes: its axes.

    Raises:
        Mixed: an op is not known, or treats a position by its number.
    """
    found = {entry: axes}
    for vertex in sorted(vertices):
        op = flow.nodes[vertex].op
        try:
            made = _result_axes(flow, vertex, found)
        except Mixed as error:
            raise Mixed(f"{op.name} of {op.results[0].type}: {error}") from None
        found.update(zip(op.results, made, strict=True))
    return found


def loop_axes(generic: Generic, found: dict[ir.Value, Axes]) -> dict[int, Axis]:
    """The axis of each loop that runs along a dimension of a value in `found`."""
    loops: dict[int, Axis] = {}
    for value, map_ in zip(generic.operands, generic.maps, strict=True):
        for expr, axis in zip(map_.results, found.get(value, ()), strict=False):
            if isinstance(expr, ir.AffineDimExpr):
                if axis and loops.setdefault(expr.position, axis) != axis:
                    raise Mixed("tokens meet something else in one loop")
            elif has(axis):
                raise Mixed("it reads tokens through a window")
    return loops


def operand_axes(generic: Generic, number: int, loops: dict[int, Axis]) -> Axes:
    """The axes of any operand, from the loops that index it."""
    axes: list[Axis] = []
    for expr, size in zip(generic.maps[number].results, shape(generic.operands[number]), strict=True):
        known = isinstance(expr, ir.AffineDimExpr)
        axes.append(loops.get(expr.position, other(size)) if known and size > 1 else other(size))
    return tuple(axes)


def _result_axes(flow: Dataflow, vertex: int, found: dict[ir.Value, Axes]) -> list[Axes]:
    op, generic = flow.nodes[vertex].op, flow.structured(vertex)
    if generic is not None:
        return _through_loops(generic, found)
    if op.operands[0] not in found and op.name != "tensor.concat":
        raise Mixed("it reads the stream in a way that is not known")
    if op.name == "tensor.expand_shape":
        return [_expand(found[op.operands[0]], reassociation(op), shape(op.results[0]))]
    if op.name == "tensor.collapse_shape":
        source = found[op.operands[0]]
        return [tuple(_axis([p for d in group for p in source[d]]) for group in reassociation(op))]
    if op.name in ("tensor.extract_slice", "tensor.concat"):
        return [_same_tokens(op, found)]
    raise Mixed("it is no op that can be computed for fewer tokens")


def _through_loops(generic: Generic, found: dict[ir.Value, Axes]) -> list[Axes]:
    loops = loop_axes(generic, found)
    if any(value in found for value in generic.captured):
        raise Mixed("it gathers from the stream")
    for inner in generic.body:
        if inner.name == "linalg.index" and has(loops.get(ir.IntegerAttr(inner.attributes["dim"]).value, ())):
            raise Mixed("it computes with the number of a position")
    for loop, parallel in enumerate(generic.parallel):
        if not parallel and has(loops.get(loop, ()), SEQUENCE):
            raise Mixed("it sums over sequences")
    first = len(generic.inputs)
    return [operand_axes(generic, first + k, loops) for k in range(len(generic.outputs))]


def _expand(axes: Axes, groups: Sequence[Sequence[int]], sizes: Sequence[int]) -> Axes:
    made: list[Axis] = []
    for axis, group in zip(axes, groups, strict=True):
        rest = list(axis)
        made += [_take(rest, sizes[d]) for d in group]
    return tuple(made)


def _take(parts: list[Part], size: int) -> Axis:
    """The first parts whose product is `size`, removed from `parts`."""
    taken: list[Part] = []
    while size > 1:
        part = parts.pop(0)
        if size % part.size == 0:
            taken.append(part)
            size //= part.size
        elif part.role == OTHER and part.size % size == 0:
            taken.append(Part(OTHER, size))
            parts.insert(0, Part(OTHER, part.size // size))
            size = 1
        else:
            raise Mixed(f"it splits {part.size} {part.role}s")
    return _axis(taken)


def _same_tokens(op: ir.Operation, found: dict[ir.Value, Axes]) -> Axes:
    """Slices and concatenation of features: dimensions with tokens stay whole."""
    sizes = shape(op.results[0])
    sources = [found.get(value) for value in op.operands]
    axes = sources[0]
    if axes is None or any(other_axes is None or len(other_axes) != len(sizes) for other_axes in sources):
        raise Mixed("it joins the stream with something else")
    made = tuple(axis if size_of(axis) == size else other(size) for axis, size in zip(axes, sizes, strict=True))
    for source in sources:
        for before, after in zip(source or (), made, strict=True):
            if before != after and (has(before) or has(after)):
                raise Mixed("it takes some tokens, or adds some")
    return made


def _axis(parts: Iterable[Part]) -> Axis:
    """Without parts of size 1; neighbours that are neither sequences nor tokens are one."""
    made: list[Part] = []
    for part in parts:
        if part.size > 1 and made and made[-1].role == part.role == OTHER:
            made[-1] = Part(OTHER, made[-1].size * part.size)
        elif part.size > 1:
            made.append(part)
    return tuple(made)

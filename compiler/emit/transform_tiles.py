"""Which loops of a structured op become vector lanes, register rows and unit steps: the numbers of the scripts."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from costmodel.region.linear import row_major
from passes.fusion.generic import Generic, is_contraction, shape
from passes.mlir import ir
from passes.tiling.schedule import Schedule

MOST_POINTS = 2048
"""Loop iterations that may become one vector operation."""


def is_static(op: Any) -> bool:
    """Whether an op is a linalg.generic on static shapes whose trip counts all show and whose tiles are slices."""
    kinds = [v.type for v in op.operands if isinstance(v.type, ir.ShapedType)]
    if op.name != "linalg.generic" or not all(isinstance(k, ir.RankedTensorType) and k.has_static_shape for k in kinds):
        return False
    maps = [ir.AffineMapAttr(a).value for a in op.attributes["indexing_maps"]]
    if not all(_sliceable(e) for m in maps for e in m.results):
        return False
    shown = {e.position for m in maps for e in m.results if isinstance(e, ir.AffineDimExpr)}
    return len(shown) == maps[0].n_dims


def may_vectorize(op: Any) -> bool:
    """Whether an op is small enough to become vector operations as a whole, and is right if it does.

    Not if it reads or makes i1 (vectors of it are packed bits in memory, scalars are bytes) or gathers.
    """
    if not is_static(op):
        return False
    generic = Generic.read(op)
    bits = any(str(getattr(v.type, "element_type", v.type)) == "i1" for v in generic.operands)
    return not bits and not generic.gathers and 1 < prod(generic.sizes) <= MOST_POINTS


def lane_loop(generic: Generic) -> int | None:
    """The loop along which most elements lie next to each other; a reduced one if the op is no contraction.

    An op that is fused has `seerc.lane`: the loop that becomes the lanes of the op that it is fused into.
    """
    if "seerc.lane" in generic.op.attributes:
        given = ir.IntegerAttr(generic.op.attributes["seerc.lane"]).value
        return given if generic.sizes[given] > 1 else None
    free = [d for d, n in enumerate(generic.sizes) if n > 1 and (generic.parallel[d] or not is_contraction(generic))]
    return max(free, key=lambda d: (_contiguity(generic, d), d), default=None)


def row_loop(generic: Generic, lane: int, allowed: Sequence[int]) -> int | None:
    """The loop of a register tile's rows: one that an operand lacks and that no operand strides along."""
    free = [d for d in allowed if d != lane and generic.parallel[d] and generic.sizes[d] > 1 and _plain(generic, d)]
    return max(free, key=lambda d: (any(d not in _terms(m) for m in generic.maps), generic.sizes[d], d), default=None)


def windowed(generic: Generic) -> bool:
    """Whether an operand is indexed by sums of loops, as in a convolution."""
    return any(d is None for d in generic.dims)


def inner_tile(generic: Generic, schedule: Schedule) -> list[int]:
    """Tile sizes (0: whole) that leave one vector tile: lanes, rows, steps of the innermost reduction, 1 elsewhere."""
    sizes, lane = [1] * len(generic.sizes), lane_loop(generic)
    if lane is None:
        return [0] * len(sizes)
    sizes[lane] = schedule.vector * schedule.vectors
    reduced = [d for d, parallel in enumerate(generic.parallel) if not parallel]
    if generic.parallel[lane]:
        row = row_loop(generic, lane, range(len(sizes)))
        if row is not None:
            sizes[row] = schedule.rows
        if reduced:
            sizes[_step_loop(generic, reduced)] = max(schedule.unroll, 4) if windowed(generic) else schedule.unroll
    else:
        sizes[lane] = 0
    return [0 if size >= n else size for size, n in zip(sizes, generic.sizes, strict=True)]


def _step_loop(generic: Generic, reduced: Sequence[int]) -> int:
    """The reduced loop of which a tile takes several steps: the longest that is no part of a window."""
    alone = [d for d in reduced if all(d in _alone(m) for m in generic.maps)]
    return max(alone or reduced, key=lambda d: (generic.sizes[d], d))


def _alone(map_: Any) -> set[int]:
    inside = set().union(*(_terms_of(e) for e in map_.results if not isinstance(e, ir.AffineDimExpr)))
    return set(range(map_.n_dims)) - inside


def loop_order(generic: Generic, related: dict[int, int], rank: Sequence[int]) -> list[int]:
    """The op's loops: parallel ones in the order that `rank` gives to the loops of the root, then the others."""
    position = {d: i for i, d in enumerate(rank)}

    def key(loop: int) -> tuple[bool, int, int]:
        return not generic.parallel[loop], position.get(related.get(loop, -1), -1), loop

    return sorted(range(len(generic.sizes)), key=key)


def related_loops(root: Any, ops: Sequence[Any]) -> dict[Any, dict[int, int]]:
    """For the producers of `root` among `ops` (in program order): their loops that are loops of `root`, and which."""
    found = {root: {d: d for d in range(len(Generic.read(root).sizes))}}
    for op in reversed(ops):
        if op in found:
            continue
        related = [_through(use.owner.operation, use.operand_number, op, found) for r in op.results for use in r.uses]
        if related and all(r is not None for r in related):
            first = related[0] or {}
            found[op] = {k: v for k, v in first.items() if all((r or {}).get(k) == v for r in related)}
    return found


def strides(value: Any) -> tuple[int, ...]:
    """Strides in elements of where a tensor lies, row-major for a temporary."""
    extents = shape(value)
    if isinstance(value.owner, ir.Block):
        return _strides_of_argument(value)
    op = value.owner.operation
    if op.name == "bufferization.to_tensor":
        return tuple(op.operands[0].type.get_strides_and_offset()[0])
    if op.name in ("tensor.extract_slice", "tensor.cast", "tensor.collapse_shape"):
        inner = [s for s, n in zip(strides(op.operands[0]), shape(op.operands[0]), strict=True) if n != 1]
        kept = inner if len(inner) == len(extents) else list(strides(op.operands[0]))
        return tuple(kept) if len(kept) == len(extents) else row_major(extents)
    return row_major(extents)


def _strides_of_argument(value: Any) -> tuple[int, ...]:
    loop, number = value.owner.owner.operation, ir.BlockArgument(value).arg_number
    if loop.name == "scf.for":
        return strides(loop.operands[2 + number])
    if loop.name == "scf.forall":
        outputs = len(loop.results)
        inner = len(loop.regions[0].blocks[0].arguments) - outputs
        return strides(loop.operands[len(loop.operands) - outputs + number - inner])
    return row_major(shape(value))


def _through(user: Any, number: int, op: Any, found: dict[Any, dict[int, int]]) -> dict[int, int] | None:
    """Loops of `op` that are the root's, as its use by operand `number` of `user` tells; None if it tells nothing."""
    if user not in found:
        return None
    used, made = Generic.read(user).maps[number], Generic.read(op).maps[-1]
    pairs = zip(used.results, made.results, strict=True)
    dims = [(p, u) for u, p in pairs if isinstance(u, ir.AffineDimExpr) and isinstance(p, ir.AffineDimExpr)]
    return {p.position: found[user][u.position] for p, u in dims if u.position in found[user]}


def _contiguity(generic: Generic, loop: int) -> float:
    """Elements of operands that a vector along the loop reads or writes in one piece, less those it does not."""
    score = 0.0
    for value, map_ in zip(generic.operands, generic.maps, strict=True):
        steps = [s for s, e in zip(strides(value), map_.results, strict=True) if loop in _terms_of(e)]
        weight = prod(shape(value))
        score += weight * (0.25 if not steps else 1.0 if steps == [1] else -1.0)
    return score


def _sliceable(expr: Any) -> bool:
    """Whether a tile of loops reads a contiguous piece: loops, positive multiples of them, and sums."""
    if isinstance(expr, ir.AffineAddExpr):
        return _sliceable(expr.lhs) and _sliceable(expr.rhs)
    if isinstance(expr, ir.AffineMulExpr):
        return _sliceable(expr.lhs) and isinstance(expr.rhs, ir.AffineConstantExpr) and expr.rhs.value > 0
    return isinstance(expr, ir.AffineDimExpr | ir.AffineConstantExpr)


def _plain(generic: Generic, loop: int) -> bool:
    """Whether the loop is never multiplied in a map, so that its tiles are slices."""
    return all(f"d{loop} *" not in str(m) for m in generic.maps)


def _terms(map_: Any) -> set[int]:
    return set().union(*(_terms_of(e) for e in map_.results))


def _terms_of(expr: Any) -> set[int]:
    if isinstance(expr, ir.AffineDimExpr):
        return {expr.position}
    if isinstance(expr, ir.AffineBinaryExpr):
        return _terms_of(expr.lhs) | _terms_of(expr.rhs)
    return set()

"""Views of a strided buffer: what transposes, reshapes and slices do to offset and strides, and their inverses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod

from costmodel.region.linear import row_major


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: element (i0, i1, ...) is element `offset + sum(i * stride)` of `buffer`.

    `step_stride` moves the place by that many elements an iteration of the enclosing loop.
    """

    buffer: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    step_stride: int = 0


def contiguous(buffer: str, shape: Sequence[int]) -> Place:
    return Place(buffer, tuple(shape), row_major(shape))


def transpose(place: Place, permutation: Sequence[int]) -> Place:
    shape, strides = [place.shape[p] for p in permutation], [place.strides[p] for p in permutation]
    return replace(place, shape=tuple(shape), strides=tuple(strides))


def extract_slice(place: Place, offsets: Sequence[int], sizes: Sequence[int], steps: Sequence[int]) -> Place:
    """The slice with all dimensions kept."""
    offset = place.offset + sum(o * s for o, s in zip(offsets, place.strides, strict=True))
    strides = tuple(s * n for s, n in zip(place.strides, steps, strict=True))
    return replace(place, offset=offset, shape=tuple(sizes), strides=strides)


def expand_strides(strides: Sequence[int], groups: Sequence[Sequence[int]], shape: Sequence[int]) -> tuple[int, ...]:
    """Strides after every dimension i is split into the dimensions `groups[i]` of `shape`; always a view."""
    result = [1] * len(shape)
    for stride, group in zip(strides, groups, strict=True):
        for dim in reversed(group):
            result[dim] = stride
            stride *= shape[dim]
    return tuple(result)


def collapse_strides(
    strides: Sequence[int], shape: Sequence[int], groups: Sequence[Sequence[int]]
) -> tuple[int, ...] | None:
    """Strides after each group of dimensions became one; None if a group is not evenly spaced in memory."""
    result: list[int] = []
    for group in groups:
        dims = [d for d in group if shape[d] != 1]
        for outer, inner in pairwise(dims):
            if strides[outer] != strides[inner] * shape[inner]:
                return None
        result.append(strides[dims[-1]] if dims else 1)
    return tuple(result)


def drop_dims(place: Place, kept: Sequence[int]) -> Place:
    """Without the dimensions (of size 1) that are not in `kept`."""
    return replace(place, shape=tuple(place.shape[d] for d in kept), strides=tuple(place.strides[d] for d in kept))


def permuted_strides(order: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Dense strides with the dimensions nested in `order`, outermost first."""
    dense = row_major([shape[d] for d in order])
    strides = [0] * len(shape)
    for dim, stride in zip(order, dense, strict=True):
        strides[dim] = stride
    return tuple(strides)


def nesting(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """Dimensions from the outermost to the innermost in memory; those of size 1 keep their place."""
    return tuple(sorted(range(len(shape)), key=lambda d: (-strides[d], d)))


def span(place: Place) -> int:
    """Elements from the first to one past the last."""
    return 1 + sum((n - 1) * s for n, s in zip(place.shape, place.strides, strict=True)) if prod(place.shape) else 0


def same(left: Place, right: Place) -> bool:
    """Whether two places are the same elements: the strides of dimensions of size 1 do not matter."""
    dims = [d for d, n in enumerate(left.shape) if n != 1]
    return (left.buffer, left.offset, left.shape, left.step_stride) == (
        right.buffer,
        right.offset,
        right.shape,
        right.step_stride,
    ) and [left.strides[d] for d in dims] == [right.strides[d] for d in dims]

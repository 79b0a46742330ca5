"""One workspace for all temporaries: lifetimes from the order of calls, offsets so that live buffers never overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALIGNMENT = 64


@dataclass(frozen=True)
class Lifetime:
    """A buffer of `size` bytes that is needed from step `first` to step `last`, both included."""

    name: str
    size: int
    first: int
    last: int

    def overlaps(self, other: Lifetime) -> bool:
        return self.first <= other.last and other.first <= self.last


def assign_offsets(lifetimes: Sequence[Lifetime]) -> tuple[dict[str, int], int]:
    """Byte offset of every buffer and the total size: largest first, each at the lowest gap that fits.

    Greedy by size (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020).
    """
    placed: list[tuple[int, Lifetime]] = []
    offsets: dict[str, int] = {}
    for item in sorted(lifetimes, key=lambda x: (-x.size, x.first, x.name)):
        live = sorted((o, p.size) for o, p in placed if p.overlaps(item))
        offset = 0
        for begin, size in live:
            if begin - offset >= item.size:
                break
            offset = max(offset, _aligned(begin + size))
        offsets[item.name] = offset
        placed.append((offset, item))
    total = max((o + p.size for o, p in placed), default=0)
    return offsets, _aligned(total)


def lifetimes(uses: Sequence[Sequence[str]], sizes: Mapping[str, int]) -> list[Lifetime]:
    """Lifetimes from the names used at each step; only names in `sizes` count."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for step, names in enumerate(uses):
        for name in names:
            if name in sizes:
                first.setdefault(name, step)
                last[name] = step
    return [Lifetime(name, sizes[name], first[name], last[name]) for name in first]


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT

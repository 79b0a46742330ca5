"""Rounds of a loop that go alike: when two rounds were, how many more are."""

from __future__ import annotations

from dataclasses import dataclass

CONDITIONS = {"e", "ne", "l", "ge", "le", "g", "b", "ae", "be", "a", "s", "ns"}
"""The suffixes of jumps that `holds` knows."""


@dataclass(frozen=True)
class Entry:
    """One use of a value on the path: `kind` is a condition (`value` the difference compared) or `fixed` (must be the
    same each round)."""

    at: int
    kind: str
    value: object


@dataclass(frozen=True)
class Visit:
    """The state at a point that a backward branch reached."""

    registers: tuple[int | None, ...]
    memory: dict[int, tuple[int, int]]
    count: int
    entries: int


def holds(name: str, difference: int) -> bool:
    """A condition on left - right."""
    return {
        "e": difference == 0, "ne": difference != 0,
        "l": difference < 0, "b": difference < 0, "s": difference < 0,
        "ge": difference >= 0, "ae": difference >= 0, "ns": difference >= 0,
        "le": difference <= 0, "be": difference <= 0, "g": difference > 0, "a": difference > 0,
    }[name]  # fmt: skip


def movement(a: Visit, b: Visit) -> tuple[tuple[int | None, ...], dict[int, int]] | None:
    """How registers and slots changed; None if what is known changed."""
    if a.memory.keys() != b.memory.keys():
        return None
    if any((x is None) != (y is None) for x, y in zip(a.registers, b.registers, strict=True)):
        return None
    registers = tuple(None if x is None or y is None else y - x for x, y in zip(a.registers, b.registers, strict=True))
    slots: dict[int, int] = {}
    for address, (size, value) in a.memory.items():
        if b.memory[address][0] != size:
            return None
        slots[address] = b.memory[address][1] - value
    return registers, slots


def alike(old: list[Entry], new: list[Entry]) -> int:
    """How many more rounds go as these two did."""
    if len(old) != len(new):
        return 0
    rounds = 1 << 62
    for a, b in zip(old, new, strict=True):
        if a.at != b.at or a.kind != b.kind:
            return 0
        if a.value == b.value:
            continue
        if a.kind == "fixed" or not isinstance(a.value, int) or not isinstance(b.value, int):
            return 0
        rounds = min(rounds, _until_flip(b.kind, b.value, b.value - a.value) - 1)
    return rounds if rounds < 1 << 62 else 0


def _until_flip(kind: str, value: int, delta: int) -> int:
    """The first round after the one with `value` in which the outcome differs; values move by `delta` a round."""
    never = 1 << 62
    if kind in ("e", "ne"):
        if value == 0:
            return 1
        return -value // delta if value % delta == 0 and -value // delta > 0 else never
    # The outcome changes where the difference passes 0 (or 0 itself counts to the other side).
    edge = 0 if kind in ("l", "b", "s", "ge", "ae", "ns") else 1
    if value < edge:
        return -(-(edge - value) // delta) if delta > 0 else never
    return (value - edge) // -delta + 1 if delta < 0 else never

"""Integer operands of x86 instructions, parsed from their text: registers, immediates, memory."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SIZES = {"byte": 1, "word": 2, "dword": 4, "qword": 8, "xmmword": 16, "ymmword": 32, "zmmword": 64}
_MEMORY = re.compile(r"^(?:(\w+) ptr )?(?:\w\w:)?\[(.*)\]")
_VECTOR_BYTES = {"x": 16, "y": 32, "z": 64}


def _register_names() -> dict[str, tuple[int, int]]:
    names: dict[str, tuple[int, int]] = {}
    for number, name in enumerate("ax cx dx bx sp bp si di".split()):
        low = (name[0] if number < 4 else name) + "l"
        names |= {f"r{name}": (number, 8), f"e{name}": (number, 4), name: (number, 2), low: (number, 1)}
    for number in range(8, 16):
        for suffix, size in (("", 8), ("d", 4), ("w", 2), ("b", 1)):
            names[f"r{number}{suffix}"] = (number, size)
    return names


REGISTERS = _register_names()
"""Name to (number in the encoding's order, bytes)."""


@dataclass(frozen=True)
class Operand:
    """`kind` is register, immediate, memory or other (vectors, masks); `value` the register's number, the immediate or
    the displacement; memory lies at base + index * scale + value."""

    kind: str
    value: int = 0
    size: int = 8
    base: int | None = None
    index: int | None = None
    scale: int = 1


def parse_operands(text: str, following: int) -> list[Operand]:
    """The operands of one instruction in Intel syntax; `following` is the address after it, which rip holds."""
    return [_parse(part.strip(), following) for part in text.split(", ")] if text else []


def _parse(text: str, following: int) -> Operand:
    if text in REGISTERS:
        number, size = REGISTERS[text]
        return Operand("register", number, size)
    if memory := _MEMORY.match(text):
        return _memory(memory.group(2), _SIZES.get(memory.group(1), 8), following)
    try:
        return Operand("immediate", int(text, 0))
    except ValueError:
        return Operand("other", 0, _VECTOR_BYTES.get(text[:1], 8))


def _memory(text: str, size: int, following: int) -> Operand:
    base = index = None
    scale, displacement = 1, 0
    for term in text.replace(" - ", " + -").split(" + "):
        name, _, factor = term.partition("*")
        if name == "rip":
            displacement += following
        elif name in REGISTERS and (factor or base is not None):
            index, scale = REGISTERS[name][0], int(factor or 1)
        elif name in REGISTERS:
            base = REGISTERS[name][0]
        else:
            try:
                displacement += int(term, 0)
            except ValueError:
                return Operand("other", 0, size)
    return Operand("memory", displacement, size, base, index, scale)

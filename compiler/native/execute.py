"""The integer instructions that compiler/native/count.py follows; any other makes its destination unknown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from compiler.native.instructions import Instruction
from compiler.native.operands import Operand

_MASK = (1 << 64) - 1
_KEEPS_FLAGS = re.compile(r"^(v|k|mov|lea|nop|not|bswap|xchg|prefetch|cld|cdq|cqo|cwd|endbr|[rs][oha][rl]x|mulx|p)")
_NO_RESULT = re.compile(r"^(vcomis|vucomis|comis|ucomis|vptest|vtestp|ptest|kortest|ktest|bt|prefetch|nop|endbr)")


class UnknownPath(Exception):
    """The path depends on data, or on an instruction that is not modelled, or takes too long to follow."""


@dataclass(frozen=True)
class Flags:
    """The flags of comparing `left` with `right`, both unsigned; without `carry`, the carry flag is unknown."""

    left: int
    right: int
    size: int
    carry: bool = True


class Machine(Protocol):
    """What executing an instruction needs."""

    flags: Flags | None

    def read(self, operand: Operand) -> int | None: ...
    def write(self, operand: Operand, value: int | None) -> None: ...
    def fixed(self, value: object) -> None: ...
    def condition(self, name: str) -> bool: ...
    def address(self, operand: Operand) -> int | None: ...
    def call(self, operand: Operand, following: int) -> int: ...
    def push(self, value: int | None, target: int = 0) -> int: ...
    def pop(self) -> int | None: ...


def signed(value: int, size: int) -> int:
    """Two's complement of `size` bytes."""
    return value - (1 << 8 * size) if value >> (8 * size - 1) else value


def execute(machine: Machine, instruction: Instruction, operands: list[Operand], following: int) -> int:
    """Execute one instruction; the address of the next one, 0 after the last."""
    name = instruction.mnemonic
    if instruction.is_branch:
        if operands[0].kind != "immediate":
            raise UnknownPath
        return operands[0].value if name == "jmp" or machine.condition(name[1:]) else following
    if name == "ret":
        back = machine.pop()
        if back is None:
            raise UnknownPath
        return back
    if name == "call":
        return machine.call(operands[0], following)
    if name == "push":
        machine.push(machine.read(operands[0]))
    elif name == "pop":
        machine.write(operands[0], machine.pop())
    elif name.startswith("rep") or name in ("syscall", "ud2", ".byte"):
        raise UnknownPath
    elif name in ("cmp", "test", "add", "sub", "inc", "dec", "neg", "and", "or", "xor"):
        _arithmetic(machine, name, operands)
    else:
        _move(machine, name, operands)
    return following


def _arithmetic(machine: Machine, name: str, operands: list[Operand]) -> None:
    """Instructions that set the flags by their result or by a comparison."""
    target, size = operands[0], operands[0].size
    mask = (1 << 8 * size) - 1
    if name in ("xor", "sub") and operands[0] == operands[1] and target.kind == "register":
        machine.write(target, 0)
        machine.flags = Flags(0, 0, size)
        return
    a = machine.read(target)
    b = machine.read(operands[1]) if len(operands) > 1 else {"inc": 1, "dec": 1}.get(name, a)
    machine.flags = None
    if a is None or b is None:
        if name not in ("cmp", "test"):
            machine.write(target, None)
        return
    a, b = a & mask, b & mask
    if name in ("cmp", "sub"):
        machine.flags = Flags(a, b, size)
        result = a - b
    elif name in ("add", "inc", "dec"):
        result = a - b if name == "dec" else a + b
        machine.flags = Flags(result & mask, 0, size, carry=False)
    elif name == "neg":
        result = -a
        machine.flags = Flags(0, a, size)
    else:
        result = _logic(machine, name, a, b, operands)
        machine.flags = Flags(result, 0, size)
    if name not in ("cmp", "test"):
        # A negative result stays in range: the machine records what is cut off.
        machine.write(target, result & mask)


def _logic(machine: Machine, name: str, a: int, b: int, operands: list[Operand]) -> int:
    if name == "test" and operands[0] == operands[1]:
        return a
    machine.fixed((a, b))
    return a | b if name == "or" else a ^ b if name == "xor" else a & b


def _move(machine: Machine, name: str, operands: list[Operand]) -> None:
    """Instructions that leave the flags, and those whose flags nobody models."""
    if not _KEEPS_FLAGS.match(name) and not name.startswith(("cmov", "set")):
        machine.flags = None
    if name not in ("cqo", "cdq") and (not operands or _NO_RESULT.match(name)):
        if name.startswith(("vcomis", "vucomis", "comis", "ucomis", "vptest", "vtestp", "ptest", "kortest", "ktest")):
            machine.flags = None
        return
    if name in ("div", "idiv", "mul", "mulx", "cqo", "cdq"):
        _wide(machine, name, operands)
        return
    if name in ("cwd", "xchg", "cpuid", "rdtsc"):
        raise UnknownPath
    machine.write(operands[0], _moved(machine, name, operands))


def _moved(machine: Machine, name: str, operands: list[Operand]) -> int | None:
    """What the destination gets; None if it is unknown."""
    value: int | None = None
    if name in ("mov", "movabs", "movzx"):
        value = machine.read(operands[1])
    elif name == "lea":
        value = machine.address(operands[1])
    elif name in ("movsx", "movsxd"):
        value = machine.read(operands[1])
        if value is not None:
            machine.fixed(value)
            value = signed(value, operands[1].size)
    elif name.startswith("cmov"):
        taken = machine.condition(name[4:])
        value = machine.read(operands[1] if taken else operands[0])
    elif name.startswith("set"):
        value = int(machine.condition(name[3:]))
        machine.fixed(value)
    elif name in ("shl", "sal", "shr", "sar", "imul"):
        value = _scaled(machine, name, operands)
    return value


def _scaled(machine: Machine, name: str, operands: list[Operand]) -> int | None:
    """Shifts and products; those by a constant to the left are affine."""
    a = machine.read(operands[-2] if len(operands) == 3 else operands[0])
    b = machine.read(operands[-1]) if len(operands) > 1 else 1
    if a is None or b is None:
        return None
    size = operands[0].size
    if name == "imul":
        if operands[-1].kind != "immediate":
            machine.fixed((a, b))
        return signed(a, size) * signed(b & ((1 << 8 * size) - 1), size)
    if name in ("shl", "sal"):
        if len(operands) > 1 and operands[-1].kind != "immediate":
            machine.fixed(b)
        return a << (b & (8 * size - 1))
    machine.fixed((a, b))
    return (signed(a, size) if name == "sar" else a) >> (b & (8 * size - 1))


def _wide(machine: Machine, name: str, operands: list[Operand]) -> None:
    """Products and quotients through rdx:rax."""
    size = 4 if name == "cdq" else operands[-1].size if operands else 8
    low, high = Operand("register", 0, size), Operand("register", 2, size)
    mask = (1 << 8 * size) - 1
    a = machine.read(high if name == "mulx" else low)
    b = machine.read(operands[-1]) if operands else 0
    top = machine.read(high) if "div" in name else 0
    if a is None or b is None or top is None:
        results: tuple[int | None, int | None] = (None, None)
    else:
        machine.fixed((a, b, top))
        results = _wide_results(name, a, b, top, size)
    if name == "mulx":
        low, high = operands[1], operands[0]
    if not name.startswith("c"):
        machine.write(low, None if results[0] is None else results[0] & mask)
    machine.write(high, None if results[1] is None else results[1] & mask)


def _wide_results(name: str, a: int, b: int, top: int, size: int) -> tuple[int, int]:
    if name.startswith("c"):
        return a, -1 if a >> (8 * size - 1) else 0
    if name.startswith("mul"):
        return a * b, a * b >> 8 * size
    whole = top << 8 * size | a
    if b == 0:
        raise UnknownPath
    if name == "div":
        return whole // b, whole % b
    dividend, divisor = signed(whole, 2 * size), signed(b, size)
    quotient = abs(dividend) // abs(divisor) * (1 if (dividend < 0) == (divisor < 0) else -1)
    return quotient, dividend - quotient * divisor

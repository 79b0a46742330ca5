"""Executed instructions of a kernel, counted exactly from its object code without running it.

Shapes are constants in the code, so its control flow depends on integer registers alone. `count_instructions` follows
those (vectors and loaded data are unknown) and leaps over repetition: if two successive rounds from a point back to it
took the same path, moved every register by the same amounts, and used equal values wherever the code is not affine in
them, then all rounds go alike until some branch flips, and its comparison tells in which round. So the cost is a few
rounds a loop level, not the trip count.

Counted for one thread, the kernel's own code only (not libiomp5, libm, memset). A branch on data gives None.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from compiler.native.elf import Function, read_functions
from compiler.native.execute import Flags, UnknownPath, execute, signed
from compiler.native.instructions import Instruction, decode
from compiler.native.operands import Operand, parse_operands
from compiler.native.repetition import CONDITIONS, Entry, Visit, alike, holds, movement

_MASK = (1 << 64) - 1
_GOT, _CODE, _STACK, _ARGUMENTS = 1 << 28, 1 << 29, 1 << 40, 1 << 44
_STACK_SIZE = 1 << 30
_SP = 4
_PASSED = (7, 6, 2, 1, 8, 9)
"""rdi, rsi, rdx, rcx, r8, r9"""
_CLOBBERED = (0, 1, 2, 6, 7, 8, 9, 10, 11)


def count_instructions(data: bytes, name: str, budget: int = 50_000) -> int | None:
    """Instructions that a call of kernel `name` executes; None if data decide or after `budget` steps of following."""
    functions = read_functions(data)
    start = next((f for f in functions if f.name == name), None)
    if start is None:
        return None
    machine = _Machine(functions, budget)
    try:
        machine.start(start)
        while machine.at:
            machine.step()
    except UnknownPath:
        return None
    return machine.count


@dataclass
class _Machine:
    """The processor as far as it is known."""

    functions: list[Function]
    budget: int
    count: int = 0
    at: int = 0
    registers: list[int | None] = field(default_factory=lambda: [None] * 16)
    memory: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Known stack slots: address to (bytes, value)."""
    flags: Flags | None = None
    path: list[Entry] = field(default_factory=list)
    visits: dict[int, list[Visit]] = field(default_factory=dict)
    sections: dict[str, int] = field(default_factory=dict)
    slots: list[str] = field(default_factory=list)
    code: dict[int, tuple[Instruction, list[Operand], int]] = field(default_factory=dict)

    # Code

    def start(self, function: Function) -> None:
        self.registers[_SP] = _STACK
        self.memory[_STACK] = (8, 0)
        for index in range(32):
            pointer = _ARGUMENTS * (index + 1)
            if index < len(_PASSED):
                self.registers[_PASSED[index]] = pointer
            else:
                self.memory[_STACK + 8 * (index - len(_PASSED) + 1)] = (8, pointer)
        self.at = self._base(function)

    def _base(self, function: Function) -> int:
        return self._section(function.section) + function.address

    def _section(self, name: str) -> int:
        return self.sections.setdefault(name, _CODE + (len(self.sections) << 24))

    def _fetch(self, address: int) -> tuple[Instruction, list[Operand], int]:
        if address not in self.code:
            function = next((f for f in self.functions if self._base(f) <= address < self._base(f) + len(f.code)), None)
            if function is None:
                raise UnknownPath
            for found in decode(self._relocated(function), self._base(function)):
                following = found.address + found.size
                self.code[found.address] = (found, parse_operands(found.operands, following), following)
            if address not in self.code:
                raise UnknownPath
        return self.code[address]

    def _relocated(self, function: Function) -> bytes:
        """With sections, symbols and the GOT at invented addresses: what the large code model needs."""
        code = bytearray(function.code)
        for item in function.relocations:
            if item.kind == 27 and item.symbol not in self.slots:
                self.slots.append(item.symbol)
            place = self._base(function) + item.offset
            value = {
                25: self._section(item.symbol) + item.value + item.addend - _GOT if item.symbol[:1] == "." else None,
                27: 8 * self.slots.index(item.symbol) if item.symbol in self.slots else None,
                29: _GOT + item.addend - place,
            }.get(item.kind)
            if value is not None:
                struct.pack_into("<Q", code, item.offset, value & _MASK)
        return bytes(code)

    # Values

    def address(self, operand: Operand) -> int | None:
        total = operand.value
        for register, factor in ((operand.base, 1), (operand.index, operand.scale)):
            if register is not None:
                value = self.registers[register]
                if value is None:
                    return None
                total += value * factor
        return total & _MASK

    def fixed(self, value: object) -> None:
        self.path.append(Entry(self.at, "fixed", value))

    def _narrow(self, value: int, size: int) -> int:
        if size >= 8:
            return value & _MASK
        cut = value & ((1 << 8 * size) - 1)
        # A round trip through 32 bits is affine as long as nothing is cut off.
        if size < 4 or cut != value:
            self.fixed(value)
        return cut

    def read(self, operand: Operand) -> int | None:
        if operand.kind == "immediate":
            return operand.value & _MASK
        if operand.kind == "register":
            value = self.registers[operand.value]
            return None if value is None else self._narrow(value, operand.size)
        address = self.address(operand) if operand.kind == "memory" else None
        if address is None or abs(address - _STACK) > _STACK_SIZE:
            return None
        self.fixed(address)
        size, value = self.memory.get(address, (0, 0))
        return self._narrow(value, operand.size) if size >= operand.size else None

    def write(self, operand: Operand, value: int | None) -> None:
        if value is not None:
            value = self._narrow(value & _MASK, operand.size)
        if operand.kind == "memory":
            self._store(self.address(operand), operand.size, value)
        elif operand.kind == "register":
            if operand.size < 4 and value is not None:
                old = self.registers[operand.value]
                self.fixed(old)
                value = None if old is None else old >> 8 * operand.size << 8 * operand.size | value
            self.registers[operand.value] = None if operand.size < 4 and value is None else value

    def _store(self, address: int | None, size: int, value: int | None) -> None:
        if address is None or abs(address - _STACK) > _STACK_SIZE:
            return
        self.fixed(address)
        for other in range(address - 7, address + size):
            if other in self.memory and other + self.memory[other][0] > address:
                del self.memory[other]
        if value is not None:
            self.memory[address] = (size, value)

    # Execution

    def step(self) -> None:
        self.budget -= 1
        if self.budget < 0:
            raise UnknownPath
        instruction, operands, following = self._fetch(self.at)
        self.count += 1
        target = execute(self, instruction, operands, following)
        backward = instruction.is_branch and target <= self.at
        self.at = target
        if backward:
            self._leap()

    def condition(self, name: str) -> bool:
        """Whether a condition holds after the last comparison; it goes on record."""
        if self.flags is None or name not in CONDITIONS:
            raise UnknownPath
        left, right, size = self.flags.left, self.flags.right, self.flags.size
        if name not in ("b", "ae", "be", "a"):
            left, right = signed(left, size), signed(right, size)
        elif not self.flags.carry:
            raise UnknownPath
        self.path.append(Entry(self.at, name, left - right))
        return holds(name, left - right)

    def call(self, operand: Operand, following: int) -> int:
        """Where a call leads: into a parallel region's function, or past a function of another library."""
        address = self.address(operand) if operand.kind == "memory" else None
        slot = (address - _GOT) // 8 if address is not None else -1
        symbol = self.slots[slot] if 0 <= slot < len(self.slots) else ""
        r = self.registers
        target = 0
        if symbol == "__kmpc_fork_call":
            count, target = r[6], r[2] or 0
            if count is None or count > 3 or not target:
                raise UnknownPath
            r[7], r[6], r[2], r[1], r[8] = _ARGUMENTS // 2, _ARGUMENTS // 2, r[1], r[8], r[9]
        elif symbol.startswith("__kmpc_for_static_init"):
            self._store(r[1], 4, 1)
        elif not symbol and operand.kind == "register":
            target = r[operand.value] or 0
        if target:
            return self.push(following, target)
        for register in _CLOBBERED:
            r[register] = None
        r[0] = 0 if symbol == "__kmpc_global_thread_num" else None
        self.flags = None
        return following

    def push(self, value: int | None, target: int = 0) -> int:
        pointer = self.registers[_SP]
        if pointer is None:
            raise UnknownPath
        self.registers[_SP] = pointer - 8
        self._store(pointer - 8, 8, value)
        return target

    def pop(self) -> int | None:
        pointer = self.registers[_SP]
        if pointer is None:
            raise UnknownPath
        self.registers[_SP] = pointer + 8
        size, value = self.memory.get(pointer, (0, 0))
        return value if size == 8 else None

    # Repetition

    def _leap(self) -> None:
        visits = self.visits.setdefault(self.at, [])
        visits.append(Visit(tuple(self.registers), dict(self.memory), self.count, len(self.path)))
        if len(visits) < 3:
            return
        first, second, third = visits[-3:]
        del visits[:-2]
        if third.count - second.count != second.count - first.count:
            return
        moved, before = movement(second, third), movement(first, second)
        if moved is None or moved != before:
            return
        old, new = self.path[first.entries : second.entries], self.path[second.entries :]
        rounds = alike(old, new)
        if rounds <= 0:
            return
        registers, slots = moved
        for index, delta in enumerate(registers):
            value = self.registers[index]
            self.registers[index] = None if value is None or delta is None else (value + rounds * delta) & _MASK
        for address, delta in slots.items():
            size, value = self.memory[address]
            self.memory[address] = (size, (value + rounds * delta) & ((1 << 8 * size) - 1))
        self.count += rounds * (third.count - second.count)
        self.fixed((rounds, tuple(new)))
        del visits[:]

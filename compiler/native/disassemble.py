"""Metrics read from an object file's code.

- `registers`: most vector registers live at one point of the hot loop.
- `spills`: vector stores to and reloads from stack slots in the hot loop; `function_spills` in its whole function. A
  slot counts only if the function stores a vector register there (rbp may be a general register, so slots are rsp's).
- `vector_utilisation`: share of the hot loop's floating-point operations done in full-width vectors, 0 if it has none.
- `code_bytes`: all functions of the object but the `_mlir_` wrappers.
- `loop_instructions`: static length of the hot loop.
- `instructions`: executed by one call on one thread (compiler/native/count.py), None where data decide.

The hot loop is the innermost loop with the most fused multiply-adds, else with the most vector instructions; a function
without loops counts as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compiler.native.count import count_instructions
from compiler.native.elf import read_functions
from compiler.native.instructions import Instruction, decode

_MOST_LIVENESS = 60_000
"""Above this many instructions only the hot loop's own are looked at."""


@dataclass(frozen=True)
class CodeMetrics:
    """See the module's docstring."""

    registers: int
    spills: int
    function_spills: int
    vector_utilisation: float
    code_bytes: int
    loop_instructions: int
    loop_fmas: int
    instructions: int | None = None


@dataclass(frozen=True)
class Loop:
    """Instructions [start, end) by index: a backward branch and all down from its target."""

    start: int
    end: int


def measure_code(data: bytes, vector_bytes: int, name: str | None = None) -> CodeMetrics:
    """The metrics of an object file for a target with vectors of `vector_bytes`; `instructions` of kernel `name`."""
    instructions = count_instructions(data, name) if name else None
    functions = [f for f in read_functions(data) if not f.name.startswith("_mlir_")]
    best: tuple[tuple[int, int, int], list[Instruction], Loop] | None = None
    for function in functions:
        code = decode(function.code)
        for loop in innermost_loops(code) or [Loop(0, len(code))]:
            score = _score(code[loop.start : loop.end])
            if best is None or score > best[0]:
                best = (score, code, loop)
    size = sum(len(f.code) for f in functions)
    if best is None:
        return CodeMetrics(0, 0, 0, 0.0, size, 0, 0, instructions)
    _, code, loop = best
    body = code[loop.start : loop.end]
    slots = {i.stack_slot for i in code if i.stores and i.stack_slot}
    work = sum(i.flops for i in body)
    full = sum(i.flops for i in body if i.is_packed and i.bits >= vector_bytes)
    return CodeMetrics(
        registers=live_registers(code, loop),
        spills=sum(i.stack_slot in slots for i in body),
        function_spills=sum(i.stack_slot in slots for i in code),
        vector_utilisation=full / work if work else 0.0,
        code_bytes=size,
        loop_instructions=len(body),
        loop_fmas=sum(i.is_fma for i in body),
        instructions=instructions,
    )


def _score(body: Sequence[Instruction]) -> tuple[int, int, int]:
    return (
        sum(i.is_fma for i in body),
        sum(i.is_packed for i in body),
        sum(i.bits > 0 for i in body),
    )


def innermost_loops(code: Sequence[Instruction]) -> list[Loop]:
    """Loops that hold no other loop."""
    index = {instruction.address: position for position, instruction in enumerate(code)}
    loops: dict[int, int] = {}
    for position, instruction in enumerate(code):
        target = instruction.target
        if target is not None and target <= instruction.address and target in index:
            loops[index[target]] = min(loops.get(index[target], position + 1), position + 1)
    found: list[Loop] = []
    # By end: of the loops that end before, the one with the latest start decides whether another lies inside.
    latest = -1
    for start, end in sorted(loops.items(), key=lambda item: (item[1], -item[0])):
        if start > latest:
            found.append(Loop(start, end))
        latest = max(latest, start)
    return found


def live_registers(code: Sequence[Instruction], loop: Loop) -> int:
    """The most vector registers live after, or written by, an instruction of `loop`."""
    if len(code) > _MOST_LIVENESS:
        code = code[loop.start : loop.end]
        loop = Loop(0, len(code))
    live = _live_after(code)
    return max(((live[p] | code[p].writes).bit_count() for p in range(loop.start, loop.end)), default=0)


def _live_after(code: Sequence[Instruction]) -> list[int]:
    """For each instruction the mask of registers live after it: backward data flow to the fixed point."""
    index = {instruction.address: position for position, instruction in enumerate(code)}
    targets = [index.get(i.target, -1) if i.target is not None else -1 for i in code]
    ends = [i.mnemonic in ("ret", "jmp", "ud2") for i in code]
    before = [0] * (len(code) + 1)
    after = [0] * len(code)
    changed = True
    while changed:
        changed = False
        for p in range(len(code) - 1, -1, -1):
            out = 0 if ends[p] else before[p + 1]
            if targets[p] >= 0:
                out |= before[targets[p]]
            after[p] = out
            into = (out & ~code[p].writes) | code[p].reads
            if into != before[p]:
                before[p] = into
                changed = True
    return after

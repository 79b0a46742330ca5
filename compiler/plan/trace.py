"""The calls of a program as text in its plan, so that a saved program can be run and timed kernel by kernel.

A call is `SYMBOL POINTER...`; a pointer is `BASE[INDEX][+OFFSET][*STEP_STRIDE]`, in bytes: `inputs0`, `weights+4096`,
`workspace+64*128`. A loop is `{"count": n, "body": [...]}`, a branch `{"if": POINTER, "then": [...], "else": [...]}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from compiler.native.main import Branch, Call, Loop, Pointer, Step
from costmodel.errors import SeercError

_POINTER = re.compile(r"([a-z]+)(\d*)(?:\+(-?\d+))?(?:\*(-?\d+))?")


def write_calls(steps: Sequence[Step]) -> list[Any]:
    """The steps as JSON."""
    return [_write(step) for step in steps]


def _write(step: Step) -> Any:
    if isinstance(step, Loop):
        return {"count": step.count, "body": write_calls(step.body)}
    if isinstance(step, Branch):
        condition = _pointer_text(step.condition)
        return {"if": condition, "then": write_calls(step.then), "else": write_calls(step.otherwise)}
    return " ".join([step.symbol, *map(_pointer_text, step.args)])


def _pointer_text(pointer: Pointer) -> str:
    index = str(pointer.index) if pointer.base in ("inputs", "outputs") else ""
    offset = f"+{pointer.offset}" if pointer.offset else ""
    return f"{pointer.base}{index}{offset}" + (f"*{pointer.step_stride}" if pointer.step_stride else "")


def read_calls(calls: Sequence[Any]) -> tuple[Step, ...]:
    """What `write_calls` wrote; SeercError if it is damaged."""
    try:
        return tuple(_read(call) for call in calls)
    except (KeyError, TypeError, ValueError) as error:
        raise SeercError(f"the plan's calls are damaged ({error}): compile the model again") from error


def _read(call: Any) -> Step:
    if isinstance(call, dict) and "if" in call:
        return Branch(_read_pointer(call["if"]), read_calls(call["then"]), read_calls(call["else"]))
    if isinstance(call, dict):
        return Loop(int(call["count"]), read_calls(call["body"]))
    symbol, *pointers = str(call).split()
    return Call(symbol, tuple(map(_read_pointer, pointers)))


def _read_pointer(text: str) -> Pointer:
    found = _POINTER.fullmatch(text)
    if not found:
        raise ValueError(f"no pointer: {text!r}")
    base, index, offset, step = found.groups()
    return Pointer(base, int(index or 0), int(offset or 0), int(step or 0))


def unrolled(steps: Sequence[Step], index: int = 0) -> Iterator[tuple[Call, int]]:
    """Every call in the order of a run that takes every branch, with the step of its innermost loop."""
    for step in steps:
        if isinstance(step, Call):
            yield step, index
        elif isinstance(step, Branch):
            yield from unrolled(step.then, index)
        else:
            for i in range(step.count):
                yield from unrolled(step.body, i)

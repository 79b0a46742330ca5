"""Operands for a kernel that is run by itself: random arrays of the right extent, aligned as in a program."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compiler.kernels import Compiled
from passes.mlir import context, ir
from passes.region.structure import find_function, read_arguments

ALIGNMENT = 64
_DTYPES = {"f32": "f4", "f64": "f8", "f16": "f2", "i64": "i8", "i32": "i4", "i16": "i2", "i8": "i1", "i1": "?"}


@dataclass(frozen=True)
class Operand:
    """One argument's memory (flat, from its first element), and whether it is a weight."""

    array: np.ndarray[Any, Any]
    constant: bool

    def copy(self) -> Operand:
        made = aligned(self.array.size, self.array.dtype)
        made[:] = self.array
        return replace(self, array=made)


def operand_arrays(candidate: str, compiled: Compiled, seed: int = 0) -> list[Operand]:
    """Arrays for every argument, result and the scratch memory of a kernel, in order; integers are 0 or 1."""
    with context(), ir.Location.unknown():
        arguments, _ = read_arguments(find_function(ir.Module.parse(candidate)))
        kinds = [(a.span(), str(a.type), a.constant) for a in arguments]
    rng = np.random.default_rng(seed)
    made: list[Operand] = []
    for number, (span, kind, constant) in enumerate(kinds):
        packing = compiled.packing
        size = packing.elements() if packing is not None and packing.argument == number else span
        made.append(Operand(_random(rng, size, np.dtype(_DTYPES[kind])), constant))
    made.append(Operand(aligned(max(compiled.scratch_bytes, 1), np.dtype("u1")), False))
    return made


def _random(rng: np.random.Generator, size: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    array = aligned(size, dtype)
    if dtype.kind == "f":
        array[:] = rng.random(size, np.float32) - 0.5
    else:
        array[:] = rng.integers(0, 2, size)
    return array


def aligned(size: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """A zeroed one-dimensional array whose first element is 64-byte aligned."""
    memory = np.zeros(size * dtype.itemsize + ALIGNMENT, np.uint8)
    begin = -memory.ctypes.data % ALIGNMENT
    return memory[begin : begin + size * dtype.itemsize].view(dtype)

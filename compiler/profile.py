"""Where a program's time goes: each kernel call timed in its place in a run.

The calls of the plan run one after the other in program order, on the program's own weights and workspace, so that
every kernel finds the caches as it does in `seerc_run`. Of each call the median over the runs counts. What a call
through ctypes costs by itself is measured with an empty function and taken off.
"""

from __future__ import annotations

import ctypes
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compiler.native.main import Pointer
from compiler.native.manifest import ALIGNMENT
from compiler.native.marshal import Array, Marshal, address
from compiler.native.openmp import BLOCKTIME_MS, load_openmp
from compiler.native.program import LIBRARY, WEIGHTS, Program
from compiler.plan.trace import read_calls, unrolled
from costmodel.errors import SeercError

_WARMUP = 2
_FEWEST, _MOST = 5, 200
"""Runs that are timed."""


@dataclass(frozen=True)
class KernelTime:
    """`calls` executions of a kernel in one run of the program (loops counted) take `total_ns` together."""

    kernel: str
    calls: int
    total_ns: float

    @property
    def call_ns(self) -> float:
        return self.total_ns / self.calls


def profile(program: Program, inputs: Sequence[Any], threads: int = 1, seconds: float = 0.5) -> tuple[KernelTime, ...]:
    """Times by kernel, in the order of their first calls, measured for about `seconds`; see `time_calls`."""
    return _by_kernel(*time_calls(program, inputs, threads, seconds))


def time_calls(
    program: Program,
    inputs: Sequence[Any],
    threads: int = 1,
    seconds: float = 0.5,
    between: Callable[[], object] | None = None,
) -> tuple[list[str], Array]:
    """Kernel and nanoseconds of every call, in the order of a run that takes every branch (`compiler.plan.trace`).

    `between` is called before every run, to bring the caches into some state.

    SeercError if the program's plan has no calls (it was not made by `compile_model`).
    """
    calls = (program.plan or {}).get("calls")
    if not calls:
        raise SeercError(f"{program.folder}: the plan lists no calls: compile the model again")
    memory = _Memory(program, inputs)
    timeline = [(call.symbol, memory.pointers(call.args, step)) for call, step in unrolled(read_calls(calls))]
    openmp = load_openmp()
    openmp.kmp_set_blocktime(BLOCKTIME_MS)
    openmp.omp_set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="seerc-profile-") as folder:
        # A copy: the loader gives the old library for a path that it has seen.
        library = ctypes.CDLL(str(shutil.copyfile(program.folder / LIBRARY, Path(folder) / LIBRARY)))
    work = [(getattr(library, symbol), arguments) for symbol, arguments in timeline]
    counts = [len(arguments) for _, arguments in work]
    overhead = {count: _call_overhead(count) for count in set(counts)}
    medians = np.maximum(0.0, np.median(_times(work, seconds, between), axis=0) - [overhead[count] for count in counts])
    return [symbol for symbol, _ in timeline], medians


def _times(
    work: Sequence[tuple[Callable[..., object], tuple[Any, ...]]],
    seconds: float,
    between: Callable[[], object] | None = None,
) -> Array:
    """Nanoseconds, runs x calls."""
    clock = time.perf_counter_ns
    rows: list[Array] = []
    end = float("inf")
    for number in range(_WARMUP + _MOST):
        if between is not None:
            between()
        row = np.empty(len(work))
        for index, (kernel, arguments) in enumerate(work):
            begin = clock()
            kernel(*arguments)
            row[index] = clock() - begin
        if number == _WARMUP - 1:
            end = clock() + seconds * 1e9
        elif number >= _WARMUP:
            rows.append(row)
        if len(rows) >= _FEWEST and clock() > end:
            break
    return np.stack(rows)


def _call_overhead(arguments: int) -> float:
    """Nanoseconds of a call that does nothing, from Python."""
    nothing = ctypes.CDLL(None)["abs"]
    values = tuple(ctypes.c_void_p(1) for _ in range(arguments))
    return float(np.median(_times([(nothing, values)] * 100, 0.0)))


def _by_kernel(symbols: Sequence[str], nanoseconds: Array) -> tuple[KernelTime, ...]:
    total: dict[str, float] = {}
    count: dict[str, int] = {}
    for symbol, time_ns in zip(symbols, nanoseconds, strict=True):
        total[symbol] = total.get(symbol, 0.0) + float(time_ns)
        count[symbol] = count.get(symbol, 0) + 1
    return tuple(KernelTime(symbol, count[symbol], total[symbol]) for symbol in total)


class _Memory:
    """The addresses of a program's arrays, kept alive."""

    def __init__(self, program: Program, inputs: Sequence[Any]) -> None:
        marshal = Marshal(program.inputs, program.outputs)
        self._inputs, _, self._outputs, _ = marshal.prepare(inputs)
        self._weights = np.memmap(program.folder / WEIGHTS, np.uint8, "r")
        self._workspace = np.zeros(program.manifest.workspace_bytes + ALIGNMENT, np.uint8)
        start = address(self._workspace)
        self._bases: dict[str, list[int]] = {
            "inputs": [address(a) for a in self._inputs],
            "outputs": [address(a) for a in self._outputs],
            "weights": [address(self._weights)],
            "workspace": [start + -start % ALIGNMENT],
        }

    def pointers(self, arguments: Sequence[Pointer], step: int) -> tuple[Any, ...]:
        return tuple(ctypes.c_void_p(self._resolve(pointer, step)) for pointer in arguments)

    def _resolve(self, pointer: Pointer, step: int) -> int | None:
        if pointer.base == "null":
            return None
        return self._bases[pointer.base][pointer.index] + pointer.offset + pointer.step_stride * step

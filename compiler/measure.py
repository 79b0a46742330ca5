"""Times one candidate and reads its metrics from the object code. Runs in a child process: code may hang or crash."""

from __future__ import annotations

import ctypes
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compiler.kernels import Compiled, compile_candidate
from compiler.native.disassemble import measure_code
from compiler.native.link import link_shared
from compiler.native.openmp import load_openmp
from compiler.target import code_cpu
from compiler.tensors import operand_arrays
from costmodel.target import Target

MEASUREMENT = "2"
"""Latencies of another version do not compare: the first read copies of constants that had been freed."""
SAMPLES = (5, 25)
"""Fewest and most samples of a kernel's time."""
SAMPLE_SECONDS = 0.0015
"""A sample is the mean of as many calls as take this long."""
TOTAL_SECONDS = 0.05
"""All samples of a kernel take about this long, where the fewest do not take longer."""
WEIGHT_POOL_BYTES = 4 << 20
"""Constant operands are rotated through this much memory: in a model other weights have pushed them out of L2."""
MOST_COPIES = 16


@dataclass(frozen=True)
class Measured:
    """Metrics by name (costmodel.protocol.METRICS), and the spread (90th - 10th percentile) / median of the samples."""

    metrics: dict[str, float | None]
    latency_spread: float


def measure_candidate(name: str, candidate: str, target_json: str, flops: float) -> dict[str, Any]:
    """`Measured` as a dict; SeercError if the candidate cannot be compiled. One thread."""
    target = Target.from_json(target_json)
    compiled = Compiled.from_bytes(compile_candidate(name, candidate, code_cpu(target)))
    operands = operand_arrays(candidate, compiled)
    call = load_kernel(name, compiled)
    seconds = time_calls(call, [_pointers(copy) for copy in _rotate(operands)])
    low, latency, high = np.percentile(seconds, [10, 25, 90])
    code = measure_code(compiled.object, target.vector_bytes, name)
    metrics: dict[str, float | None] = {
        "latency_ns": latency * 1e9,
        "registers": code.registers,
        "spills": code.spills,
        "vector_utilisation": code.vector_utilisation,
        "utilisation": flops / latency / (target.peak_gflops_core * 1e9) if latency else None,
        "instructions": code.instructions,
        "code_bytes": code.code_bytes,
        "peak_bytes": sum(a.array.nbytes for a in operands),
    }
    return asdict(Measured(metrics, float((high - low) / latency)))


def time_calls(call: Any, arguments: list[Any], total: float = TOTAL_SECONDS) -> list[float]:
    """Seconds of one call, several samples: means over calls that go round `arguments`, the call's overhead taken off.

    The time of this thread on its core: other processes that take the core away do not count. What disturbs a sample
    makes it longer, hence the lower quartile is what a record holds.
    """
    once = min(_seconds(call, [arguments[i % len(arguments)]], 1) for i in range(3))
    calls = max(1, int(SAMPLE_SECONDS / max(once, 1e-7)))
    samples = int(np.clip(total / (calls * max(once, 1e-7)), *SAMPLES))
    overhead = _call_overhead(len(arguments[0]))
    found: list[float] = []
    for first in range(0, samples * calls, calls):
        turn = [arguments[(first + i) % len(arguments)] for i in range(min(calls, len(arguments)))]
        found.append(max(_seconds(call, turn, calls) - overhead, 1e-8))
    return found


def _seconds(call: Any, turn: list[Any], calls: int) -> float:
    """Seconds of one of `calls` calls that go round the argument lists of `turn`."""
    rounds, rest = divmod(calls, len(turn))
    begin = time.thread_time()
    for _ in range(rounds):
        for pointers in turn:
            call(*pointers)
    for pointers in turn[:rest]:
        call(*pointers)
    return (time.thread_time() - begin) / calls


def _call_overhead(count: int) -> float:
    """Seconds that ctypes takes for a function of `count` pointers that does nothing (free of a null pointer).

    The least of several batches: one that is disturbed would take too much off every sample of a kernel.
    """
    idle = ctypes.CDLL(None).getpid
    idle.argtypes = [ctypes.c_void_p] * count
    pointers = [ctypes.c_void_p()] * count
    return max(min(_idle_seconds(idle, pointers) for _ in range(8)) - 5e-8, 0.0)


def _idle_seconds(idle: Any, pointers: list[ctypes.c_void_p]) -> float:
    begin = time.thread_time()
    for _ in range(50):
        idle(*pointers)
    return (time.thread_time() - begin) / 50


def load_kernel(name: str, compiled: Compiled) -> Any:
    """The compiled function itself: it takes one pointer an operand, then scratch memory. One OpenMP thread."""
    load_openmp().omp_set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="seerc-measure-") as folder:
        path = Path(folder) / f"{name}.o"
        path.write_bytes(compiled.object)
        library = Path(folder) / f"{name}.so"
        link_shared([path], library, exports=(name,))
        return getattr(ctypes.CDLL(str(library), mode=os.RTLD_NOW), name)


def _rotate(operands: list[Any]) -> list[list[Any]]:
    """Copies of the operands that share everything but the constants."""
    constant = sum(o.array.nbytes for o in operands if o.constant)
    copies = min(MOST_COPIES, WEIGHT_POOL_BYTES // constant + 1) if constant else 1
    return [operands] + [[o.copy() if o.constant else o for o in operands] for _ in range(copies - 1)]


def _pointers(operands: list[Any]) -> list[ctypes.c_void_p]:
    """Pointers that keep their arrays alive: nothing else holds the copies."""
    return [o.array.ctypes.data_as(ctypes.c_void_p) for o in operands]

"""The machine that a model is compiled for: instruction set, caches, measured peak and bandwidth."""

from __future__ import annotations

import ctypes
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from compiler.cache import Cache, cache_key
from costmodel.errors import SeercError, unknown_name
from costmodel.target import Target

_RELEVANT = ("avx", "fma", "f16c", "bmi", "sse4_", "ssse3", "popcnt", "movbe", "amx", "gfni", "vaes", "adx", "abm")
_MEASUREMENT = "1"
"""Changes when the kernels below do, so that old figures are measured again."""
_ACCUMULATORS = 12
_FMA_STEPS = 20_000
_COPY_BYTES = 64 << 20
_NOMINAL_GHZ = 3.0


@cache
def cpu_flags() -> frozenset[str]:
    """Every flag of /proc/cpuinfo."""
    return frozenset(_cpuinfo("flags").split())


@cache
def host_features() -> tuple[str, ...]:
    """The flags that LLVM's code may depend on, sorted: what a program needs of another machine."""
    return tuple(sorted(flag for flag in cpu_flags() if flag.startswith(_RELEVANT)))


def detect_target(measure: bool = True) -> Target:
    """This machine. Peak and bandwidth are measured once and remembered in the cache by CPU identity (about 0.3 s).

    Without `measure` they are nominal (3 GHz, two FMA units, 20 GB/s): the same on every run.
    """
    nominal = _nominal()
    if not measure:
        return nominal
    store = Cache.default()
    key = cache_key("target", _MEASUREMENT, nominal.to_json())
    if known := store.get(key):
        return Target.from_json(known.decode())
    target = _measured(nominal)
    store.put(key, target.to_json().encode())
    return target


VARIANTS = {"avx2": (32, 16), "avx512-256": (32, 32)}
"""Narrower targets that this machine can stand for: bytes of a vector, vector registers."""
_AVX2_CPU = "haswell"


def local_target(variant_name: str = "") -> Target:
    """This machine, or a variant of it."""
    return variant(detect_target(), variant_name) if variant_name else detect_target()


def variant(target: Target, name: str) -> Target:
    """The target as if it had narrower vectors or fewer registers; its peak is measured with those vectors.

    Caches, clock and ports stay this machine's. SeercError if the name is unknown or the machine has less.
    """
    if name not in VARIANTS:
        raise unknown_name("target variant", name, VARIANTS)
    vector_bytes, registers = VARIANTS[name]
    if vector_bytes > target.vector_bytes or registers > target.vector_registers or target.vector_bytes < 64:
        raise SeercError(f"target variant {name}: {target.name} has no AVX-512 to leave unused")
    features = tuple(f for f in target.features if name != "avx2" or not f.startswith("avx512"))
    narrow = replace(
        target,
        name=f"{target.name} as {name}",
        features=features,
        vector_bytes=vector_bytes,
        vector_registers=registers,
    )
    store, key = Cache.default(), cache_key("target", _MEASUREMENT, narrow.to_json())
    if known := store.get(key):
        return Target.from_json(known.decode())
    seconds = calibrate(narrow) * 1e-9
    peak = 2 * narrow.lanes() * _ACCUMULATORS * _FMA_STEPS / seconds
    measured = replace(narrow, peak_gflops_core=round(peak / 1e9, 1), calibration_ns=round(seconds * 1e9))
    store.put(key, measured.to_json().encode())
    return measured


def code_cpu(target: Target) -> str | None:
    """LLVM's processor name that makes code for a variant of this machine; None for all that the machine has."""
    return _AVX2_CPU if target.vector_registers == 16 and "avx512f" in cpu_flags() else None


def calibrate(target: Target) -> float:
    """Nanoseconds that the calibration kernel takes now: 240,000 dependent vector multiply-adds in 12 chains.

    Beside `target.calibration_ns` it tells how busy or throttled the machine is.
    """
    with tempfile.TemporaryDirectory(prefix="seerc-target-") as folder:
        return _fma_seconds(Path(folder), target.vector_bytes // 4) * 1e9


def _nominal() -> Target:
    flags = cpu_flags()
    vector_bytes = 64 if "avx512f" in flags else 32 if "avx" in flags else 16
    flops = vector_bytes // 4 * (4 if "fma" in flags else 2)
    return Target(
        name=_cpuinfo("model name") or "unknown CPU",
        isa=os.uname().machine,
        features=host_features(),
        vector_bytes=vector_bytes,
        vector_registers=32 if "avx512f" in flags else 16,
        cores=len(os.sched_getaffinity(0)),
        l1_bytes=_cache_bytes(1, 32 << 10),
        l2_bytes=_cache_bytes(2, 512 << 10),
        l3_bytes=_cache_bytes(3, 16 << 20),
        peak_gflops_core=_NOMINAL_GHZ * flops,
        bandwidth_gbs=20.0,
        calibration_ns=0.0,
    )


def _cpuinfo(field: str) -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return ""


def _cache_bytes(level: int, default: int) -> int:
    """The size of the data cache of a level as sysfs tells it."""
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, found = (index / "type").read_text().strip(), int((index / "level").read_text())
        if found == level and kind in ("Data", "Unified"):
            text = (index / "size").read_text().strip()
            return int(text[:-1]) << {"K": 10, "M": 20, "G": 30}[text[-1]]
    return default


def _measured(nominal: Target) -> Target:
    lanes = nominal.vector_bytes // 4
    with tempfile.TemporaryDirectory(prefix="seerc-target-") as folder:
        seconds = _fma_seconds(Path(folder), lanes)
        bandwidth = 2 * _COPY_BYTES / _copy_seconds(Path(folder), lanes, nominal.cores)
    peak = 2 * lanes * _ACCUMULATORS * _FMA_STEPS / seconds
    if not np.isfinite(peak + bandwidth):
        raise SeercError("measuring this machine gave no finite figures: is its clock running?")
    return replace(
        nominal,
        peak_gflops_core=round(peak / 1e9, 1),
        bandwidth_gbs=round(bandwidth / 1e9, 2),
        calibration_ns=round(seconds * 1e9),
    )


def _fma_seconds(folder: Path, lanes: int) -> float:
    run = _kernel(folder, "peak", _fma_text(lanes))
    data = np.full(lanes, 1e-3, np.float32)
    return _best(lambda: run(ctypes.c_void_p(data.ctypes.data)), 30)


def _copy_seconds(folder: Path, lanes: int, threads: int) -> float:
    from compiler.native.openmp import load_openmp

    run = _kernel(folder, "stream", _copy_text(lanes))
    source, target = np.ones(_COPY_BYTES, np.uint8), np.ones(_COPY_BYTES, np.uint8)
    load_openmp().omp_set_num_threads(threads)
    return _best(lambda: run(ctypes.c_void_p(source.ctypes.data), ctypes.c_void_p(target.ctypes.data)), 8)


def _best(run: Callable[[], object], times: int) -> float:
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def _kernel(folder: Path, name: str, text: str) -> Callable[..., object]:
    from compiler.native.link import link_shared
    from compiler.native.lower import compile_object
    from compiler.native.openmp import load_openmp

    load_openmp()
    (folder / f"{name}.o").write_bytes(compile_object(text, name))
    library = folder / f"{name}.so"
    link_shared([folder / f"{name}.o"], library, exports=[name])
    return getattr(ctypes.CDLL(str(library)), name)


def _fma_text(lanes: int) -> str:
    """Chains of multiply-adds that no compiler can shorten; each starts from other data, all end in one sum."""
    vector, chains = f"vector<{lanes}xf32>", range(_ACCUMULATORS)
    starts = "\n".join(f"%s{i} = arith.constant dense<{i + 1}.0e-3> : {vector}" for i in chains)
    arguments = ", ".join(f"%a{i} = %s{i}" for i in chains)
    body = "\n".join(f"%n{i} = vector.fma %a{i}, %x, %x : {vector}" for i in chains)
    types = ", ".join([vector] * _ACCUMULATORS)
    sums = "\n".join(
        f"%t{i} = arith.addf {f'%t{i - 1}' if i > 1 else '%r#0'}, %r#{i} : {vector}" for i in range(1, _ACCUMULATORS)
    )
    return f"""
      func.func @peak(%data: memref<{lanes}xf32>) {{
        %c0 = arith.constant 0 : index
        %c1 = arith.constant 1 : index
        %end = arith.constant {_FMA_STEPS} : index
        %x = vector.load %data[%c0] : memref<{lanes}xf32>, {vector}
        {starts}
        %r:{_ACCUMULATORS} = scf.for %i = %c0 to %end step %c1 iter_args({arguments}) -> ({types}) {{
          {body}
          scf.yield {", ".join(f"%n{i}" for i in chains)} : {types}
        }}
        {sums}
        vector.store %t{_ACCUMULATORS - 1}, %data[%c0] : memref<{lanes}xf32>, {vector}
        return
      }}"""


def _copy_text(lanes: int) -> str:
    size, block = _COPY_BYTES // 4, 1 << 14
    vector, array = f"vector<{lanes}xf32>", f"memref<{size}xf32>"
    return f"""
      func.func @stream(%from: {array}, %to: {array}) {{
        %c0 = arith.constant 0 : index
        %size = arith.constant {size} : index
        %block = arith.constant {block} : index
        %lanes = arith.constant {lanes} : index
        scf.parallel (%i) = (%c0) to (%size) step (%block) {{
          scf.for %j = %c0 to %block step %lanes {{
            %at = arith.addi %i, %j : index
            %x = vector.load %from[%at] : {array}, {vector}
            vector.store %x, %to[%at] : {array}, {vector}
          }}
        }}
        return
      }}"""

"""libiomp5 in this process: loaded once, its thread count set for each call."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from costmodel.errors import SeercError

BLOCKTIME_MS = 1
"""How long an idle worker spins before it sleeps: long enough for the next kernel, short enough not to take cores from
PyTorch's own threads afterwards (the default is 200). 40 parallel loops on 2 threads took 177 us with 1 ms, 697 us with
0, where every loop wakes the workers."""


@cache
def openmp_library() -> Path:
    """libiomp5.so of the intel-openmp wheel; SeercError if it is not installed."""
    try:
        found = [Path(str(file.locate())) for file in files("intel-openmp") or [] if file.name == "libiomp5.so"]
    except PackageNotFoundError:
        found = []
    if not found or not found[0].exists():
        raise SeercError("libiomp5.so is missing: pip install intel-openmp")
    return found[0].resolve()


@cache
def load_openmp() -> ctypes.CDLL:
    """libiomp5 and libm with their symbols visible to the libraries loaded later."""
    try:
        ctypes.CDLL("libm.so.6", mode=ctypes.RTLD_GLOBAL)
        library = ctypes.CDLL(str(openmp_library()), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise SeercError(f"cannot load the OpenMP runtime: {error}") from error
    library.omp_set_num_threads.argtypes = [ctypes.c_int]
    library.omp_set_num_threads.restype = None
    library.kmp_set_blocktime.argtypes = [ctypes.c_int]
    library.kmp_set_blocktime.restype = None
    return library


@cache
def default_threads() -> int:
    """OMP_NUM_THREADS, or the number of CPUs this process may use."""
    return int(load_openmp().omp_get_max_threads())

"""Child processes for what may hang, crash or eat all memory: only the task that does so is lost.

A child runs with
- a time limit for each task (the caller's): the child is killed, another takes its place;
- MEMORY_BYTES of private memory (RLIMIT_DATA: heap and anonymous mappings; not RLIMIT_AS, which also counts the
  libraries and the weights that are mapped from files): an allocation beyond fails there and not in the whole machine;
- no core files, which would be as large.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Generator
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from threading import Lock
from types import ModuleType
from typing import Any

from pebble import ProcessExpired, ProcessPool

from costmodel.errors import SeercError

MEMORY_BYTES = 8 << 30
TASKS = 200
"""Tasks of one child before a fresh one: MLIR leaks about 1 MB a candidate."""

_launching = Lock()


class _Child(SpawnProcess):
    """A spawned process that does not run the caller's script again, which need not be guarded or even be a file."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        with _launching:
            script = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                return SpawnProcess._Popen(process_obj)
            finally:
                sys.modules["__main__"] = script


class _Context(SpawnContext):
    Process = _Child


@contextmanager
def compile_pool(jobs: int) -> Generator[ProcessPool]:
    """Child processes; stopped at the end, whatever happens."""
    pool = ProcessPool(jobs, TASKS, initializer=limit_resources, initargs=(MEMORY_BYTES,), context=_Context())
    try:
        yield pool
    finally:
        pool.stop()
        pool.join()


def limit_resources(memory: int) -> None:
    """Limits this process: `memory` bytes of private memory, no core files."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    most = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def outcome(future: Any, name: str, seconds: float) -> Any:
    """What the task `name` returned, or a SeercError that says how it failed."""
    try:
        return future.result()
    except FutureTimeout:
        return SeercError(f"{name}: no result after {seconds:.0f} s")
    except ProcessExpired as error:
        return SeercError(f"{name}: the compiler crashed (exit code {error.exitcode})")
    except MemoryError:
        return SeercError(f"{name}: needs more than the {MEMORY_BYTES >> 30} GiB that a child process may have")
    except SeercError as error:
        return error
    except Exception as error:  # a bug in the compiler must not cost the other kernels
        return SeercError(f"{name}: {type(error).__name__}: {error}")

"""Compiles a corpus on the machines of a Ray cluster, through the `schedule` of the local pool.

The machines share the folder of packages (`SEERC_CACHE`) and have the same compilers: both are asked before anything is
compiled, since rows of one corpus must not depend on where they were made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from costmodel.errors import SeercError
from costmodel.ray_cluster import asked, connected
from ir_corpus import llvm, sandbox, worker
from ir_corpus.frontends.frontend import Frontend, version_of
from ir_corpus.sources import cache_folder


class Lost(Exception):
    """A worker of the cluster died, or the machine that it ran on went away."""


@dataclass(frozen=True)
class RayFuture:
    """A file that was handed to Ray, and the seconds that it may take once it is waited for."""

    reference: Any
    seconds: float

    def result(self) -> bytes:
        """What the worker returned; TimeoutError, or Lost."""
        import ray
        from ray.exceptions import GetTimeoutError, RayError

        try:
            return ray.get(self.reference, timeout=self.seconds)
        except GetTimeoutError:
            ray.cancel(self.reference, force=True)
            raise TimeoutError from None
        except RayError as error:
            raise Lost(type(error).__name__) from error


@dataclass(frozen=True)
class RayPool:
    """The CPUs of a cluster."""

    def schedule(self, function: Callable[..., bytes], args: Sequence[Any], timeout: float) -> RayFuture:
        """Hands `function(*args)` to one CPU of the cluster."""
        import ray

        task = ray.remote(num_cpus=1, max_retries=0, max_calls=worker.MAX_TASKS)(function)
        return RayFuture(task.remote(*args), timeout)


@contextmanager
def pool(address: str, frontends: Iterable[Frontend]) -> Generator[tuple[RayPool, int]]:
    """The cluster at `address` (`costmodel.ray_cluster.connected`) and its number of CPUs.

    SeercError if a machine has other compilers than this one, another sandbox, or does not see the packages.
    """
    known = list(frontends)
    with connected(address) as cpus:
        here = _described(known, cache_folder())
        for host, there in asked(_with_host, known, cache_folder()):
            differing = [name for name, said in here.items() if there.get(name) != said]
            if differing:
                name = differing[0]
                raise SeercError(f"--ray: {host} has {name}: {there.get(name)}, this machine {here[name]}")
        yield RayPool(), cpus


def _with_host(frontends: list[Frontend], cache: Path) -> tuple[str, dict[str, str]]:
    return os.uname().nodename, _described(frontends, cache)


def _described(frontends: Iterable[Frontend], cache: Path) -> dict[str, str]:
    """What must be equal on all machines, by name."""
    compilers = {frontend.name: version_of(frontend.version) for frontend in frontends}
    folder = "there" if cache.is_dir() else "missing"
    return {**compilers, "LLVM": llvm.version(), "sandbox": sandbox.isolation(), f"packages ({cache})": folder}

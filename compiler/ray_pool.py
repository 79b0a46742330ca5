"""Runs measurements on the machines of a Ray cluster, through the `schedule` of the local pool.

A task takes one CPU of some machine. There it runs in a child process (compiler.children), so that a candidate that
hangs or crashes costs neither the Ray worker nor the name of the machine in its record. Every machine needs the same
seerc; what a task returns says which machine that was, and how fast it was in the same minute.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

from compiler.children import compile_pool, outcome
from compiler.kernels import VERSION
from compiler.target import calibrate, local_target
from costmodel.errors import SeercError
from costmodel.ray_cluster import asked, connected
from costmodel.target import Target

CALIBRATE_EVERY_S = 30.0
Answer = dict[str, Any]


@dataclass(frozen=True)
class RayFuture:
    """A task that was handed to Ray."""

    reference: Any

    def result(self) -> Answer:
        """What the task returned, with `target` (JSON) and `calibration_ns` of its machine; `error` if it failed.

        SeercError if the worker was lost, and with it what its machine is.
        """
        import ray
        from ray.exceptions import RayError

        try:
            return ray.get(self.reference)
        except RayError as error:
            raise SeercError(f"the Ray task was lost: {type(error).__name__}") from None


@dataclass(frozen=True)
class RayPool:
    """The CPUs of a cluster, and the kinds of machines that they belong to."""

    jobs: int
    targets: tuple[Target, ...]
    variant: str

    def schedule(self, function: Callable[..., Answer], args: Sequence[Any], timeout: float) -> RayFuture:
        """Hands `function(*args)` to Ray; `targets[0]` as JSON in `args` stands for the target that it meets there."""
        import ray

        here = [None if a == self.targets[0].to_json() else a for a in args]
        task = ray.remote(num_cpus=1, max_retries=0)(_measure)
        return RayFuture(task.remote(function, here, timeout, self.variant))


@contextmanager
def ray_pool(address: str, variant_name: str = "") -> Generator[RayPool]:
    """The cluster at `address` (`auto`, HOST:PORT, ray://HOST:PORT, or `local` for a new one on this machine).

    With `variant_name` every machine stands for a narrower one (compiler.target.VARIANTS). SeercError if Ray is not
    installed, the cluster cannot be reached, or a machine of it has another seerc.
    """
    with connected(address) as cpus:
        yield RayPool(cpus, _targets(variant_name), variant_name)


def _targets(variant_name: str) -> tuple[Target, ...]:
    """The distinct targets of the machines that have CPUs."""
    answers = asked(_describe, variant_name)
    for host, versions, _ in answers:
        if versions != _versions():
            raise SeercError(f"--ray: {host} has {versions}, this machine {_versions()}: install the same seerc")
    return tuple({target.hash: target for target in (Target.from_json(text) for _, _, text in answers)}.values())


def _describe(variant_name: str) -> tuple[str, str, str]:
    """(host name, versions, target as JSON) of the machine that runs this."""
    return os.uname().nodename, _versions(), machine(variant_name).to_json()


def _versions() -> str:
    return f"kernels {VERSION}, torch-mlir {version('torch-mlir')}"


@cache
def machine(variant_name: str) -> Target:
    """The target of this machine, or the variant of it."""
    return local_target(variant_name)


def _measure(function: Callable[..., Answer], args: Sequence[Any], timeout: float, variant_name: str) -> Answer:
    """The task on a worker: None in `args` becomes this machine's target."""
    here = machine(variant_name).to_json()
    arguments = tuple(here if a is None else a for a in args)
    answer = outcome(_children().schedule(function, args=arguments, timeout=timeout), "the candidate", timeout)
    found = {"error": str(answer)} if isinstance(answer, SeercError) else answer
    pace = _calibration(variant_name, int(time.monotonic() // CALIBRATE_EVERY_S))
    return {**found, "target": here, "calibration_ns": pace}


@cache
def _children() -> Any:
    """The worker's pool of one child, which lives as long as the worker."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(compile_pool(1))


@lru_cache(maxsize=1)
def _calibration(variant_name: str, turn: int) -> float:
    """The calibration kernel's nanoseconds on this machine, taken again with each `turn`."""
    del turn
    return calibrate(machine(variant_name))

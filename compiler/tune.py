"""`seerc compile --tune N`: measures the schedules whose measurement should save the model most, and decides anew.

The cost model's predictions and intervals are a belief of each kernel's latencies (`costmodel.residual`). One budget
serves all kernels: the next measurement is the one with the largest expected saving of the whole model's time, and
every batch corrects the belief. Measured latencies are kept in the cache at once, so a run that was killed, or another
model with the same kernels, goes on from them. A compile without `--tune` never comes here.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from math import exp, inf, log
from typing import Any

import numpy as np

from compiler.cache import Cache, cache_key
from compiler.children import compile_pool, outcome
from compiler.kernels import VERSION
from compiler.measure import MEASUREMENT, measure_candidate
from compiler.plan.steps import IfStep, KernelCall, Step, Steps
from compiler.target import host_features
from costmodel import schedules as schedule_texts
from costmodel.errors import SeercError
from costmodel.protocol import CostModel
from costmodel.residual import Belief, prior
from costmodel.target import Target
from passes.tiling.candidate import same_context
from passes.tiling.schedule import Schedule
from passes.tiling.select import Choice, Space, read_space
from passes.tiling.space import VectorUnit

logger = logging.getLogger("seerc")
TIMEOUT_S = 30.0
LEAST_SAVING = 0.005
"""Stop where measuring is expected to save less than this share of the model's time, over all kernels."""
FASTEST = 256
"""Candidates of a kernel that may be measured: those that are predicted to be the fastest."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class TuneOptions:
    """`budget` measurements at most, those that the cache holds of these kernels included."""

    budget: int
    jobs: int = 0
    """Child processes that measure; 0: one a CPU."""
    batch: int = 8
    """Measurements between two corrections of the belief."""


@dataclass(frozen=True)
class Kernel:
    """One workload while it is tuned."""

    key: str
    calls: int
    """In one run of the model."""
    schedules: tuple[Schedule, ...]
    candidates: tuple[str, ...]
    belief: Belief
    latencies: Mapping[int, float]
    """Measured ns by candidate; infinity if it failed."""

    def time(self) -> float:
        """Expected ns of all calls with the best schedule; 0 if all have failed."""
        return self.calls * exp(best) if (best := float(self.belief.mean.min())) < inf else 0.0

    def saving(self) -> float:
        """Expected ns of a run of the model that the next measurement saves."""
        return self.time() * float(self.belief.improvement().max())

    def measured(self, index: int, latency: float) -> Kernel:
        """The kernel when one more candidate is known."""
        given = self.belief.given(index, log(latency)) if latency < inf else self.belief.without(index)
        return replace(self, belief=given, latencies={**self.latencies, index: latency})

    def serial(self, index: int) -> str:
        """The candidate text for one thread: what is measured."""
        schedule = self.schedules[index]
        return self.candidates[index].replace(str(schedule), str(replace(schedule, parallel=False)))


def tune(
    planned: Steps,
    choices: Mapping[str, Choice],
    model: CostModel,
    target: Target,
    options: TuneOptions,
    cache: Cache | None = None,
    say: Say = logger.info,
) -> dict[str, Choice]:
    """The choices after measuring; kernels that no emitter reads, or that need no measurement, keep theirs.

    Args:
        planned: the program, its kernels' texts and calls.
        choices: by prediction alone.
        say: told what is being done.
    """
    memory = Memory(cache, target)
    kernels = {k.key: _recall(k, memory) for k in _kernels(planned, choices, model, target)}
    spent = sum(len(k.latencies) for k in kernels.values())
    with compile_pool(options.jobs or os.cpu_count() or 1) as pool:
        while batch := choose_batch(kernels.values(), min(options.batch, options.budget - spent)):
            say(f"measured {spent} of {options.budget}; now {len(batch)} more")
            futures = [_schedule(pool, kernels[key], index, target) for key, index in batch]
            for (key, index), future in zip(batch, futures, strict=True):
                latency = _latency(future, key)
                memory.put(kernels[key].serial(index), latency)
                kernels[key] = kernels[key].measured(index, latency)
            spent += len(batch)
    say(f"measured {spent} schedules of {sum(bool(k.latencies) for k in kernels.values())} kernels")
    return _decide(choices, kernels.values(), model, target)


def runs_of(steps: Iterable[Step], times: int = 1) -> Counter[str]:
    """How often one run of a program that takes every branch calls each workload."""
    found: Counter[str] = Counter()
    for step in steps:
        if isinstance(step, KernelCall):
            found[step.workload] += times
        elif isinstance(step, IfStep):
            found += runs_of(step.then, times)
        else:
            found += runs_of(step.body, times * step.count)
    return found


def choose_batch(kernels: Iterable[Kernel], size: int) -> list[tuple[str, int]]:
    """At most `size` (key, candidate) pairs, the largest saving first; none if all together save too little.

    A candidate of the batch counts as measured, with the latency that is expected, when the next one is chosen.
    """
    open_ = {k.key: (k.saving(), k) for k in kernels}
    worth = LEAST_SAVING * sum(k.time() for _, k in open_.values())
    batch: list[tuple[str, int]] = []
    while open_ and len(batch) < size:
        if sum(saving for saving, _ in open_.values()) < worth:
            break
        key = max(open_, key=lambda k: open_[k][0])
        kernel = open_[key][1]
        index = kernel.belief.next
        batch.append((key, index))
        guess = kernel.measured(index, exp(float(kernel.belief.mean[index])))
        open_[key] = guess.saving(), guess
    return batch


@dataclass(frozen=True)
class Memory:
    """Measured latencies in the cache: by candidate text, kind of machine and versions."""

    cache: Cache | None
    target: Target

    def get(self, candidate: str) -> float | None:
        """ns; infinity for a candidate that failed, None for one that was not measured."""
        content = self.cache.get(self._key(candidate)) if self.cache is not None else None
        if content is None:
            return None
        latency = json.loads(content)["latency_ns"]
        return inf if latency is None else float(latency)

    def put(self, candidate: str, latency: float) -> None:
        """Remember a measurement."""
        if self.cache is not None:
            entry = {"latency_ns": latency if latency < inf else None}
            self.cache.put(self._key(candidate), json.dumps(entry).encode())

    def _key(self, candidate: str) -> str:
        return cache_key("latency", MEASUREMENT, VERSION, _versions(), self.target.hash, candidate)


@lru_cache(maxsize=1)
def _versions() -> str:
    """Looked up once: there are thousands of keys."""
    return " ".join([version("torch-mlir"), *host_features()])


def _kernels(planned: Steps, choices: Mapping[str, Choice], model: CostModel, target: Target) -> list[Kernel]:
    """The kernels that have schedules to choose from."""
    unit, runs = VectorUnit(target.lanes(), target.vector_registers), runs_of(planned.steps)
    with same_context():
        spaces = {k: read_space(text, unit) for k, text in planned.workloads.items() if not choices[k].reason}
    return [_kernel(key, runs[key], space, model, target) for key, space in spaces.items()]


def _kernel(key: str, calls: int, space: Space, model: CostModel, target: Target) -> Kernel:
    """The belief before anything is measured."""
    candidates = space.candidates()
    predictions = model.predict(candidates, target, ("latency_ns",))
    order = np.argsort([p["latency_ns"].value for p in predictions], kind="stable")[:FASTEST].tolist()
    chosen = tuple(space.schedules[i] for i in order)
    belief = prior([predictions[i] for i in order], schedule_texts.schedules([str(s) for s in chosen]))
    return Kernel(key, calls, chosen, tuple(candidates[i] for i in order), belief, {})


def _recall(kernel: Kernel, memory: Memory) -> Kernel:
    """The kernel with what earlier compiles measured."""
    for index in range(len(kernel.candidates)):
        latency = memory.get(kernel.serial(index))
        kernel = kernel if latency is None else kernel.measured(index, latency)
    return kernel


def _schedule(pool: Any, kernel: Kernel, index: int, target: Target) -> Any:
    args = (kernel.key, kernel.serial(index), target.to_json(), 0.0)
    return pool.schedule(measure_candidate, args=args, timeout=TIMEOUT_S)


def _latency(future: Any, key: str) -> float:
    found = outcome(future, f"kernel {key}", TIMEOUT_S)
    if isinstance(found, SeercError):
        logger.info("not measured: %s", found)
        return inf
    return float(found["metrics"]["latency_ns"])


def _decide(
    choices: Mapping[str, Choice], kernels: Iterable[Kernel], model: CostModel, target: Target
) -> dict[str, Choice]:
    """Measured where measured, corrected predictions elsewhere; kernels without a measurement keep their choice."""
    tuned = [k for k in kernels if any(latency < inf for latency in k.latencies.values())]
    found = dict(choices)
    predictions = model.predict([k.candidates[k.belief.best] for k in tuned], target) if tuned else []
    for kernel, predicted in zip(tuned, predictions, strict=True):
        best = kernel.belief.best
        found[kernel.key] = replace(
            choices[kernel.key],
            schedule=kernel.schedules[best],
            candidate=kernel.candidates[best],
            predicted=dict(predicted),
            trials=len(kernel.latencies),
            measured_ns=kernel.latencies.get(best),
        )
    return found

"""`seerc cost collect`: the workloads of models under many schedules, measured in child processes into a dataset.

Interrupted runs resume: a record that the folder holds is not measured again. Failed candidates are kept with their
error.
"""

from __future__ import annotations

import logging
import os
import random
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

from pebble import ProcessExpired

from compiler.driver import fuse_and_place, vector_unit
from compiler.frontend.model import ImportedModel
from compiler.kernels import VERSION, compile_pool
from compiler.measure import MEASUREMENT, measure_candidate
from compiler.plan.steps import KernelCall, Steps, calls
from compiler.ray_pool import ray_pool
from compiler.target import calibrate, local_target
from costmodel.errors import SeercError, unknown_name
from costmodel.facts import KINDS, facts
from costmodel.record import RecordWriter, make_record
from costmodel.target import Target
from costmodel.text import join_candidate
from costmodel.workload import parse_workload
from passes.region.structure import UnsupportedRegion
from passes.tiling.candidate import Template, read_template
from passes.tiling.schedule import Schedule
from passes.tiling.space import schedules

log = logging.getLogger("seerc")
TIMEOUT_S = 30.0
CALIBRATE_EVERY_S = 30.0
SMALLEST_BYTES = 16 << 10
_FUNCTION = re.compile(r"(func\.func (?:public |private )?)@\w+\(")


@dataclass(frozen=True)
class CollectOptions:
    """`per_workload` schedules at most are measured of each workload: the heuristic's and a random sample.

    `target` is a variant of this machine (compiler.target.VARIANTS), or empty for the machine itself; `share` of the
    workloads are taken, the same ones for a seed, of `kinds` (costmodel.facts.KINDS; empty for all). `ray` is the
    address of a cluster (compiler.ray_pool), or empty for `jobs` processes here.
    """

    per_workload: int = 48
    seed: int = 0
    jobs: int = 0
    target: str = ""
    share: float = 1.0
    kinds: tuple[str, ...] = ()
    ray: str = ""


@dataclass
class Workload:
    """One workload, and how often it occurs in which network."""

    text: str
    networks: dict[str, int] = field(default_factory=dict[str, int])
    schedules: dict[str, bool] = field(default_factory=dict[str, bool])
    """Attributes of the schedules to measure, and whether each is the heuristic's; empty to draw a sample."""


@dataclass(frozen=True)
class Task:
    """One candidate to measure."""

    workload: Workload
    candidate: str
    flops: float
    is_heuristic: bool


def workloads_of(models: Sequence[ImportedModel]) -> list[Workload]:
    """The distinct workloads of some models, fused and unfused: fusion has to compare both.

    Workloads whose operands fit in SMALLEST_BYTES are left out: their time is the call's.
    """
    found: dict[str, Workload] = {}
    for model in models:
        for decide in (None, _never):
            _, planned = fuse_and_place(model, decide)
            for call in calls(planned.steps):
                if _bytes(planned, call) >= SMALLEST_BYTES:
                    entry = found.setdefault(call.workload, Workload(planned.workloads[call.workload]))
                    if decide is None or model.name not in entry.networks:
                        entry.networks[model.name] = entry.networks.get(model.name, 0) + 1
    return list(found.values())


def _never(merged: str, parts: Sequence[str]) -> bool:
    del merged, parts
    return False


def _bytes(planned: Steps, call: KernelCall) -> int:
    places = (*call.inputs, *call.results)
    return sum(prod(p.shape) * planned.buffers[p.buffer].itemsize for p in places)


def sample_tasks(workloads: Sequence[Workload], target: Target, options: CollectOptions) -> Iterator[Task]:
    """The candidates to measure, workload by workload; deterministic for a seed."""
    for workload in workloads:
        if workload.schedules:
            yield from _given_tasks(workload, options.per_workload)
            continue
        template = read_template(workload.text)
        try:
            options_of = sample_schedules(template, target, options)
        except (UnsupportedRegion, ValueError) as error:
            log.info("left out: %s", error)
            continue
        flops = facts(parse_workload(workload.text)).flops
        for number, schedule in enumerate(options_of):
            yield Task(workload, template.candidate(schedule), flops, number == 0)


def _given_tasks(workload: Workload, most: int) -> Iterator[Task]:
    flops = facts(parse_workload(workload.text)).flops
    for schedule, is_heuristic in islice(workload.schedules.items(), most):
        yield Task(workload, join_candidate(workload.text, schedule), flops, is_heuristic)


def sample_schedules(template: Template, target: Target, options: CollectOptions) -> list[Schedule]:
    """The heuristic's schedule first, then a random sample of the others; UnsupportedRegion for plain workloads.

    All are serial: latencies are of one thread, and OpenMP's share of a call does not depend on the schedule.
    """
    if template.region is None:
        raise UnsupportedRegion(template.reason)
    unit = vector_unit(target)
    first, *rest = [replace(s, parallel=False) for s in schedules(template.region, unit)]
    chosen = _generator(options.seed, template.workload).sample(rest, min(len(rest), options.per_workload - 1))
    return [first, *chosen]


def is_taken(text: str, options: CollectOptions) -> bool:
    """Whether a workload is of the kinds asked for and of the share that its text's hash and the seed draw."""
    if _generator(~options.seed, text).random() >= options.share:
        return False
    return not options.kinds or facts(parse_workload(text)).kind in options.kinds


def _generator(seed: int, text: str) -> random.Random:
    return random.Random(seed ^ int(sha256(text.encode()).hexdigest()[:8], 16))


def collect(
    workloads: Sequence[Workload],
    out: Path,
    options: CollectOptions,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Measures and writes records into `out`; returns how many were added. SeercError for an unknown kind."""
    for kind in options.kinds:
        if kind not in KINDS:
            raise unknown_name("kind of workloads", kind, KINDS)
    taken = [w for w in workloads if is_taken(w.text, options)]
    added = 0
    with RecordWriter(out) as writer, _machines(options) as (pool, jobs, targets):
        target = targets[0]
        tasks = list(sample_tasks(taken, target, options))
        random.Random(options.seed).shuffle(tasks)
        clock = _Calibration(target)
        window: list[tuple[Task, Any]] = []
        for number, task in enumerate(tasks):
            if not _known(writer, task, targets):
                name = f"c{number}"
                text = _renamed(task.candidate, name)
                args = (name, text, target.to_json(), task.flops)
                window.append((task, pool.schedule(measure_candidate, args=args, timeout=TIMEOUT_S)))
            if len(window) >= 4 * jobs or number == len(tasks) - 1:
                while len(window) > (0 if number == len(tasks) - 1 else 2 * jobs):
                    added += writer.add(_record(*window.pop(0), target, clock.now(), options.seed))
            if progress is not None:
                progress(number + 1, len(tasks))
    return added


@contextmanager
def _machines(options: CollectOptions) -> Generator[tuple[Any, int, Sequence[Target]]]:
    """What measures candidates: a pool with pebble's `schedule`, its CPUs, and the kinds of machines they are of."""
    if options.ray:
        with ray_pool(options.ray, options.target) as pool:
            yield pool, pool.jobs, pool.targets
        return
    target = local_target(options.target)
    jobs = options.jobs or os.cpu_count() or 1
    with compile_pool(jobs) as pool:
        yield pool, jobs, (target,)


def _renamed(candidate: str, name: str) -> str:
    return _FUNCTION.sub(rf"\g<1>@{name}(", candidate, count=1)


def _known(writer: RecordWriter, task: Task, targets: Sequence[Target]) -> bool:
    return any(make_record(task.candidate, target, {}).key in writer.done for target in targets)


def _record(task: Task, future: Any, target: Target, calibration: float, seed: int) -> Any:
    measured: Mapping[str, Any] = {}
    failure = None
    try:
        measured = future.result()
        failure = measured.get("error")
    except FutureTimeout:
        failure = f"no result after {TIMEOUT_S:.0f} s"
    except ProcessExpired as error:
        failure = f"the process died with exit code {error.exitcode}"
    except SeercError as error:
        failure = str(error)
    return make_record(
        task.candidate,
        Target.from_json(measured["target"]) if "target" in measured else target,
        measured.get("metrics", {}),
        networks=task.workload.networks,
        heuristic=task.is_heuristic,
        latency_spread=measured.get("latency_spread"),
        calibration_ns=measured.get("calibration_ns", calibration),
        error=failure,
        versions={"torch-mlir": version("torch-mlir"), "kernel": VERSION, "measurement": MEASUREMENT},
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=seed,
    )


class _Calibration:
    """The calibration kernel's time, taken again when it is older than CALIBRATE_EVERY_S."""

    def __init__(self, target: Target) -> None:
        self._target, self._at, self._value = target, 0.0, 0.0

    def now(self) -> float:
        if not self._at or time.monotonic() - self._at > CALIBRATE_EVERY_S:
            self._value, self._at = calibrate(self._target), time.monotonic()
        return self._value

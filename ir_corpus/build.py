"""Builds a corpus: fetch packages, plan, compile in parallel into a journal, then clean and write the shards.

The journal makes a build resumable: a killed one loses the files in hand. Cleaning and writing read the journal in the
order of the plan, so the shards are the same bytes however often, and in whatever order, files were compiled.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, TimeoutError
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from costmodel.errors import SeercError
from ir_corpus import cluster, llvm, worker
from ir_corpus.finish import Spent, finish
from ir_corpus.frontends import LEVELS, chosen
from ir_corpus.frontends.frontend import Frontend
from ir_corpus.journal import Journal
from ir_corpus.pairs import digest
from ir_corpus.planning import Planning, Task, planned, task_for
from ir_corpus.processes import die_with_parent
from ir_corpus.sandbox import Limits
from ir_corpus.sources import resolve

_SPARE_SECONDS = 900.0  # for normalising and cutting, beyond the compilers' own limits


@dataclass(frozen=True)
class Options:
    """What to build: SOURCES, languages or frontends (empty: all that are here), levels, tiers, processes.

    `limit` takes at most so many files of a language from each source; function pairs of `max_tokens` or more (source
    and IR together; at most 8,192) are counted and left out; `benchmark` is a list for the contamination
    check (`ir_corpus.clean.contamination`). After `minutes` nothing more is compiled, and the corpus is written from
    what there is; the same build goes on from there.
    """

    sources: tuple[str, ...]
    languages: tuple[str, ...] = ()
    levels: tuple[str, ...] = ("Oz",)
    licence: str = "permissive"
    jobs: int = 1
    limit: int | None = None
    max_tokens: int = 4096
    benchmark: Path | None = None
    minutes: float | None = None
    ray: str = ""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Report:
    """What a build did: compilations now and before, its wall seconds, and the CPU seconds of all of the corpus."""

    compiled: int
    resumed: int
    seconds: float
    spent: Spent


def build(options: Options, folder: Path, progress: Callable[[str], None] = lambda text: None) -> Report:
    """Build, or go on building, the corpus in `folder`.

    Raises:
        SeercError: an unknown language or level, a source that cannot be had, a missing compiler that was asked for.
    """
    unknown = [level for level in options.levels if level not in LEVELS]
    if unknown or not options.levels:
        raise SeercError(f"unknown level {', '.join(unknown) or '(none)'}: known are {', '.join(LEVELS)}")
    start = time.monotonic()
    planning = _plan(options, progress)
    journal = Journal(folder / "work" / "journal.sqlite")
    try:
        todo = [task for task in _interleaved(planning.tasks) if task.key not in journal]
        compiled = _compile(todo, options, journal, progress)
        progress("cleaning and writing")
        spent = finish(planning, journal, folder, options.benchmark, options.jobs)
    finally:
        journal.close()
    wall = time.monotonic() - start
    return Report(compiled, len(planning.tasks) - len(todo), wall, spent)


def _plan(options: Options, progress: Callable[[str], None]) -> Planning:
    frontends = chosen(options.languages)
    planning = Planning(options.levels, options.licence, frontends, options.max_tokens)
    for spec in options.sources:
        progress(f"fetching {spec}")
        package = resolve(spec)
        plan = planned(package, frontends, options.licence, options.limit)
        package = replace(package, flags={})  # each task has its own, and each goes to a worker with its package
        for file in plan.files:
            frontend = frontends[file.language]
            for level in _levels(frontend, options.levels):
                planning.tasks.append(task_for(package, file, frontend, level, options.licence))
        planning.add(package, plan.reasons)
    return planning


def _levels(frontend: Frontend, wanted: Sequence[str]) -> tuple[str, ...]:
    return tuple(level for level in wanted if level in frontend.levels) or tuple(frontend.levels)[-1:]


def _interleaved(tasks: Sequence[Task]) -> list[Task]:
    """One file of every language and package, then another of each: a build that is stopped has some of everything.

    Inside a package the order is that of a hash of the path: what is done so far is a sample of all its folders.
    """
    ranks, ranked = dict[tuple[str, str], int](), list[tuple[int, int]]()
    for index in sorted(range(len(tasks)), key=lambda index: (digest(tasks[index].file.path), index)):
        group = (tasks[index].file.language, tasks[index].package.name)
        ranks[group] = ranks.get(group, -1) + 1
        ranked.append((ranks[group], index))
    return [tasks[index] for _, index in sorted(ranked)]


def _compile(tasks: Sequence[Task], options: Options, journal: Journal, progress: Callable[[str], None]) -> int:
    """Run tasks in a pool whose workers may die; each result is kept as soon as it is there. How many were run."""
    from pebble import ProcessExpired

    number = 0
    with _pool(options) as (pool, jobs):
        for number, (task, future) in enumerate(_in_flight(pool, jobs, tasks, options), 1):
            try:
                result = future.result()
            except TimeoutError:
                result = worker.failed("timeout in our own code")
            except (ProcessExpired, cluster.Lost, MemoryError) as error:
                result = worker.failed(f"worker died ({type(error).__name__})")
            journal.add(task.key, result)
            progress(f"{number} of {len(tasks)} files, {task.file.package}: {task.file.path}")
    return number


@contextmanager
def _pool(options: Options) -> Generator[tuple[Any, int]]:
    """Processes of this machine or of a cluster, and how many."""
    from pebble import ProcessPool

    if options.ray:
        with cluster.pool(options.ray, chosen(options.languages).values()) as (pool, jobs):
            yield pool, jobs
    else:
        llvm.version()  # loads LLVM once, not again in every worker
        with ProcessPool(options.jobs, max_tasks=worker.MAX_TASKS, initializer=die_with_parent) as pool:
            yield pool, options.jobs


def _in_flight(pool: Any, jobs: int, tasks: Sequence[Task], options: Options) -> Iterator[tuple[Task, Future[bytes]]]:
    """Tasks and their futures, in order, with only a few waiting at a time."""
    from collections import deque

    end = math.inf if options.minutes is None else time.monotonic() + 60 * options.minutes
    waiting = deque[tuple[Task, Future[bytes]]]()
    for task in tasks:
        if time.monotonic() > end:
            break
        seconds = options.limits.wall_seconds * len(task.frontend.levels[task.level]) + _SPARE_SECONDS
        future = pool.schedule(worker.process, args=[task, options.limits], timeout=seconds)
        waiting.append((task, future))
        if len(waiting) >= 4 * jobs:
            yield waiting.popleft()
    yield from waiting

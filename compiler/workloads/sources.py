"""From specs to workloads: models, `hf:ARCH#SEED` (or `hf:all#SEED`), `ops:COUNT#SEED` and `graphs:COUNT#SEED`.

A spec is cut into parts, each of which is imported, fused both ways and placed in a child process. What a part gave is
kept in the dataset folder, so that a run that is repeated imports nothing again.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.children import compile_pool, outcome
from compiler.collect import Workload, workloads_of
from compiler.frontend.model import ImportedModel
from compiler.workloads.hf import ARCHITECTURES, hf_model
from costmodel.errors import SeercError, suggestion
from costmodel.files import write_atomically

log = logging.getLogger("seerc")
VERSION = 1
"""Part of the cache: raise it when the specs draw something else or fusion makes other regions."""
FOLDER = "workloads"
"""Where the dataset folder keeps what the parts gave."""
TIMEOUT_S = 600.0
"""Limit of one part."""
PART = 40
"""Ops or graphs in one part."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Part:
    """What one child imports: the spec without its numbers, a seed, and the numbers `first` to `last` - 1."""

    kind: str
    name: str
    seed: int = 0
    first: int = 0
    last: int = 0

    def __str__(self) -> str:
        if self.kind == "model":
            return self.name
        return f"{self.kind}:{self.name or f'{self.first}-{self.last - 1}'}#{self.seed}"


def suite() -> list[str]:
    """The specs that the shipped dataset is made from."""
    from compiler.zoo import MODELS

    zoo = [f"zoo:{name}" for name in MODELS]
    return [*zoo, *(f"hf:all#{seed}" for seed in (0, 1)), "ops:400", "graphs:80"]


def workloads_from(specs: Sequence[str], folder: Path, jobs: int, progress: Progress | None = None) -> list[Workload]:
    """The distinct workloads of all specs, in order; a part that fails is a warning.

    `folder` is the dataset's, `jobs` 0 means one a CPU. SeercError for a spec that cannot
    be read, or if no part gave anything.
    """
    parts = list(dict.fromkeys(part for spec in specs for part in parse(spec)))
    found: dict[str, Workload] = {}
    for number, texts in enumerate(_all_parts(parts, folder / FOLDER, jobs)):
        for text, networks in texts:
            entry = found.setdefault(text, Workload(text))
            for network, count in networks.items():
                entry.networks[network] = entry.networks.get(network, 0) + count
        if progress is not None:
            progress(number + 1, len(parts))
    if not found:
        raise SeercError(f"no workloads in {', '.join(specs)[:120]}: see the warnings above")
    return list(found.values())


def parse(spec: str) -> list[Part]:
    """The parts of a spec; SeercError if it cannot be read. Models are looked up when they are loaded."""
    kind, _, rest = spec.partition(":")
    name, _, seed = rest.partition("#")
    if kind not in ("hf", "ops", "graphs"):
        return [Part("model", spec)]
    if not (seed or "0").isdigit() or (kind != "hf" and not (name.isdigit() and int(name))):
        raise SeercError(f"{spec}: expected hf:ARCH, ops:COUNT or graphs:COUNT, each with #SEED or without")
    if kind == "hf":
        if name == "all":
            return [Part(kind, each, int(seed or 0)) for each in ARCHITECTURES]
        if name not in ARCHITECTURES:
            raise SeercError(f"{spec}: no such architecture; {suggestion(name, ARCHITECTURES)}")
        return [Part(kind, name, int(seed or 0))]
    return [Part(kind, "", int(seed or 0), k, min(k + PART, int(name))) for k in range(0, int(name), PART)]


Texts = list[tuple[str, dict[str, int]]]


def _all_parts(parts: Sequence[Part], folder: Path, jobs: int) -> Iterator[Texts]:
    """What each part gave, in order, from the cache or from a child process."""
    with compile_pool(jobs or os.cpu_count() or 1) as pool:
        futures: list[Any] = []
        for part in parts:
            known = _read(part, folder)
            future = None if known is not None else pool.schedule(extract, args=(part,), timeout=TIMEOUT_S)
            futures.append((part, known, future))
        for part, known, future in futures:
            yield known if future is None else _finished(part, outcome(future, str(part), TIMEOUT_S), folder)


def _finished(part: Part, result: Any, folder: Path) -> Texts:
    if isinstance(result, SeercError):
        log.warning("left out: %s", result)
        return []
    texts, failures = result
    for failure in failures:
        log.warning("left out: %s", failure)
    if _is_cached(part):
        folder.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"version": VERSION, "part": str(part)})]
        lines += [json.dumps({"text": text, "networks": networks}) for text, networks in texts]
        write_atomically(_path(part, folder), "\n".join(lines) + "\n")
    return texts


def extract(part: Part) -> tuple[Texts, list[str]]:
    """The workloads of a part with their networks, and why some of its models have none. Runs in a child."""
    warnings.simplefilter("ignore")  # torch's and transformers', which the parent would not have shown either
    found: list[Workload] = []
    failures: list[str] = []
    for load in _models(part):
        try:
            found += workloads_of([load()])
        except SeercError as error:
            failures.append(f"{part}: {error}")
    return [(w.text, w.networks) for w in found], failures


def _models(part: Part) -> Iterator[Callable[[], ImportedModel]]:
    from compiler.frontend.load import load_model
    from compiler.workloads.graphs import graph_model
    from compiler.workloads.ops import op_model

    if part.kind == "model":
        yield lambda: load_model(part.name).imported
    elif part.kind == "hf":
        yield lambda: hf_model(part.name, part.seed)
    else:
        make = op_model if part.kind == "ops" else graph_model
        for number in range(part.first, part.last):
            yield lambda number=number: make(number, part.seed)


def _is_cached(part: Part) -> bool:
    return part.kind != "model" or part.name.startswith("zoo:")


def _path(part: Part, folder: Path) -> Path:
    return folder / (str(part).replace(":", "-").replace("#", "-") + ".jsonl")


def _read(part: Part, folder: Path) -> Texts | None:
    """What the folder keeps of a part; None if that is nothing, damaged or of another version."""
    if not _is_cached(part):
        return None
    try:
        first, *lines = map(json.loads, _path(part, folder).read_text().splitlines())
        known = first == {"version": VERSION, "part": str(part)}
        return [(line["text"], line["networks"]) for line in lines] if known else None
    except (OSError, ValueError, KeyError, TypeError):
        return None

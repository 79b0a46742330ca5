"""From the journal to the shards: duplicates, contamination and splits over the whole corpus, then the rows."""

from __future__ import annotations

import base64
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from costmodel.files import write_atomically
from ir_corpus import llvm
from ir_corpus.card import card
from ir_corpus.clean import contamination, duplicates, split
from ir_corpus.counts import Counts
from ir_corpus.frontends.frontend import version_of
from ir_corpus.journal import Journal
from ir_corpus.pairs import Pair, digest
from ir_corpus.planning import PIPELINE, Planning, Task
from ir_corpus.store import MANIFEST, ShardWriter


@dataclass(frozen=True)
class Spent:
    """CPU seconds over all compilations of a corpus: of the compilers, and of the pipeline's own workers."""

    compilers: float = 0.0
    workers: float = 0.0

    def plus(self, result: Mapping[str, Any]) -> Spent:
        """With those of one compilation."""
        return Spent(self.compilers + result["seconds"], self.workers + result.get("own_seconds", 0.0))


def finish(planning: Planning, journal: Journal, folder: Path, benchmark: Path | None, jobs: int = 1) -> Spent:
    """Write data, manifest and card into `folder`; near-duplicates are looked for by `jobs` processes.

    The shards are written beside the old ones, which then go: a reader sees one corpus or the other.
    """
    reasons = {language: Counter(counts) for language, counts in planning.reasons.items()}
    kept = _kept(planning, journal, contamination.read(benchmark), reasons, jobs)
    chosen = _splits(planning, kept)
    new = folder / "work" / "new"
    shutil.rmtree(new, ignore_errors=True)
    writer, counts, spent = ShardWriter(new), Counts(planning.max_tokens), Spent()
    for task in planning.tasks:
        language, result = reasons.setdefault(task.file.language, Counter()), journal.get(task.key)
        if result is None:
            language["not compiled yet"] += 1
            continue
        language.update(result["reasons"])
        spent = spent.plus(result)
        if _name(task) in kept:
            for pair in _pairs(task, result, chosen, counts, language):
                writer.add(pair)
    manifest = {**_described(planning), **counts.described(reasons), "shards": writer.close()}
    _replace(new, folder, manifest)
    return spent


def _results(planning: Planning, journal: Journal) -> Iterator[tuple[Task, dict[str, Any]]]:
    for task in planning.tasks:
        result = journal.get(task.key)
        if result is not None:
            yield task, result


def _kept(
    planning: Planning,
    journal: Journal,
    benchmark: contamination.Benchmark,
    reasons: dict[str, Counter[str]],
    jobs: int,
) -> set[str]:
    """Names of the files that gave rows, are no near-duplicates of earlier ones and hold nothing of a benchmark."""
    fruitful = dict[str, str]()

    def texts() -> Iterator[tuple[str, str]]:
        for task, result in _results(planning, journal):
            name = _name(task)
            if not result["rows"] or name in fruitful:
                continue
            source = (task.package.root / task.file.path).read_text(encoding="utf-8")
            if benchmark.holds(source):
                reasons.setdefault(task.file.language, Counter())["clean: in a benchmark"] += 1
                continue
            fruitful[name] = task.file.language
            yield name, source

    flags = list(duplicates.kept(texts(), jobs))
    kept = {name for name, keep in zip(fruitful, flags, strict=True) if keep}
    for name, language in fruitful.items():
        if name not in kept:
            reasons.setdefault(language, Counter())["clean: near-duplicate source"] += 1
    return kept


def _name(task: Task) -> str:
    """One name for a file, whatever its levels."""
    return f"{task.file.language}\0{task.package.name}\0{task.file.path}"


def _splits(planning: Planning, kept: set[str]) -> dict[tuple[str, str, str], str]:
    """(language, package, path) -> split, decided for each language by its groups."""
    files = list(dict.fromkeys(task.file for task in planning.tasks if _name(task) in kept))
    packages: dict[str, set[str]] = {}
    for file in files:
        packages.setdefault(file.language, set()).add(file.package)
    group = {file: split.group_of(file.package, file.path, len(packages[file.language])) for file in files}
    sizes: dict[str, Counter[str]] = {}
    for file in files:
        sizes.setdefault(file.language, Counter())[group[file]] += 1
    chosen = {language: split.splits(counts) for language, counts in sizes.items()}
    return {(file.language, file.package, file.path): chosen[file.language][group[file]] for file in files}


def _pairs(
    task: Task,
    result: Mapping[str, Any],
    chosen: Mapping[tuple[str, str, str], str],
    counts: Counts,
    reasons: Counter[str],
) -> Iterator[Pair]:
    file, package = task.file, task.package
    common: dict[str, Any] = {
        "language": file.language,
        "split": chosen[file.language, file.package, file.path],
        "package": package.name,
        "version": package.version,
        "archive_sha256": package.sha256,
        "file_sha256": digest((package.root / file.path).read_bytes()),
        "compiler": task.frontend.name,
        "compiler_version": version_of(task.frontend.version),
        "flags": " ".join(file.flags),
    }
    for row in result["rows"]:
        values: dict[str, Any] = {**common, **row, "bitcode": base64.b64decode(row["bitcode"])}
        pair = Pair(**values)
        reason = counts.refused(pair)
        if reason:
            reasons[reason] += 1
        else:
            yield pair


def _described(planning: Planning) -> dict[str, Any]:
    compilers = {
        language: {"name": frontend.name, "version": version_of(frontend.version), "optimiser": frontend.optimiser}
        for language, frontend in planning.frontends.items()
        if any(task.file.language == language for task in planning.tasks)
    }
    sources = [
        {
            "spec": package.spec if ":" in package.spec else package.name,
            "package": package.name,
            "version": package.version,
            "sha256": package.sha256,
            "left_out": dict(package.reasons),
        }
        for package in planning.packages
    ]
    return {
        "format": 1,
        "pipeline": PIPELINE,
        "llvm": llvm.version(),
        "levels": list(planning.levels),
        "licence": planning.licence,
        "max_tokens": planning.max_tokens,
        "compilers": compilers,
        "sources": sources,
    }


def _replace(new: Path, folder: Path, manifest: dict[str, Any]) -> None:
    old = folder / "work" / "old"
    shutil.rmtree(old, ignore_errors=True)
    if (folder / "data").exists():
        (folder / "data").rename(old)
    (new / "data").mkdir(parents=True, exist_ok=True)
    (new / "data").rename(folder / "data")
    write_atomically(folder / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    write_atomically(folder / "README.md", card(manifest))
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(new, ignore_errors=True)

"""From the journal to the shards: duplicates, contamination and splits over the whole corpus, then the rows."""

from __future__ import annotations

import base64
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from costmodel.files import write_atomically
from ir_corpus import llvm
from ir_corpus.card import card
from ir_corpus.clean import contamination, duplicates, split
from ir_corpus.frontends.frontend import Frontend, version_of
from ir_corpus.journal import Journal
from ir_corpus.pairs import Pair, digest, function_key
from ir_corpus.planning import PIPELINE, Task
from ir_corpus.sources.package import Package
from ir_corpus.store import MANIFEST, ShardWriter

LONG = "function: max tokens"


@dataclass
class Planning:
    """Everything that a build works through, in order, and what was left out before compiling."""

    levels: tuple[str, ...]
    licence: str
    frontends: Mapping[str, Frontend]
    max_tokens: int = 4096
    tasks: list[Task] = field(default_factory=list[Task])
    packages: list[Package] = field(default_factory=list[Package])
    reasons: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])

    def add(self, package: Package, reasons: Mapping[str, Counter[str]]) -> None:
        """A package and its counted reasons."""
        self.packages.append(package)
        for language, counts in reasons.items():
            self.reasons.setdefault(language, Counter()).update(counts)


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
    writer, counts, spent = ShardWriter(new), _Counts(planning.max_tokens), Spent()
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
    counts: _Counts,
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


class _Counts:
    """What is stored, counted as it passes, with the hashes by which equal rows are known."""

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._functions = set[str]()
        self._split_of: dict[bytes, str] = {}
        self.files: dict[str, set[str]] = {}
        self.rows: dict[str, Counter[str]] = {"file": Counter(), "function": Counter()}
        self.licences: Counter[str] = Counter()
        self.splits: dict[str, Counter[str]] = {}
        self.short: Counter[str] = Counter()

    def refused(self, pair: Pair) -> str:
        """Why a row must not be stored beside those before it; counts the row if it may."""
        source, canonical = bytes.fromhex(pair.source_sha256)[:16], bytes.fromhex(pair.canonical)[:16]
        if self._split_of.setdefault(source, pair.split) != pair.split:
            return "clean: equal source in another split"
        if pair.kind == "function":
            function = digest(function_key(pair))[:32]
            if function in self._functions:
                return "clean: equal function"
            if self._split_of.setdefault(canonical, pair.split) != pair.split:
                return "clean: equal function in another split"
            self._functions.add(function)
            if pair.tokens >= self._max_tokens:
                return LONG
            self.short[pair.language] += pair.tokens < 4096
        else:
            self.files.setdefault(pair.language, set()).add(f"{pair.package}/{pair.path}")
        self.rows[pair.kind][pair.language] += 1
        self.licences[pair.licence] += 1
        self.splits.setdefault(pair.language, Counter())[pair.split] += 1
        return ""

    def described(self, reasons: Mapping[str, Counter[str]]) -> dict[str, Any]:
        """The counts of the manifest; `pairs` are file pairs, one for each level, `files` their distinct files.

        `functions_within_max_tokens` are the shares of function pairs that the limit of tokens left.
        """
        functions = self.rows["function"]
        long = {name: counts[LONG] + counts["function: too long"] for name, counts in reasons.items()}
        return {
            "pairs": dict(sorted(self.rows["file"].items())),
            "files": {language: len(names) for language, names in sorted(self.files.items())},
            "functions": dict(sorted(functions.items())),
            "functions_under_4096_tokens": {
                name: round(self.short[name] / functions[name], 4) for name in sorted(functions)
            },
            "functions_within_max_tokens": {
                name: round(functions[name] / (functions[name] + long[name]), 4) for name in sorted(functions)
            },
            "licences": dict(sorted(self.licences.items())),
            "splits": {language: dict(sorted(counts.items())) for language, counts in sorted(self.splits.items())},
            "reasons": {language: dict(sorted(counts.items())) for language, counts in sorted(reasons.items())},
        }


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

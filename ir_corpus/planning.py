"""Which files of a package are compiled, by which frontend, with which flags: the plan that a build works through."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ir_corpus.clean.filters import source_refused
from ir_corpus.frontends.frontend import Frontend, places, substituted, version_of
from ir_corpus.pairs import digest
from ir_corpus.sources.configured import FOLDER as CONFIGURED
from ir_corpus.sources.configured import SUFFIX
from ir_corpus.sources.crates import modules
from ir_corpus.sources.licences import Licences, tier
from ir_corpus.sources.package import Package, SourceFile
from ir_corpus.sources.recipes import RECIPES, Recipe

PIPELINE = 1  # raised when the same input would give other rows: then nothing is taken from an old journal
_MAX_INCLUDES = 40
_SKIPPED = frozenset({".git", ".svn", "debian", "__pycache__", "node_modules", ".github", CONFIGURED})


@dataclass(frozen=True)
class Task:
    """One file at one level: what a worker needs, and the key under which its result is kept."""

    package: Package
    file: SourceFile
    frontend: Frontend
    level: str
    licence: str  # which tiers may be stored: permissive or any
    key: str


def task_for(package: Package, file: SourceFile, frontend: Frontend, level: str, licence: str) -> Task:
    """A task and its key; equal keys give equal results: source, compiler, flags and versions are in it."""
    raw = (package.root / file.path).read_bytes()
    parts = [str(PIPELINE), package.name, package.version, file.path, digest(raw), file.licence, frontend.name]
    parts += [version_of(frontend.version), level, *file.flags, licence, *filter(None, [file.unit])]
    parts += [f"revision {frontend.revision}"] if frontend.revision else []
    return Task(package, file, frontend, level, licence, digest("\0".join(parts)))


@dataclass(frozen=True)
class Planned:
    """The files of a package in order, and how many were left out, by language and reason."""

    files: list[SourceFile]
    reasons: dict[str, Counter[str]]


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


def planned(package: Package, frontends: Mapping[str, Frontend], licence: str, limit: int | None = None) -> Planned:
    """Walk a package in the order of its paths.

    Args:
        package: an extracted package.
        frontends: language -> frontend.
        licence: `permissive` leaves out files of other tiers, `any` leaves out none.
        limit: the most files of one language; what comes after them is not looked at.
    """
    licences, files = Licences(package.root, package.declared), list[SourceFile]()
    reasons: dict[str, Counter[str]] = {}
    counts = Counter[str]()
    crates = modules(package.root) if "rust" in frontends and package.walked else {}
    known = {**{path: module.flags for path, module in crates.items()}, **package.flags}
    for given, path, language in _candidates(package, frontends, known):
        if limit is not None and counts[language] >= limit:
            continue
        raw = (package.root / path).read_bytes()
        reason = source_refused(raw, language)
        text = raw.decode("utf-8", errors="replace")
        stated = "" if reason else licences.of(path, text)
        if not reason and licence == "permissive" and tier(stated) != "permissive":
            reason = f"licence: {tier(stated)}"
        if reason:
            reasons.setdefault(language, Counter())[reason] += 1
            continue
        counts[language] += 1
        flags = given if path in known else (*given, *frontends[language].rules(text))
        unit = crates[path].root if path in crates and crates[path].root != path else ""
        files.append(SourceFile(package.name, path, language, stated, tier(stated), flags, unit))
    return Planned(files, reasons)


def _candidates(
    package: Package, frontends: Mapping[str, Frontend], known: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[tuple[str, ...], str, str]]:
    if not package.walked:
        suffixes = _suffixes(frontends)
        yield from (
            (flags, path, suffixes[suffix])
            for path, flags in package.flags.items()
            if (suffix := os.path.splitext(path)[1]) in suffixes
        )
        return
    recipes = RECIPES.get(package.spec.removesuffix(SUFFIX).partition("==")[0])
    generated = _includes(package.root / CONFIGURED, package.root) if package.spec.endswith(SUFFIX) else ()
    seen = set[str]()
    for recipe in recipes or (Recipe(""),):
        wanted = {
            name: frontend for name, frontend in frontends.items() if not recipe.languages or name in recipe.languages
        }
        suffixes = _suffixes(wanted)
        flags = _given(recipe, package.root)
        includes = () if flags else (*generated, *_includes(package.root / recipe.folder, package.root))
        without = re.compile(recipe.without) if recipe.without else None
        for path in _walk(package.root / recipe.folder, package.root):
            language = suffixes.get(os.path.splitext(path)[1])
            if language is None or path in seen or (without and without.search(path)):
                continue
            seen.add(path)
            yield known.get(path) or flags or _include_flags(frontends[language], includes), path, language


def _suffixes(frontends: Mapping[str, Frontend]) -> dict[str, str]:
    """Suffix -> language; the first language of the table that has it."""
    return {suffix: name for name in reversed(list(frontends)) for suffix in frontends[name].suffixes}


def _given(recipe: Recipe, root: Path) -> tuple[str, ...]:
    """A recipe's flags with their words filled in; `-IGLOB` becomes one flag a folder."""
    flags = list[str]()
    for flag in recipe.flags:
        found = sorted(root.glob(flag[2:])) if flag.startswith("-I") and "*" in flag else []
        flags += [f"-I{path.relative_to(root)}" for path in found] or [substituted(flag, places())]
    return tuple(flags)


def _include_flags(frontend: Frontend, includes: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{frontend.include_flag}{folder}" for folder in includes) if frontend.include_flag else ()


def _walk(folder: Path, root: Path) -> Iterator[str]:
    """The plain files below a folder, relative to `root`, in the order of their names."""
    if not folder.is_dir():
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False) and entry.name not in _SKIPPED:
            yield from _walk(Path(entry.path), root)
        elif entry.is_file(follow_symlinks=False):
            yield os.path.relpath(entry.path, root)


def _includes(folder: Path, root: Path) -> tuple[str, ...]:
    """The root, the folders that hold headers and those above them (`include/NAME/x.h`), the shallowest first."""
    found = {os.path.dirname(path) for path in _walk(folder, root) if path.endswith((".h", ".hpp", ".hh", ".inc"))}
    names = {name or "." for name in found | {os.path.dirname(name) for name in found} | {""}}
    return tuple(sorted(names, key=lambda name: (name.count("/"), name))[:_MAX_INCLUDES])

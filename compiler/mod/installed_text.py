"""A training corpus that is on every machine: sources, docs and licence texts of the standard library and packages."""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = frozenset({".py", ".rst", ".md", ".txt"})
SKIPPED = frozenset(
    {"test", "tests", "testing", "idlelib", "lib2to3", "__pycache__", "site-packages", "_vendor", "vendor"}
)
HELD_OUT = 16
"""Of 256 packages so many are held out, by the hash of their name."""


@dataclass(frozen=True)
class Corpus:
    """Texts by side; no package is on both, no text occurs twice."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    held_out_packages: tuple[str, ...]


def installed_text(limit: int = 400_000, roots: tuple[Path, ...] | None = None) -> Corpus:
    """Reads what is installed here, at most `limit` bytes of a package, in the order of the paths.

    Args:
        limit: bytes of a package; without it a few large ones would be most of the corpus.
        roots: folders whose entries are packages; the standard library and site-packages unless given.
    """
    seen, sides = set[str](), (list[str](), list[str]())
    packages = set[str]()
    for root in roots or _roots():
        for entry in sorted(root.iterdir()):
            held_out = is_held_out(entry.stem)
            texts = list(_package(entry, limit, seen))
            sides[held_out].extend(texts)
            if held_out and texts:
                packages.add(entry.stem)
    return Corpus(tuple(sides[0]), tuple(sides[1]), tuple(sorted(packages)))


def is_held_out(package: str) -> bool:
    """Whether a package is kept for evaluation; its metadata folder has the same name up to the first `-`."""
    name = package.split("-")[0].lower().encode()
    return hashlib.sha256(name).digest()[0] < HELD_OUT


def _roots() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return Path(paths["stdlib"]), Path(paths["purelib"])


def _package(entry: Path, limit: int, seen: set[str]) -> Iterator[str]:
    """The texts of a file or folder; `seen` holds the hashes of all texts so far."""
    if entry.name in SKIPPED:
        return
    files = sorted(entry.rglob("*")) if entry.is_dir() else [entry]
    total = 0
    for file in files:
        if not _wanted(file.relative_to(entry.parent)) or not file.is_file():
            continue
        text = _text(file)
        key = hashlib.sha256(text.encode()).hexdigest()
        if not text or key in seen or total + len(text) > limit:
            continue
        seen.add(key)
        total += len(text)
        yield text


def _wanted(path: Path) -> bool:
    named = path.suffix in SUFFIXES or path.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE"))
    return named and not SKIPPED.intersection(path.parts)


def _text(file: Path) -> str:
    """The content if it reads like written text: ASCII mostly, short lines, few digits; else the empty string."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    if not 200 <= len(text) <= 200_000:
        return ""
    lines = text.count("\n") + 1
    digits = sum(map(text.count, "0123456789"))
    rest = len(text) - len(text.encode("ascii", "ignore"))
    return text if len(text) / lines < 90 and digits < 0.08 * len(text) and rest < 0.01 * len(text) else ""

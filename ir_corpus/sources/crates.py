"""Crates of Rust in a tree: their modules do not compile alone, but as parts of the crate whose root names them.

Of `Cargo.toml` only the edition and the default features are read; no build script runs and no other crate is linked,
so a crate that needs either is rejected by the compiler.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SKIPPED = frozenset({"target", "tests", "benches", "examples", "fuzz"})
_EDITIONS = frozenset({"2015", "2018", "2021", "2024"})


@dataclass(frozen=True)
class Module:
    """How one file of a crate is compiled: the crate's root, relative to the tree, and the crate's flags."""

    root: str
    flags: tuple[str, ...]


def modules(tree: Path) -> dict[str, Module]:
    """Path -> module, for every file below `src` of the tree's library crates."""
    found = dict[str, Module]()
    for folder, folders, names in os.walk(tree):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED)
        if "Cargo.toml" in names and (Path(folder) / "src" / "lib.rs").is_file():
            found |= dict(_of_crate(Path(folder), tree))
    return found


def _of_crate(folder: Path, tree: Path) -> Iterator[tuple[str, Module]]:
    crate = Module(os.path.relpath(folder / "src" / "lib.rs", tree), _flags(_manifest(folder / "Cargo.toml")))
    for path in sorted((folder / "src").rglob("*.rs")):
        if path.name != "main.rs" and path.parent.name != "bin":
            yield os.path.relpath(path, tree), crate


def _manifest(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _flags(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    package, features = _table(manifest, "package"), _table(manifest, "features")
    edition = str(package.get("edition", ""))
    enabled, queue = list[str](), ["default"]
    while queue:
        listed = features.get(queue.pop())
        for name in listed if isinstance(listed, list) else ():
            if isinstance(name, str) and name in features and name not in enabled:
                enabled.append(name)
                queue.append(name)
    cfgs = (word for name in sorted(enabled) for word in ("--cfg", f'feature="{name}"'))
    return (
        "--edition",
        edition if edition in _EDITIONS else "2015",
        "--crate-type",
        "lib",
        "--crate-name",
        "unit",
        *cfgs,
    )


def _table(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = manifest.get(name)
    return found if isinstance(found, dict) else {}

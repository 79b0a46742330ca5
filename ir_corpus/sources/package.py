"""A package of sources on disk, and the file that the rest of the corpus reads from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """An extracted package.

    `spec` is what the user wrote (`pypi:ziglang`), `sha256` the hash of its archive (empty for a folder), `declared`
    the SPDX expression of its metadata (empty if none), `reasons` what was left out while extracting, `flags` those
    that a build gave to single files (path -> flags); where the tree is not `walked`, these are all there are.
    """

    spec: str
    name: str
    version: str
    sha256: str
    root: Path
    declared: str = ""
    reasons: Mapping[str, int] = field(default_factory=dict[str, int])
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    walked: bool = True


@dataclass(frozen=True)
class SourceFile:
    """One file to compile; `path` is relative to the package, `flags` come from the package's recipe.

    `unit` is the file that the compiler is given where that is another one: the root of a crate.
    """

    package: str
    path: str
    language: str
    licence: str
    tier: str
    flags: tuple[str, ...] = ()
    unit: str = ""

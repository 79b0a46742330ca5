"""Where sources come from: a folder, a package of PyPI or Debian, a captured build, a model's stages."""

from __future__ import annotations

import os
from pathlib import Path

from costmodel.errors import SeercError, unknown_name
from ir_corpus.sources import captured, configured, debian, pypi, stages
from ir_corpus.sources.package import Package

_FETCH = {
    "pypi": pypi.fetch,
    "debian": debian.fetch_source,
    "debian-rust": debian.fetch_rust,
    "debian-binary": debian.fetch_binary,
    "captured": captured.read,
    "zoo": stages.fetch,
}


def cache_folder() -> Path:
    """Where downloaded and extracted packages stay: sources under $SEERC_CACHE or the user's cache folder."""
    base = os.environ.get("SEERC_CACHE")
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seerc"
    return (Path(base) if base else user) / "sources"


def resolve(spec: str, cache: Path | None = None) -> Package:
    """Fetch and extract what a SOURCE names; what is in the cache is not fetched again.

    Raises:
        SeercError: an unknown kind, no such folder, or a package that cannot be fetched or extracted.
    """
    if spec.endswith(configured.SUFFIX):
        return configured.configured(resolve(spec.removesuffix(configured.SUFFIX), cache), cache or cache_folder())
    kind, colon, name = spec.partition(":")
    if not colon or Path(spec).exists():
        return _folder(spec)
    if kind not in _FETCH:
        raise unknown_name("kind of source", kind, _FETCH)
    return _FETCH[kind](name, cache or cache_folder())


def _folder(spec: str) -> Package:
    root = Path(spec).resolve()
    if not root.is_dir():
        raise SeercError(
            f"{spec} is no folder; packages are written pypi:NAME, debian:NAME, debian-rust:NAME or debian-binary:NAME"
        )
    return Package(spec, root.name, "", "", root)

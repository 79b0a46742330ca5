"""Where an installed package and the user's cache keep their files, without importing the package."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from compiler.frontend.model import FrontendError


def package_file(package: str, relative: str) -> Path:
    """The path of a file inside an installed package; raises FrontendError if the wheel lacks it."""
    spec = importlib.util.find_spec(package)
    folder = Path(spec.origin).parent if spec and spec.origin else None
    if folder is None or not (folder / relative).exists():
        raise FrontendError(f"the package {package} has no file {relative}: reinstall it with `make zoo`")
    return folder / relative


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/seerc, else ~/.cache/seerc."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seerc"

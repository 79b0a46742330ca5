"""SOURCE as users write it; nothing here reaches a registry."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from costmodel.errors import SeercError
from ir_corpus.sources import resolve


def test_a_folder_is_a_package(tmp_path: Path) -> None:
    package = resolve(str(tmp_path))
    assert (package.name, package.root) == (tmp_path.name, tmp_path)


@pytest.mark.parametrize(
    ("spec", "message"),
    [("no/such/folder", "is no folder"), ("pypy:lz4", "did you mean pypi"), ("debian", "is no folder")],
)
def test_wrong_specs_are_named(spec: str, message: str) -> None:
    with pytest.raises(SeercError, match=message):
        resolve(spec)


def test_a_wheel_in_the_cache_is_not_fetched_again(tmp_path: Path) -> None:
    folder = tmp_path / "pypi" / "tiny-1.0"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as file:
        file.writestr("tiny/a.py", "def f(x):\n    return x\n")
        file.writestr("tiny-1.0.dist-info/METADATA", "Name: tiny\nVersion: 1.0\nLicense: MIT\n\n")
    package = resolve("pypi:tiny==1.0", tmp_path)
    assert (package.name, package.version, package.declared, len(package.sha256)) == ("tiny", "1.0", "MIT", 64)
    assert (package.root / "tiny" / "a.py").exists()
    assert resolve("pypi:tiny==1.0", tmp_path) == package

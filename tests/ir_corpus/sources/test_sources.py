"""SOURCE as users write it; nothing here reaches a registry."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from costmodel.errors import SeercError
from ir_corpus.audit import audit
from ir_corpus.build import Options, build
from ir_corpus.frontends import chosen
from ir_corpus.planning import planned
from ir_corpus.sources import resolve
from ir_corpus.sources.package import Package
from ir_corpus.sources.recipes import RECIPES, Recipe
from ir_corpus.store import read_pairs


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


def kernel(name: str) -> str:
    return f"module {{\n  func.func @{name}(%a: i1) {{\n  }}\n}}"


ZOO = {
    "scheduled": f"{kernel('k1f')}\n// -----\n{kernel('k2')}\n",
    "loops": f"// k1f\n{kernel('k1f')}\n",
    "llvm": f"{kernel('k1f')}\n// -----\nllvm.func @k1f(!llvm.ptr)\nllvm.func @seerc_run(%a: i1) {{\n}}\n",
}


def test_a_model_of_the_zoo_is_a_package_of_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[str]()

    def compiled(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(argv[-1])
        return subprocess.CompletedProcess(argv, 0, ZOO[argv[-1]], "")

    monkeypatch.setattr(subprocess, "run", compiled)
    package = resolve("zoo:tiny", tmp_path)
    assert sorted(path.name for path in package.root.iterdir()) == ["k1f.linalg", "k1f.llvm", "k1f.loops", "k2.linalg"]
    assert (package.name, package.declared) == ("zoo-tiny", "Apache-2.0")
    assert resolve("zoo:tiny", tmp_path) == package
    assert calls == ["scheduled", "loops", "llvm"]


@pytest.mark.slow
def test_kernels_of_the_zoo_become_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("mlir-translate-22") is None:
        pytest.skip("needs mlir-translate-22")
    monkeypatch.setenv("SEERC_CACHE", str(tmp_path / "cache"))
    build(Options(("zoo:gpt2",), ("mlir-stages",)), tmp_path / "corpus")
    pairs = list(read_pairs(tmp_path / "corpus", "function"))
    assert {Path(pair.path).suffix for pair in pairs} == {".linalg", ".loops", ".llvm"}
    stages = {pair.path.partition(".")[0]: pair for pair in pairs}
    assert all(pair.ir == stages[pair.path.partition(".")[0]].ir for pair in pairs)
    assert audit(tmp_path / "corpus") == []
    with pytest.raises(SeercError, match="zoo:nothing cannot be compiled"):
        resolve("zoo:nothing", tmp_path)


def test_a_recipes_wildcard_stands_for_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / "libs" / name / "include").mkdir(parents=True)
    (tmp_path / "libs" / "a" / "x.c").write_text("/* SPDX-License-Identifier: MIT */\nint f(int x) { return x + 1; }\n")
    recipe = Recipe("libs", ("c",), ("-Ilibs/*/include", "-DX=1"))
    monkeypatch.setitem(RECIPES, "debian:wild", (recipe,))
    found = planned(Package("debian:wild", "wild", "1", "", tmp_path), chosen(("c",)), "permissive")
    assert [file.flags[:3] for file in found.files] == [("-Ilibs/a/include", "-Ilibs/b/include", "-DX=1")]

"""Modules of Rust crates: compiled as parts of their crate, paired with their own functions alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from ir_corpus.build import Options, build
from ir_corpus.frontends import FRONTENDS
from ir_corpus.sources.crates import modules
from ir_corpus.store import read_pairs

RUSTC = next(frontend for frontend in FRONTENDS if frontend.name == "rustc")
LICENCE = "// SPDX-License-Identifier: MIT\n"
MANIFEST = (
    '[package]\nname = "x"\nedition = "2018"\n[features]\ndefault = ["fast", "dep:y"]\nfast = ["more"]\nmore = []\n'
)


@pytest.fixture
def crate(tmp_path: Path) -> Path:
    root = tmp_path / "crate"
    (root / "src" / "bin").mkdir(parents=True)
    (root / "Cargo.toml").write_text(MANIFEST)
    (root / "src" / "lib.rs").write_text(
        LICENCE + "mod inner;\npub fn outer(x: u32) -> u32 {\n    inner::twice(x) + 1\n}\n"
    )
    inner = "pub fn twice(x: u32) -> u32 {\n    super::outer as usize as u32 + x * 2\n}\n"
    (root / "src" / "inner.rs").write_text(LICENCE + '#[cfg(feature = "more")]\n' + inner)
    (root / "src" / "bin" / "tool.rs").write_text(LICENCE + "fn main() {}\n")
    return root


def test_modules_have_the_root_and_flags_of_their_crate(crate: Path) -> None:
    found = modules(crate.parent)
    assert sorted(found) == ["crate/src/inner.rs", "crate/src/lib.rs"]
    assert {module.root for module in found.values()} == {"crate/src/lib.rs"}
    flags = found["crate/src/inner.rs"].flags
    assert flags[:2] == ("--edition", "2018")
    assert [flag for flag in flags if "feature" in flag] == ['feature="fast"', 'feature="more"']


@pytest.mark.parametrize("text", ["[package", '[package]\nedition = "; evil"\nfeatures = 3\n', "features = 7"])
def test_odd_manifests_give_plain_flags(text: str, crate: Path) -> None:
    (crate / "Cargo.toml").write_text(text)
    assert modules(crate)["src/lib.rs"].flags == ("--edition", "2015", "--crate-type", "lib", "--crate-name", "unit")


@pytest.mark.skipif(bool(RUSTC.missing()), reason="needs rustc")
def test_a_module_is_paired_with_its_own_functions(crate: Path, tmp_path: Path) -> None:
    build(Options((str(crate),), ("rust",)), tmp_path / "corpus")
    files = {pair.path: pair for pair in read_pairs(tmp_path / "corpus", "file")}
    assert "src/inner.rs" in files
    assert "twice" in files["src/inner.rs"].ir
    assert not any("outer" in line for line in files["src/inner.rs"].ir.splitlines() if line.startswith("define"))
    assert {pair.name for pair in read_pairs(tmp_path / "corpus", "function")} == {"outer", "twice"}

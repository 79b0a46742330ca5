"""Linking with every linker that is there, with an empty home and cache."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from compiler.native.elf import read_functions
from compiler.native.link import link_shared, linkers
from compiler.native.lower import compile_object
from costmodel.errors import SeercError

ANSWER = "llvm.func @answer() -> i32 { %0 = llvm.mlir.constant(42 : i32) : i32 llvm.return %0 : i32 }"
DT_TEXTREL, DT_SONAME = 22, 14


@pytest.fixture
def answer(tmp_path: Path) -> Path:
    (tmp_path / "answer.o").write_bytes(compile_object(ANSWER, "answer"))
    return tmp_path / "answer.o"


@pytest.mark.parametrize("linker", ["ld", "zig"])
def test_links_with_an_empty_home(answer: Path, tmp_path: Path, linker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if linker not in linkers():
        pytest.skip(f"{linker} is not installed")
    home = tmp_path / "home"
    home.mkdir()
    for variable in ("HOME", "XDG_CACHE_HOME", "ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
        monkeypatch.setenv(variable, str(home))
    link_shared([answer], tmp_path / f"{linker}.so", exports=["answer"], linker=linker)
    library = ctypes.CDLL(str(tmp_path / f"{linker}.so"))
    assert library.answer() == 42
    with pytest.raises(AttributeError):
        getattr(library, "_mlir_answer")  # noqa: B009
    assert [path.name for path in tmp_path.glob("seerc-link-*")] == []


def test_zig_links_where_no_compiler_is(answer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(linkers()) == ["zig"]
    link_shared([answer], tmp_path / "answer.so", exports=["answer"])
    assert ctypes.CDLL(str(tmp_path / "answer.so")).answer() == 42


def test_a_failure_says_why_and_leaves_the_old_library(answer: Path, tmp_path: Path) -> None:
    out = tmp_path / "old.so"
    out.write_bytes(b"old")
    with pytest.raises(SeercError, match=r"linking failed: .*missing\.o"):
        link_shared([answer, tmp_path / "missing.o"], out)
    assert out.read_bytes() == b"old"
    with pytest.raises(SeercError, match="linker 'gold' is not installed"):
        link_shared([answer], out, linker="gold")


def test_reading_what_is_no_object() -> None:
    for data in (b"", b"\x7fELF", b"\x7fELF\x02\x01" + bytes(20), b"garbage" * 100):
        with pytest.raises(SeercError, match="not an ELF64 object"):
            read_functions(data)

"""Each language's sample through its compiler, where that is installed: valid IR, and its functions with their text."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from costmodel.errors import SeercError
from ir_corpus import frontends, llvm
from ir_corpus.compiling import Compiled, compile_file
from ir_corpus.frontends.frontend import Frontend, filled, llvm_major
from ir_corpus.frontends.rules import c, cxx, rust
from ir_corpus.frontends.table import LLVM
from ir_corpus.functions import function_pairs
from ir_corpus.sandbox import Limits

SAMPLES = Path(__file__).parent / "samples"
PRESENT = frontends.chosen()
SLOW = {"zig", "crystal", "python", "nim", "haskell", "mlir"}
# what a function pair must hold: a name, and first and last line of its text
EXPECTED = {
    "c": ("sum", 3, 8),
    "c++": ("total<int>", 3, 6),
    "objective-c": ("-[A add:]", 4, 6),
    "fortran": ("axpy", 1, 6),
    "rust": ("f", 3, 3),
    "d": ("twice!int", 3, 3),
    "nim": ("sum", 1, 3),
    "haskell": ("twice", 9, 10),
    "zig": ("sum", 1, 5),
    "crystal": ("twice", 1, 3),
    "python": ("total", 1, 5),
    "vala": ("twice", 1, 3),
    "opencl": ("axpy", 1, 4),
    "cuda": ("axpy", 2, 2),
    "mlir": ("twice", 1, 4),
    "mlir-stages": ("k1a", 3, 11),
    "faust": None,
    "vhdl": None,
}


def sample(frontend: Frontend) -> Path:
    return next(path for path in sorted(SAMPLES.iterdir()) if path.suffix in frontend.suffixes)


def compiled(frontend: Frontend, level: str) -> Compiled:
    path = sample(frontend)
    return compile_file(frontend, SAMPLES, path.name, level, frontend.rules(path.read_text()), Limits())


@pytest.mark.parametrize(
    "language", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in PRESENT]
)
def test_a_sample_gives_ir_and_functions(language: str) -> None:
    frontend = PRESENT[language]
    done = compiled(frontend, "O0")
    assert done.reason == "", done.message
    assert done.module is not None
    assert llvm.checked(done.module.text) == done.module.text
    assert str(SAMPLES) not in done.module.text
    found = list(function_pairs(done.module, SAMPLES, sample(frontend).name, language, frontend.names, Counter()))
    expected = EXPECTED[language]
    assert expected is None or expected in [(f.name, f.first, f.last) for f in found]
    for function in found:
        assert llvm.checked(function.ir) == function.ir


@pytest.mark.slow
@pytest.mark.parametrize("language", PRESENT)
def test_every_level_twice_gives_the_same_bytes(language: str) -> None:
    frontend = PRESENT[language]
    for level in frontend.levels:
        first, second = compiled(frontend, level), compiled(frontend, level)
        assert first.module is not None, first.message
        assert first.module == second.module


def test_zig_compiles_c_where_clang_is_absent() -> None:
    done = compiled(next(entry for entry in frontends.FRONTENDS if entry.name == "zig-cc"), "Oz")
    assert done.module is not None, done.message
    assert "i32 @sum(ptr" in done.module.text


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("#include </etc/passwd>\n", "rejected"),
        ("int f(void) { return missing; }\n", "rejected"),
        ('#include "a.c"\n#include "a.c"\n', "rejected"),
        pytest.param(
            "#define A(x) x x x x x x x x\nchar s[] = {A(A(A(A(A(A(A(A(A(A(1,))))))))))};\n",
            "timeout|memory|rejected|crash",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_hostile_sources_are_reasons(tmp_path: Path, source: str, reason: str) -> None:
    (tmp_path / "a.c").write_text(source)
    limits = Limits(seconds=3, wall_seconds=60, memory_mib=600)
    assert compile_file(PRESENT["c"], tmp_path, "a.c", "Oz", (), limits).reason in reason.split("|")


def test_every_language_has_a_line_for_the_doctor() -> None:
    lines = {line.language: line for line in frontends.available()}
    assert set(lines) == set(frontends.languages())
    for language in ("go", "swift", "julia"):
        assert not lines[language].found
        assert "no package" in lines[language].note
    assert all(line.install or line.note for line in lines.values())


def test_wrong_languages_are_named() -> None:
    with pytest.raises(SeercError, match="did you mean rust"):
        frontends.chosen(["rusty"])
    with pytest.raises(SeercError, match="no package has it"):
        frontends.chosen(["swift"])
    assert frontends.chosen(["zig-cc"])["c"].name == "zig-cc"


def test_templates_are_filled_once() -> None:
    words = {"source": "{out}/a.c", "out": "/work"}
    assert filled(("cc", "{flags}", "{source}", "-o{out}", "{other}"), words, ["-I."]) == [
        *("cc", "-I.", "{out}/a.c", "-o/work", "{other}")
    ]


def test_rules_read_the_source() -> None:
    assert rust("// edition:2018\nfn main() {}")[:4] == ("--edition", "2018", "--crate-type", "bin")
    assert "lib" in rust("pub fn f() {}")
    assert c("int f(a)\n  int a;\n{ return a; }\n") == ("-std=gnu89",)
    assert cxx("// UNSUPPORTED: c++23, c++26\n") == ("-std=c++20",)


def test_which_llvm_a_compiler_says_it_has() -> None:
    assert llvm_major(("echo", "rustc 1.95.0\nrelease: 1.95.0\nLLVM version: 22.1.2")) == 22
    assert llvm_major(("echo", "no version")) == 0
    assert llvm_major(("seerc-no-such-compiler",)) == 0


def test_text_of_another_llvm_is_read_before_it_is_edited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontends, "llvm_major", lambda command: LLVM - 1)
    assert not any(entry.current for entry in frontends.chosen().values() if entry.states_llvm)
    monkeypatch.setattr(frontends, "llvm_major", lambda command: LLVM)
    assert all(entry.current for entry in frontends.chosen().values() if entry.states_llvm)


RESTLESS = {
    "faust": (
        'import("stdfaust.lib");\nprocess = vgroup("[0]a", hslider("", 1, 0, 2, 1)), (hbargraph("[unit:dB]", 0, 1));\n'
    ),
    "python": 'def f(text: str) -> bool:\n    return text.startswith("ab")\n',
    "zig": (
        'const std = @import("std");\n\ntest "print" {\n    std.debug.print("a {d}\\n", .{1});\n'
        '    try std.testing.expectEqualStrings("b", "b");\n}\n'
    ),
}
"""Sources whose compilers name things by addresses, by hashes with a seed, by the order in which threads end."""


@pytest.mark.slow
@pytest.mark.parametrize("language", RESTLESS.keys() & PRESENT.keys())
def test_a_compiler_that_names_things_anew_each_time_is_held_to_one_way(tmp_path: Path, language: str) -> None:
    frontend = PRESENT[language]
    file = tmp_path / f"a{frontend.suffixes[0]}"
    file.write_text(RESTLESS[language])
    done = [compile_file(frontend, tmp_path, file.name, "O2", (), Limits()) for _ in range(2)]
    assert [one.message for one in done if one.reason] == []
    assert len({one.module.text for one in done if one.module}) == 1

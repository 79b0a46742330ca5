"""The text of a function, by the rules of each language's brackets, indentation and END lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ir_corpus.spans import line_of, span

CASES = {
    "c": ("/* x */\nstatic int\nf(int a)\n{\n  if (a) { puts(\"}\"); }\n  return '}';\n}\nint g;\n", 3, (2, 7)),
    "c++": ("int x;\ntemplate <class T>\nT f(T a) { // {\n  return a;\n}\n", 3, (2, 5)),
    "rust": (
        "use x;\n#[inline]\npub fn f<'a>(s: &'a str) -> char {\n    if s == \"{\" { '}' } else { 'x' }\n}\n",
        3,
        (2, 5),
    ),
    "d": ("int f(int x) => x * 2;\nint g() { return 1; }\n", 1, (1, 1)),
    "python": ("x = 1\n@njit\ndef f(a):\n    if a:\n\n        return 1\n    return 2\ny = 2\n", 3, (2, 7)),
    "nim": ("proc f*(a: int): int =\n  result = a\n\necho f(1)\n", 1, (1, 2)),
    "haskell": ("f :: Int -> Int\nf 0 = 1\nf n = n\n  where\n    m = 1\n\ng = f\n", 2, (1, 5)),
    "crystal": ("def f(x)\n  if x\n    1\n  end\nend\nputs 1\n", 1, (1, 5)),
    "fortran": (
        "      subroutine f(x)\n      if (x) then\n      end if\n      END SUBROUTINE f\n      end\n",
        1,
        (1, 4),
    ),
    "mlir": ("module {\n  func.func @f() attributes {a = {b}} {\n    g {\n    }\n    return\n  }\n}\n", 2, (2, 6)),
    "zig": ("const x = 1;\npub fn f(a: i32) i32 {\n    return switch (a) { else => 1 };\n}\n", 2, (2, 4)),
}


@pytest.mark.parametrize("language", CASES)
def test_first_and_last_line(language: str) -> None:
    text, line, expected = CASES[language]
    assert span(text.splitlines(), line, language) == expected


def test_a_declaration_has_no_span() -> None:
    assert span(["int f(int);", "int g(void) { return 1; }"], 1, "c") is None
    assert span(["int f(int) {"], 1, "c") is None
    assert span(["int f(int) {}"], 9, "c") is None


def test_lines_without_debug_info() -> None:
    lines = ["total :: Int", "total = twice 1", "twice x = x"]
    assert line_of(lines, "total", "haskell") == 2
    assert line_of(lines, "twice", "haskell") == 3
    assert line_of(["  func.func @f(%x: i32) {", "  func.func @ff() {"], "f", "mlir") == 1
    assert line_of(["int twice (int x) {", "print (twice (2));"], "twice", "vala") == 1


@given(st.text(alphabet="{}()\"'/*\n;ab =>", max_size=120), st.integers(1, 8), st.sampled_from(sorted(CASES)))
def test_a_span_lies_in_the_file(text: str, line: int, language: str) -> None:
    lines = text.splitlines()
    found = span(lines, line, language)
    assert found is None or 1 <= found[0] <= line <= found[1] <= len(lines)

"""Where a function's text begins and ends, from the line of its declaration: by brackets, indentation or END lines."""

from __future__ import annotations

import re
from collections.abc import Sequence

_BRACES = frozenset(
    {"c", "c++", "objective-c", "rust", "d", "zig", "cuda", "opencl", "vala", "mlir", "mlir-stages", "swift", "go"}
)
_MLIR = frozenset({"mlir", "mlir-stages"})
_INDENTED = frozenset({"python", "nim", "haskell", "crystal", "mojo"})
_CODE = re.compile(
    r"//[^\n]*|/\*.*?\*/|/\+.*?\+/|r#+\".*?\"#+|\"(?:\\.|[^\"\\])*\"|`[^`]*`|'(?:\\.[^']{0,8}|[^'\\\n])'|[{}();]|=>",
    re.DOTALL,
)
_FORTRAN_END = re.compile(
    r"^\s*(?:\d+\s+)?end\s*(?:(?:subroutine|function|program|procedure)(?:\s+\w+)?)?\s*(?:!.*)?$", re.I
)
_BREAK = re.compile(r"[;{}]\s*(?://.*)?$|\*/\s*$|^\s*(?://|#\s*(?:if|el|en|inc|def|und|pra|line)|/\*|\*|$)|:\s*$")
_MAX_LINES = 2_000


def span(lines: Sequence[str], line: int, language: str) -> tuple[int, int] | None:
    """First and last line (from 1, both included) of the function declared at `line`; None if its end is not found.

    The span begins with the lines above that belong to the declaration: attributes, template heads, return types.
    """
    if not 1 <= line <= len(lines):
        return None
    window = lines[line - 1 : line - 1 + _MAX_LINES]
    if language in _MLIR and window[0].rstrip().endswith("{"):
        length = _closed(window)  # a header has brackets of its own: attributes {...} {
    elif language in _BRACES:
        length = _braces(window)
    elif language in _INDENTED:
        length = _indented(window, language)
    else:
        length = _fortran(window) if language == "fortran" else None
    if length is None:
        return None
    return _begin(lines, line, language), line + length - 1


def _begin(lines: Sequence[str], line: int, language: str) -> int:
    start = line
    if language == "haskell":
        name = lines[line - 1].split(" ")[0]
        return line - 1 if line > 1 and lines[line - 2].startswith(f"{name} ::") else line
    if language == "fortran":
        return line
    indented = language in _INDENTED
    while start > 1 and line - start < 8:
        above = lines[start - 2]
        if indented and not above.lstrip().startswith("@"):
            break
        if not indented and _BREAK.search(above) and not above.lstrip().startswith(("#[", "@")):
            break
        start -= 1
    return start


def _braces(window: Sequence[str]) -> int | None:
    """Lines until the bracket that closes the body, or until the `;` of a body that is one expression."""
    text, depth, arrow, round_depth = "\n".join(window), 0, False, 0
    for found in _CODE.finditer(text):
        word = found[0]
        if word in "()":
            round_depth += 1 if word == "(" else -1
        elif word == "=>":
            arrow = depth == 0
        elif word == ";" and depth == 0 and round_depth <= 0:
            return text.count("\n", 0, found.end()) + 1 if arrow else None
        elif word == "{":
            depth += 1
        elif word == "}":
            depth -= 1
            if depth <= 0 and round_depth <= 0:
                return text.count("\n", 0, found.end()) + 1 if depth == 0 else None
    return None


def _closed(window: Sequence[str]) -> int | None:
    """Lines until a bracket alone, as deep as the first line."""
    indent = _indent(window[0])
    return next((n for n, text in enumerate(window, 1) if text.strip() == "}" and _indent(text) == indent), None)


def _indented(window: Sequence[str], language: str) -> int | None:
    """Lines that are deeper than the first one; Haskell's further equations and Crystal's `end` belong to it."""
    first = window[0]
    indent = _indent(first)
    name = first.split(" ")[0] if language == "haskell" else ""
    last = 1
    for number, text in enumerate(window[1:], start=2):
        if not text.strip():
            continue
        closes = language == "crystal" and text.strip() == "end" and _indent(text) == indent
        again = bool(name) and text.startswith((f"{name} ", f"{name}\t"))
        if _indent(text) <= indent and not again and not closes and not text.lstrip().startswith(")"):
            break
        last = number
        if closes:
            break
    return last


def _indent(text: str) -> int:
    expanded = text.expandtabs(8)
    return len(expanded) - len(expanded.lstrip())


def _fortran(window: Sequence[str]) -> int | None:
    return next((n for n, text in enumerate(window, 1) if n > 1 and _FORTRAN_END.match(text)), None)


def line_of(lines: Sequence[str], name: str, language: str) -> int | None:
    """The line that defines `name` where there is no debug info; None if no line or several look like it."""
    word = re.escape(name)
    patterns = {
        "haskell": rf"^{word}(?=\s|$)(?!\s*::)",
        "mlir-stages": rf"\bfunc\b.*@{word}\(.*\{{$",
        "mlir": rf"\bfunc(?:\.func)?\b.*@\"?{word}\"?\(",
        "vala": rf"\b{word}\s*\([^;]*$",
        "python": rf"^\s*def {word}\(",
    }
    pattern = re.compile(patterns.get(language, rf"\b{word}\s*\("))
    found = [number for number, text in enumerate(lines, 1) if pattern.search(text)]
    return found[0] if found and (len(found) == 1 or language == "haskell") else None

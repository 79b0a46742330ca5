"""A hash of IR that does not see names: equal for two functions that compute the same by the same instructions."""

from __future__ import annotations

import hashlib
import re

_NAME = re.compile(r'[@%$](?:"[^"]*"|[-\w.$]+)|"[^"]*"|#\d+')


def canonical_hash(ir: str) -> str:
    """SHA-256 over a printed module whose globals, types and locals are numbered in order of appearance.

    Strings stay, names of intrinsics stay (they are operations), attribute groups and target lines go.
    """
    numbers: dict[str, str] = {}

    def numbered(match: re.Match[str]) -> str:
        word = match[0]
        known = numbers.get(word)
        if known is not None:
            return known
        if word[0] == '"' or word.startswith("@llvm."):
            return word
        if word[0] == "#":
            return ""
        number = numbers[word] = f"{word[0]}{len(numbers)}"
        return number

    lines = (line for line in ir.split("\n") if line and not line.startswith(("target ", "attributes ", "!")))
    bodies = sorted(_sections(list(lines)), key=lambda section: not section.startswith("define"))
    return hashlib.sha256(_NAME.sub(numbered, "\n".join(bodies)).encode()).hexdigest()


def _sections(lines: list[str]) -> list[str]:
    """Function bodies as one section each, every other line as its own: names are numbered from the bodies first."""
    sections, current = list[str](), list[str]()
    for line in lines:
        if line.startswith("define ") or current:
            current.append(line)
            if line == "}":
                sections.append("\n".join(current))
                current = []
        else:
            sections.append(line)
    return [*sections, *current]

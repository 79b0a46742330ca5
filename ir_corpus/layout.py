"""The text of a small module, put together from parts of a larger one that our LLVM printed.

Every function's module is parsed and verified; to print it again is not needed where its text can be told from its
parts. Where LLVM might order or number something in a way that is not told here, the module is printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ir_corpus.ir_text import OUTSIDE_STRINGS

_WITHOUT_NAME = re.compile(r"[@%]\d|(?:define|declare) [^\n]*?@\d")
_GROUP = re.compile(r" (#\d+)" + OUTSIDE_STRINGS)


@dataclass(frozen=True)
class Parts:
    """A module: its functions as one text each, all else by lines, in the order in which it is written."""

    heads: list[str]
    types: list[str]
    variables: list[str]
    functions: list[str]
    declarations: list[str]
    attributes: list[str]
    nodes: list[str]


def joined(parts: Parts) -> str:
    """A text of the module, which LLVM may order, number and space in another way."""
    sections = (parts.heads, parts.types, parts.variables, parts.functions, parts.declarations, parts.attributes)
    return _spaced("\n".join(lines) for lines in (*sections, parts.nodes))


def as_printed(parts: Parts) -> str | None:
    """The text of a module of one function as LLVM prints it; None where that is not told by the parts."""
    code, numbers = [*parts.functions, *parts.declarations], _numbers(parts)
    attributes = {line.split(" ", 2)[1]: line for line in parts.attributes}
    if not _told(parts) or numbers.keys() != attributes.keys():
        return None
    if any(group != number for group, number in numbers.items()):
        code = [_renumbered(text, numbers) for text in code]
    groups = (attributes[group].replace(group, number, 1) for group, number in numbers.items())
    before = ("\n".join(lines) for lines in (parts.heads, parts.types, parts.variables))
    return _spaced((*before, *code, "\n".join(groups)))


def _told(parts: Parts) -> bool:
    """LLVM orders types by their first use, and numbers nodes and what has no name anew; that is left to it."""
    lines = (*parts.types, *parts.variables, *parts.functions, *parts.declarations)
    several = len(parts.functions) > 1 or len(parts.types) > 1 or parts.nodes
    return not several and not any(map(_WITHOUT_NAME.match, lines)) and not any(map(_GROUP.search, parts.variables))


def _numbers(parts: Parts) -> dict[str, str]:
    """The number of each group of attributes: first come those of functions, in their order, then those of calls."""
    headers = (text.partition("\n")[0] for text in parts.functions)
    groups = (group for text in (*headers, *parts.declarations, *parts.functions) for group in _GROUP.findall(text))
    return {group: f"#{number}" for number, group in enumerate(dict.fromkeys(groups))}


def _renumbered(text: str, numbers: dict[str, str]) -> str:
    words = _GROUP.split(text)
    words[1::2] = [f" {numbers[group]}" for group in words[1::2]]
    return "".join(words)


def _spaced(sections: Iterable[str]) -> str:
    return "\n\n".join(filter(None, sections)) + "\n"

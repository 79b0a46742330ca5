"""SSA names of LLVM IR text, renumbered: what a front end called its values says nothing that the IR does not."""

from __future__ import annotations

import re

_LEXEME = re.compile(
    r'^(?P<label>"[^"]*"|[\w.$-]+):(?=\s|$)'
    r'|(?P<value>%(?:"[^"]*"|[\w.$-]+))'
    r'|"(?:[^"\\]|\\.)*"'  # a string: not read
    r"|(?P<comment>[ \t]*;[^\n]*)",
    re.MULTILINE,
)
_LABELLED = re.compile(r'\s*(?:"[^"]*"|[\w.$-]+):(?:\s|$)')
_TYPE = re.compile(r'^(%(?:"[^"]*"|[\w.$-]+)) = type\b', re.MULTILINE)
_DEFINE = re.compile(r"^define\b.*?^\}", re.MULTILINE | re.DOTALL)


def renumber(ir: str) -> str:
    """The module with the values and blocks of every function called %v0, %v1, ... in the order of their first mention.

    Such names are valid in any order, where LLVM's own numbers must follow that of the definitions, so a writer that
    slips once still writes valid IR. Names of types and globals stay; comments in functions go. An entry block that is
    referred to by number gets a label.
    """
    types = frozenset(_TYPE.findall(ir))
    return _DEFINE.sub(lambda function: _function(function[0], types), ir)


def _function(text: str, types: frozenset[str]) -> str:
    names: dict[str, str] = {}

    def name(old: str) -> str:
        return names.setdefault(old, f"%v{len(names)}")

    def replaced(found: re.Match[str]) -> str:
        if found["value"]:
            return found[0] if found[0] in types else name(_plain(found[0]))
        if found["label"]:
            return name(_plain(f"%{found['label']}"))[1:] + ":"
        return "" if found["comment"] else found[0]

    head, brace, body = text.partition("{\n")
    new_head = _LEXEME.sub(replaced, head)
    entry = _entry_number(head)
    if _LABELLED.match(body) or not any(found["value"] == entry for found in _LEXEME.finditer(body)):
        return new_head + brace + _LEXEME.sub(replaced, body)
    label = name(entry)[1:]
    return f"{new_head}{brace}{label}:\n{_LEXEME.sub(replaced, body)}"


def _plain(name: str) -> str:
    """`%"a"` and `%a` are one name."""
    return name.replace('"', "")


def _entry_number(head: str) -> str:
    """What an entry block without a label is called: the number after those of the unnamed arguments."""
    numbers = [int(n) for n in re.findall(r"%(\d+)\b", head)]
    return f"%{max(numbers, default=-1) + 1}"

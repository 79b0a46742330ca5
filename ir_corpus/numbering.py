"""Local values and blocks by number, in the text of a module as our LLVM printed it."""

from __future__ import annotations

import re
from collections.abc import Set

from ir_corpus.ir_text import argument_names, split_functions

_NAME = r'"[^"]*"|[a-zA-Z0-9_.$-]+'
_TYPE = re.compile(rf"\n%({_NAME}) = type ")
_ADDRESSED = re.compile(rf"blockaddress\(@({_NAME}),")
_WORD = re.compile(rf'(["%\n](?:(?<=\n)(?:{_NAME})(?=:)|(?<=%)(?:{_NAME})|(?<=")[^"]*"))')  # locals, labels, strings
_LOCAL = re.compile(rf"\n(?:({_NAME}):|\s+%({_NAME}) = )")
_NAMED = re.compile(r"\n(?:\s+%\D|[^\s\d}])")
_IN_HEADER = re.compile(rf"%({_NAME})")
_LABELLED_ENTRY = re.compile(rf"[^\n]*\n+(?:{_NAME}):")


def numbered(text: str) -> str:
    """Every local value and label by number, as LLVM prints a module whose local names were discarded.

    A function in which a local name is also the name of a type stays as it is: the text alone cannot tell them apart.
    So does one whose blocks have their address taken elsewhere.
    """
    parts = split_functions(text)
    types = {name for part in parts[::2] for name in _TYPE.findall(f"\n{part}")}
    addressed = tuple(f"@{name}(" for name in set(_ADDRESSED.findall(text)))
    parts[1::2] = [_renumbered(part, types, addressed) for part in parts[1::2]]
    return "".join(parts)


def _renumbered(function: str, types: Set[str], addressed: tuple[str, ...]) -> str:
    header = function[: function.index("\n")]
    if _has_numbers(function, header, types) or any(name in header for name in addressed):
        return function
    found = _LOCAL.findall(function)
    names = [*_first_names(function, header), *(label or result for label, result in found)]
    if all(map(str.isdigit, names)) or not types.isdisjoint(names):
        return function
    numbers = {f"%{name}": f"%{number}" for number, name in enumerate(names)}
    numbers |= {f"\n{label}": f"\n{numbers[f'%{label}'][1:]}" for label, _ in found if label}
    words = _WORD.split(function)
    words[1::2] = [numbers.get(word, word) for word in words[1::2]]
    return "".join(words)


def _has_numbers(function: str, header: str, types: Set[str]) -> bool:
    """Whether one look tells that all is numbered: compilers that discard names are the usual case."""
    return _NAMED.search(function) is None and all(
        name.isdigit() or name in types for name in _IN_HEADER.findall(header)
    )


def _first_names(function: str, header: str) -> list[str]:
    """What LLVM numbers before blocks and results in their order: arguments, and an entry block without a label."""
    names = list(argument_names(header))
    if _LABELLED_ENTRY.match(function):
        return names
    return [*names, str(sum(map(str.isdigit, names)))]  # it has the number after the unnamed arguments

"""Where functions stand in the source, read from the debug info of printed IR."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SUBPROGRAM = re.compile(r"^!(\d+) = distinct !DISubprogram\((.*)\)$", re.MULTILINE)
_FILE = re.compile(r'^!(\d+) = !DIFile\(filename: "([^"]*)"(?:, directory: "([^"]*)")?', re.MULTILINE)
_DEFINE = re.compile(r'^define [^\n]*?@("[^"]*"|[-\w.$]+)\([^\n]*!dbg !(\d+)[^\n]*\{$', re.MULTILINE)
_NAME = re.compile(r'\bname: "([^"]*)"')
_FILE_ID = re.compile(r"\bfile: !(\d+)")
_LINE = re.compile(r"\bline: (\d+)")


@dataclass(frozen=True)
class Place:
    """A function's source name, the file as the compiler wrote it, and the line (from 1) of its declaration."""

    name: str
    file: str
    line: int


def places(text: str) -> dict[str, Place]:
    """Symbol -> place for every defined function that carries a DISubprogram with a line of a file."""
    files = {number: _joined(folder, name) for number, name, folder in _FILE.findall(text)}
    subprograms = {number: _place(fields, files) for number, fields in _SUBPROGRAM.findall(text)}
    found = {symbol.strip('"'): subprograms.get(number) for symbol, number in _DEFINE.findall(text)}
    return {symbol: place for symbol, place in found.items() if place is not None}


def _place(fields: str, files: dict[str, str]) -> Place | None:
    name, file, line = _NAME.search(fields), _FILE_ID.search(fields), _LINE.search(fields)
    if not (name and file and line) or file[1] not in files or "DIFlagArtificial" in fields:
        return None
    return Place(_unescaped(name[1]), _unescaped(files[file[1]]), int(line[1]))


def _joined(folder: str, name: str) -> str:
    return name if name.startswith("/") or not folder else f"{folder}/{name}"


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-9A-Fa-f]{2})", lambda match: chr(int(match[1], 16)), text)

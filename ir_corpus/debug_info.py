"""Where functions stand in the source, read from the debug info of printed IR."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SUBPROGRAM = re.compile(r"\n!(\d+) = distinct !DISubprogram\((.*)\)")
_FILE = re.compile(r'\n!(\d+) = !DIFile\(filename: "([^"]*)"(?:, directory: "([^"]*)")?')
_DEFINE = re.compile(r'\ndefine [^\n]*?@("[^"]*"|[-\w.$]+)\([^\n]*!dbg !(\d+)[^\n]*\{(?=\n)')
_NAME = re.compile(r'name: "([^"]*)"')
_FILE_ID = re.compile(r" file: !(\d+)")
_LINE = re.compile(r" line: (\d+)")


@dataclass(frozen=True)
class Place:
    """A function's source name, the file as the compiler wrote it, and the line (from 1) of its declaration."""

    name: str
    file: str
    line: int


def places(code: str, metadata: str) -> dict[str, Place]:
    """Symbol -> place for every defined function that carries a DISubprogram with a line of a file.

    `code` and `metadata` are the module as `ir_corpus.stripping.parted` gives it.
    """
    files = {number: _joined(folder, name) for number, name, folder in _FILE.findall(metadata)}
    fields = dict(_SUBPROGRAM.findall(metadata))
    defined = _DEFINE.findall(code)
    found = ((symbol.strip('"'), _place(fields.get(number, ""), files)) for symbol, number in defined)
    return {symbol: place for symbol, place in found if place is not None}


def _place(fields: str, files: dict[str, str]) -> Place | None:
    name, file, line = _NAME.search(fields), _FILE_ID.search(fields), _LINE.search(fields)
    if not (name and file and line) or file[1] not in files or "DIFlagArtificial" in fields:
        return None
    return Place(_unescaped(name[1]), _unescaped(files[file[1]]), int(line[1]))


def _joined(folder: str, name: str) -> str:
    return name if name.startswith("/") or not folder else f"{folder}/{name}"


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-9A-Fa-f]{2})", lambda match: chr(int(match[1], 16)), text)

"""Function pairs: the source text of each function of a compiled file, and the smallest valid module that holds it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ir_corpus import llvm, slicing, spans
from ir_corpus.debug_info import Place

_MAX_FUNCTIONS = 4_000
_GHC = re.compile(r"^(?:\w*?_)??([A-Za-z0-9]+)(?:_[rs]\w{2,5})?_(?:info|slow)\$def$")
_LOOP = "..omp_par"  # in the symbol of a loop of OpenMP, after that of its function
_CONSTRUCTORS = {"__ctor": "this", "__dtor": "~this", "__postblit": "this", "__xdtor": "~this"}
_GHC_PART = re.compile(r"^(?:_c\w{2,5}|[cs]\w{2,5}_info)\$def$")
_Z = {"zd": "$", "zu": "_", "zq": "'", "zi": ".", "zh": "#", "zz": "z", "ZZ": "Z", "zp": "+", "zm": "-", "zt": "*"}


@dataclass(frozen=True)
class FunctionText:
    """A function as people wrote it and as LLVM prints it; lines count from 1, both included."""

    symbol: str
    name: str
    file: str
    first: int
    last: int
    source: str
    ir: str


def function_pairs(
    module: llvm.Module, root: Path, path: str, language: str, names: str, reasons: Counter[str]
) -> Iterator[FunctionText]:
    """Every function of a module whose source text is found inside the package.

    Args:
        module: what the compiler wrote, normalised.
        root: the package's folder.
        path: the compiled file, relative to it.
        language: decides how the end of a function is found.
        names: `debug` where debug info gives places, `sidecar` a file
            beside the IR, `symbol` where symbols tell the names, `none` for no functions at all.
        reasons: counts why functions gave no pair.
    """
    if names == "none":
        return
    files = _Lines(root)
    parts = slicing.read(module.text)
    places = _by_symbol(parts, files.of(path), path, language) if names == "symbol" else module.places
    loops = [name for name in parts.definitions if _LOOP in name]
    for symbol in list(parts.definitions)[:_MAX_FUNCTIONS]:
        place = places.get(symbol)
        if place is None:
            reasons["function: no place in the package"] += 1
            continue
        found = spans.span(files.of(place.file), place.line, language)
        if found is None:
            reasons["function: end not found"] += 1
            continue
        text = "\n".join(files.of(place.file)[found[0] - 1 : found[1]]) + "\n"
        if not _mentions(text, place.name):
            reasons["function: made by the compiler"] += 1
            continue
        try:
            ir = llvm.of_parts(slicing.smallest(parts, _together(parts, symbol, language, loops)))
        except (slicing.NoSlice, ValueError):
            reasons["function: cannot stand alone"] += 1
        except llvm.BadIR as error:
            reasons[f"function: {error.reason}"] += 1
        else:
            yield FunctionText(symbol, place.name, place.file, *found, text, ir)


class _Lines:
    """The lines of a package's files, read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[str, list[str]] = {}

    def of(self, path: str) -> Sequence[str]:
        if path not in self._read:
            file = self._root / path
            inside = file.resolve().is_relative_to(_resolved(self._root))
            raw = file.read_bytes() if inside and file.is_file() and file.stat().st_size < 8 << 20 else b""
            self._read[path] = raw.decode("utf-8", errors="replace").splitlines()
        return self._read[path]


@cache
def _resolved(root: Path) -> Path:
    return root.resolve()


def _by_symbol(parts: slicing.ModuleText, lines: Sequence[str], path: str, language: str) -> dict[str, Place]:
    """Places of functions whose symbols are, or hold, the name that the source gives them."""
    found = dict[str, Place]()
    for symbol in parts.definitions:
        named = ((name, spans.line_of(lines, name, language)) for name in _names(symbol, language))
        place = next((Place(name, path, line) for name, line in named if line is not None), None)
        if place is not None:
            found[symbol] = place
    return found


def _names(symbol: str, language: str) -> Iterator[str]:
    """What a symbol may be called in the source, the longest first: Vala puts the names of classes in front."""
    if language == "haskell":
        yield from filter(None, [_haskell_name(symbol)])
    elif language == "vala":
        words = symbol.split("_")
        yield from ("_".join(words[start:]) for start in range(len(words)))
    else:
        yield symbol


def _mentions(source: str, name: str) -> bool:
    """Whether a text holds the identifier of a function; what has none (operators) is taken on trust."""
    short = _CONSTRUCTORS.get(name, name).rpartition("::")[2].rpartition(".")[2]
    found = re.search(r"[A-Za-z_]\w*", short)
    word = found[0].split("__")[0] or found[0] if found else ""
    return not word or word == "operator" or word.lower() in source.lower()


def _haskell_name(symbol: str) -> str:
    """The name in a GHC symbol (z-encoding undone, worker mark off); empty for blocks that GHC made itself."""
    match = _GHC.match(symbol)
    if match is None or _GHC_PART.match(symbol):
        return ""
    name = re.sub(r"z[duqihzpmt]|ZZ", lambda z: _Z[z[0]], match[1])
    return name.removeprefix("$w")


def _together(parts: slicing.ModuleText, symbol: str, language: str, loops: Sequence[str]) -> list[str]:
    """The functions that make up one of the source: GHC makes a chain of continuations, OpenMP one of each loop."""
    if language != "haskell":
        return [symbol, *(name for name in loops if name.startswith(f"{symbol}{_LOOP}"))]
    found, queue = {symbol: None}, [symbol]
    while queue:
        for name in re.findall(r'@"([^"]*\$def)"', parts.definitions[queue.pop()]):
            if name not in found and _GHC_PART.match(name) and name in parts.definitions:
                found[name] = None
                queue.append(name)
    return list(found)

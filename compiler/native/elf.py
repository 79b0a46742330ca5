"""Just enough of an ELF64 reader: the functions of a relocatable object and their code."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from costmodel.errors import SeercError

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QIIq")
_EXECUTABLE, _SYMBOLS, _RELOCATIONS, _FUNCTION = 4, 2, 4, 2


@dataclass(frozen=True)
class Relocation:
    """`offset` is relative to the function; `symbol` is a name, or the section's name for a section symbol."""

    offset: int
    kind: int
    symbol: str
    value: int
    addend: int


@dataclass(frozen=True)
class Function:
    """A function of the object; `address` is its offset in the section."""

    name: str
    section: str
    address: int
    code: bytes
    relocations: tuple[Relocation, ...] = ()


def read_functions(data: bytes) -> list[Function]:
    """Every function in executable sections, in the symbol table's order; SeercError if this is no ELF64 object."""
    try:
        return _Reader(data).functions()
    except (struct.error, IndexError, ValueError) as error:
        raise SeercError(f"not an ELF64 object file: {error}") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        header = _HEADER.unpack_from(data)
        if header[0][:6] != b"\x7fELF\x02\x01":
            raise ValueError("no ELF64 magic")
        start, size, count, names = header[6], header[11], header[12], header[13]
        self.sections = [_SECTION.unpack_from(data, start + i * size) for i in range(count)]
        self.names = [self._string(names, section[0]) for section in self.sections]

    def functions(self) -> list[Function]:
        symbols = self._symbols()
        relocations = self._relocations(symbols)
        found: list[Function] = []
        for name, info, index, value, size in symbols:
            if (
                info & 15 != _FUNCTION
                or not 0 < index < len(self.sections)
                or not self.sections[index][2] & _EXECUTABLE
            ):
                continue
            code = self._content(index)[value : value + size]
            inside = tuple(
                Relocation(r.offset - value, r.kind, r.symbol, r.value, r.addend)
                for r in relocations.get(index, ())
                if value <= r.offset < value + size
            )
            found.append(Function(name, self.names[index], value, code, inside))
        return found

    def _content(self, index: int) -> bytes:
        offset, size = self.sections[index][4:6]
        return self.data[offset : offset + size]

    def _string(self, section: int, offset: int) -> str:
        start = self.sections[section][4] + offset
        return self.data[start : self.data.index(b"\0", start)].decode()

    def _symbols(self) -> list[tuple[str, int, int, int, int]]:
        found: list[tuple[str, int, int, int, int]] = []
        for index, section in enumerate(self.sections):
            if section[1] == _SYMBOLS:
                for name, info, _, where, value, size in _SYMBOL.iter_unpack(self._content(index)):
                    is_section = info & 15 == 3 and where < len(self.names)
                    text = self.names[where] if is_section else self._string(section[6], name)
                    found.append((text, info, where, value, size))
        return found

    def _relocations(self, symbols: list[tuple[str, int, int, int, int]]) -> dict[int, list[Relocation]]:
        """By the index of the section that they patch."""
        found: dict[int, list[Relocation]] = {}
        for index, section in enumerate(self.sections):
            if section[1] == _RELOCATIONS:
                for offset, kind, symbol, addend in _RELOCATION.iter_unpack(self._content(index)):
                    name, _, _, value, _ = symbols[symbol]
                    found.setdefault(section[7], []).append(Relocation(offset, kind, name, value, addend))
        return found

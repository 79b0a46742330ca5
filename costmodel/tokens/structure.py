"""Our reading: sub-words for names, numbers as numbers, affine maps as dimensions with coefficients.

`tensor<8x32xf32>` reads `tensor 8 32 f32` and `affine_map<(d0, d1) -> (d0, d1 * 2)>` reads `map d0 | d1*2`, where
numbers are channels beside one `<number>` word or beside the dimension's word. An operand is `%` with the distance to
where its value was defined, so that SSA names leave no trace. The vocabulary is small and no shape is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from costmodel.affine import parse_map
from costmodel.errors import SeercError
from costmodel.schedules import ALGORITHMS, DEFAULTS, ORDERS, parse_schedule
from costmodel.syntax import Group, Statement, Token, dictionary
from costmodel.tokens.word import NUMBER, Word

_SILENT = frozenset({"array", "attrs", "attributes", "indexing_maps", "iterator_types"})
"""Words that stand in every op alike."""
_UNREAD = frozenset({"seerc.root", "seerc.schedule"})
"""The mark of the root goes and comes with the schedule; the schedule is read by itself."""
_LEXEME = re.compile(r"[A-Za-z_]\w*|-?\d+")
_SHAPE = re.compile(r"(\w+)<((?:\s*(?:\d+|\?|\*|\[\d+\])\s*x)*)(.*)>", re.DOTALL)


def structure_words(function: Statement) -> Iterator[Word]:
    """Words of one function."""
    return _Reading().statement(function, 0)


def schedule_words(attribute: str) -> Iterator[Word]:
    """One word a field, with the field's value as its number; names as `algorithm.direct`."""
    for key, value in sorted(zip(DEFAULTS, parse_schedule(attribute), strict=True)):
        names = {"algorithm": ALGORITHMS, "order": ORDERS}.get(key)
        yield Word(f"{key}.{names[int(value)]}") if names else Word(key, value)


@dataclass
class _Reading:
    """Reads statements; knows where each value was defined."""

    places: dict[str, int] = field(default_factory=dict[str, int])

    def statement(self, statement: Statement, depth: int) -> Iterator[Word]:
        if statement.name.startswith("^"):
            yield Word("^", depth=depth)
        else:
            dialect, _, name = statement.name.rpartition(".")
            yield from (Word(part, depth=depth) for part in (dialect, name) if part)
        yield from self._items(statement.items, depth)
        for result in statement.results:
            self._place(result.partition(":")[0])

    def _items(self, items: Iterable[Token | Group], depth: int) -> Iterator[Word]:
        for item in items:
            if isinstance(item, Token):
                yield from self._token(item, depth)
            elif item.region is not None:
                for statement in item.region:
                    yield from self.statement(statement, depth + 1)
            elif item.opener == "{":
                yield from self._dictionary(item, depth)
            else:
                yield from self._items(item.items, depth)

    def _dictionary(self, group: Group, depth: int) -> Iterator[Word]:
        for key, items in dictionary(group).items():
            if key not in _UNREAD:
                yield from () if key in _SILENT else (Word(key, depth=depth),)
                yield from self._items(items, depth)

    def _token(self, token: Token, depth: int) -> Iterator[Word]:
        kind, text = token.kind, token.text
        if kind == "ssa":
            name = text.partition("#")[0]
            yield Word("%", float(len(self.places) - self._place(name)), depth)
        elif kind == "number":
            yield Word(NUMBER, _value(text), depth)
        elif kind == "shaped":
            yield from _type_words(text, depth)
        elif kind == "map":
            yield from _map_words(text, depth)
        elif kind in ("word", "string", "alias") and text not in _SILENT:
            yield Word(text.strip('"'), depth=depth)

    def _place(self, name: str) -> int:
        return self.places.setdefault(name, len(self.places))


def _value(text: str) -> float:
    if text.lstrip("-").startswith("0x"):
        return float(int(text, 16))
    return float(text)


def _type_words(text: str, depth: int) -> Iterator[Word]:
    match = _SHAPE.fullmatch(text)
    if match is None:
        yield from _lexemes(text, depth)
        return
    yield Word(match.group(1), depth=depth)
    for size in re.findall(r"\d+|\?|\*", match.group(2)):
        yield Word(NUMBER, float(size), depth) if size.isdigit() else Word(size, depth=depth)
    yield from _lexemes(match.group(3), depth)


def _map_words(text: str, depth: int) -> Iterator[Word]:
    """`map d0 | d1*2 + 3`; maps with symbols and integer sets as their lexemes."""
    try:
        results = parse_map(text)
    except SeercError:
        yield from _lexemes(text, depth)
        return
    yield Word("map", depth=depth)
    for i, result in enumerate(results):
        yield from (Word("|", depth=depth),) if i else ()
        yield from () if result.linear else (Word("nonlinear", depth=depth),)
        yield from (Word(f"d{d}", float(c), depth) for d, c in result.terms)
        yield from (Word(NUMBER, float(result.constant), depth),) if result.constant or not result.terms else ()


def _lexemes(text: str, depth: int) -> Iterator[Word]:
    for lexeme in _LEXEME.findall(text):
        number = lexeme.lstrip("-").isdigit()
        yield Word(NUMBER, float(lexeme), depth) if number else Word(lexeme, depth=depth)

"""The two readings of the seed paper (Das & Mannarswamy, arXiv 2302.11405): op names, and op names with operands.

Numbers are part of the words, so a shape that training never saw is `<unk>`: the limit that `structure` lifts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from costmodel.schedules import DEFAULTS, parse_schedule
from costmodel.syntax import Group, Statement, Token
from costmodel.tokens.word import Word

SCALARS = frozenset("i1 i8 i16 i32 i64 f16 bf16 f32 f64 index".split())


def op_words(function: Statement) -> Iterator[Word]:
    """Names of the ops in order, those of regions after the op that holds them."""
    if not function.name.startswith("^"):
        yield Word(function.name)
    for region in _regions(function.items):
        for statement in region:
            yield from op_words(statement)


def operand_words(function: Statement) -> Iterator[Word]:
    """Each op's results, name, operands by position and whole types (`tensor<8x32xf32>`), regions after the op."""
    yield from (Word(r) for r in function.results)
    yield Word("^" if function.name.startswith("^") else function.name)
    yield from (Word(t) for t in _operands(function.items))
    for region in _regions(function.items):
        for statement in region:
            yield from operand_words(statement)


def schedule_fields(attribute: str) -> Iterator[Word]:
    """`rows=4`: one word a field of a schedule."""
    for key, value in sorted(zip(DEFAULTS, parse_schedule(attribute), strict=True)):
        yield Word(f"{key}={value:g}")


def no_words(attribute: str) -> Iterator[Word]:
    """A schedule is no op: the ops-only reading does not see it."""
    yield from ()


def _regions(items: Iterable[Token | Group]) -> Iterator[list[Statement]]:
    for item in items:
        if isinstance(item, Group):
            if item.region is not None:
                yield item.region
            else:
                yield from _regions(item.items)


def _operands(items: Iterable[Token | Group]) -> Iterator[str]:
    for item in items:
        if isinstance(item, Token):
            if item.kind in ("ssa", "shaped") or item.text in SCALARS:
                yield item.text
        elif item.region is None and item.opener != "{":
            yield from _operands(item.items)

"""MLIR as text: one canonical form of a function, its content hash, and candidates made of workload and schedule.

The canonical form of a function does not change under SSA renaming, whitespace, comments, locations, attribute order,
map aliases, the order of independent pure ops, dead pure ops, or the function's name. It is valid MLIR again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

from costmodel.affine import normal_map
from costmodel.errors import SeercError
from costmodel.syntax import (
    OPEN,
    Group,
    Statement,
    Token,
    dictionary,
    expand_aliases,
    group,
    join,
    ordered,
    statements,
    tokenize,
    used,
    walk,
)  # fmt: skip

NAMING_ATTRIBUTES = frozenset({"seerc.weight", "llvm.emit_c_interface", "torch.debug_module_name"})
"""Attributes that name a thing and do not change what is computed."""

_SCHEDULE = re.compile(r"(,?\s*)seerc\.schedule\s*=\s*(\{[^{}]*\})")


def functions(text: str) -> list[Statement]:
    """The `func.func` statements of a module, or of a bare function; aliases are replaced by what they stand for."""
    tokens = expand_aliases(tokenize(text))
    if any(t.text in ('"builtin.module"', '"func.func"') for t in tokens):
        raise SeercError("line 1: MLIR text is in generic form; print it in the pretty form (`seerc opt` does)")
    found = [s for s in walk(statements(group(tokens))) if s.name == "func.func"]
    if not found:
        raise SeercError("line 1: no func.func in MLIR text; a workload is one function of linalg on tensors")
    return found


def canonical(text: str) -> str:
    """The canonical text of the one function in `text`; a `seerc.schedule` stays where it is."""
    return print_function(only_function(text))


def only_function(text: str) -> Statement:
    """The one function in `text`; SeercError if there are more."""
    found = functions(text)
    if len(found) != 1:
        raise SeercError(f"line {found[1].line}: expected one function in a workload, found {len(found)}")
    return found[0]


def canonical_functions(text: str) -> list[tuple[str, str]]:
    """(name, canonical text) of every function with a body in `text`, in order."""
    return [
        (_symbol(f), print_function(f))
        for f in functions(text)
        if any(isinstance(i, Group) and i.region is not None for i in f.items)
    ]


def split_candidate(text: str) -> tuple[str, str | None]:
    """(workload text, schedule attribute or None): what a candidate text is made of. No other normalisation.

    Where the schedule stood, `seerc.root` stands in the workload: `join_candidate` is the inverse.
    """
    match = _SCHEDULE.search(text)
    if match is None:
        return text, None
    mark = "" if "seerc.root" in text else match.group(1) + "seerc.root"
    return text[: match.start()] + mark + text[match.end() :], match.group(2)


def join_candidate(workload: str, schedule: str) -> str:
    """The candidate text of a workload text (with its `seerc.root`) and a schedule attribute `{...}`."""
    joined, count = re.subn(r"seerc\.root\b", lambda _: f"seerc.root, seerc.schedule = {schedule}", workload, count=1)
    if not count:
        raise SeercError("workload has no op with the attribute seerc.root; a schedule has nothing to apply to")
    return joined


def workload_hash(text: str) -> str:
    """32 hexadecimal digits that name a workload: equal for texts with equal canonical form, schedule left out."""
    return hash_text(canonical(split_candidate(text)[0]))


def hash_text(text: str) -> str:
    """32 hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def print_function(function: Statement) -> str:
    """Canonical text of one function statement."""
    items = [i for i in function.items if not (isinstance(i, Token) and i.text in ("private", "public"))]
    items = [i._replace(text="@workload") if isinstance(i, Token) and i.kind == "symbol" else i for i in items]
    printer = _Printer()
    printer.statement(Statement([], function.name, _unwrap_result(items)), {}, 0)
    return "\n".join(printer.lines) + "\n"


def _symbol(function: Statement) -> str:
    names = [i.text for i in function.items if isinstance(i, Token) and i.kind == "symbol"]
    return names[0].lstrip("@").strip('"') if names else ""


def _unwrap_result(items: list[Token | Group]) -> list[Token | Group]:
    """`-> (type)` is `-> type`."""
    for i, item in enumerate(items[1:], 1):
        before = items[i - 1]
        if isinstance(item, Group) and isinstance(before, Token) and before.text == "->" and len(item.items) == 1:
            return [*items[:i], *item.items, *items[i + 1 :]]
    return items


class _Printer:
    """Prints statements with values numbered in order of first mention and dictionaries sorted."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.values = 0

    def statement(self, statement: Statement, scope: dict[str, str], depth: int) -> None:
        inner = dict(scope)
        head = [*self._items(statement.items, inner)]
        results = [self._define(r, scope) for r in statement.results]
        words = [", ".join(results), "="] if results else []
        self._emit([*words, statement.name, *head], inner, depth)

    def _emit(self, words: list[str | list[Statement]], scope: dict[str, str], depth: int) -> None:
        line: list[str] = []
        for word in words:
            if isinstance(word, str):
                line.append(word)
                continue
            self.lines.append("  " * depth + join([*line, "{"]))
            block_scope = dict(scope)
            for statement in ordered(word):
                if statement.name.startswith("^"):
                    self.label(statement, block_scope, depth)
                else:
                    self.statement(statement, block_scope, depth + 1)
            line = ["}"]
        self.lines.append("  " * depth + join(line))

    def label(self, label: Statement, scope: dict[str, str], depth: int) -> None:
        for name in used(label.items):
            self._define(name, scope)
        self.lines.append("  " * depth + join([label.name, *_strings(self._items(label.items, scope))]))

    def _define(self, name: str, scope: dict[str, str]) -> str:
        base, _, count = name.partition(":")
        scope[base] = f"%{self.values}"
        self.values += 1
        return scope[base] + (f":{count}" if count else "")

    def _items(self, items: Iterable[Token | Group], scope: dict[str, str]) -> Iterator[str | list[Statement]]:
        for item in items:
            if isinstance(item, Token):
                yield self._token(item, scope)
            elif item.region is not None:
                yield item.region
            elif item.opener == "{":
                yield from self._dictionary(item, scope)
            else:
                yield item.opener
                yield from self._items(item.items, scope)
                yield OPEN[item.opener]

    def _dictionary(self, group: Group, scope: dict[str, str]) -> Iterator[str | list[Statement]]:
        entries = {k: v for k, v in dictionary(group).items() if k not in NAMING_ATTRIBUTES}
        if not entries:
            return
        yield "{"
        for i, (key, items) in enumerate(entries.items()):
            yield from ([","] if i else [])
            yield key
            if items:
                yield "="
                yield from self._items(items, scope)
        yield "}"

    def _token(self, token: Token, scope: dict[str, str]) -> str:
        if token.kind == "ssa":
            base, _, index = token.text.partition("#")
            name = scope[base] if base in scope else self._define(base, scope)
            return f"{name}#{index}" if index else name
        return _normal(token)


def _strings(words: Iterable[str | list[Statement]]) -> Iterator[str]:
    return (w for w in words if isinstance(w, str))


def _normal(token: Token) -> str:
    """Numbers, maps and shaped types have many spellings: pick one."""
    if token.kind == "map":
        return normal_map(token)
    if token.kind == "shaped":
        return re.sub(r"\s+", "", token.text).replace(",", ", ")
    if token.kind == "number" and "." in token.text:
        mantissa, mark, exponent = repr(float(token.text)).partition("e")
        return (mantissa if "." in mantissa else mantissa + ".0") + mark + exponent if mark else mantissa
    return token.text

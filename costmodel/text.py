"""MLIR as text: one canonical form of a function, its content hash, and candidates made of workload and schedule.

The canonical form of a function does not change under SSA renaming, whitespace, comments, locations, attribute order,
map aliases, block names, the order of independent pure ops, dead pure ops, the function's name, or (for func, linalg,
tensor, arith and math) generic and pretty printing. It is valid MLIR again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

from costmodel.affine import normal_map
from costmodel.errors import SeercError
from costmodel.generic_form import pretty_statement
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

_GENERIC = re.compile(r'"\s*\(')
"""What every text with an op in generic form holds."""
_INNER_MAP = re.compile(r"affine_map<(?:->|>=|[^<>])*+>")
_SCHEDULE = re.compile(r"seerc\.schedule\s*=\s*(\{[^{}]*\})")


def functions(text: str) -> list[Statement]:
    """The `func.func` statements of a module, or of a bare function; aliases are replaced by what they stand for."""
    found = statements(group(expand_aliases(tokenize(text))))
    if _GENERIC.search(text):
        found = [pretty_statement(s) for s in found]
    found = [s for s in walk(found) if s.name == "func.func"]
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
    begin = text.find("seerc.schedule")  # a compile splits tens of thousands of texts
    match = _SCHEDULE.search(text, begin) if begin >= 0 else None
    if match is None:
        return text, None
    head = text[: match.start()].rstrip().removesuffix(",")
    mark = "" if "seerc.root" in text else text[len(head) : match.start()] + "seerc.root"
    return head + mark + text[match.end() :], match.group(1)


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
        head = self._items(statement.items, inner)
        words = [self._results(statement.results, scope), "="] if statement.results else []
        self._emit([*words, statement.name, *head], inner, depth)

    def _emit(self, words: list[str | list[Statement]], scope: dict[str, str], depth: int) -> None:
        line: list[str] = []
        for word in words:
            if isinstance(word, str):
                line.append(word)
                continue
            self.lines.append("  " * depth + join([*line, "{"]))
            block_scope = scope | _labels(word)
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
        head = _strings(self._items(label.items, scope))
        self.lines.append("  " * depth + join([scope.get(label.name, label.name), *head]))

    def _define(self, name: str, scope: dict[str, str]) -> str:
        scope[name] = f"%{self.values}"
        self.values += 1
        return scope[name]

    def _results(self, names: list[str], scope: dict[str, str]) -> str:
        """Several results are one pack, however they were named: `%a, %b:2` is `%0:3`."""
        base, _, count = names[0].partition(":")
        made = self._define(base, scope)
        if len(names) == 1:
            return f"{made}:{count}" if count else made
        total = 0
        for name in names:
            base, _, count = name.partition(":")
            for k in range(int(count or 1)):
                scope[f"{base}#{k}"] = f"{made}#{total + k}"
            scope[base] = f"{made}#{total}"
            total += int(count or 1)
        return f"{made}:{total}"

    def _items(self, items: Iterable[Token | Group], scope: dict[str, str]) -> list[str | list[Statement]]:
        out: list[str | list[Statement]] = []
        for item in items:
            if isinstance(item, Token):
                out.append(self._token(item, scope))
            elif item.region is not None:
                out.append(item.region)
            elif item.opener == "{":
                out = self._dictionary(item, scope, out)
            else:
                out += [item.opener, *self._items(item.items, scope), OPEN[item.opener]]
        return out

    def _dictionary(
        self, group: Group, scope: dict[str, str], before: list[str | list[Statement]]
    ) -> list[str | list[Statement]]:
        """`before` and the dictionary; an empty one goes with the words that announce it."""
        entries = {k: v for k, v in dictionary(group).items() if k not in NAMING_ATTRIBUTES}
        if not entries:
            words = 2 if before[-2:] == ["attrs", "="] else before[-1:] == ["attributes"]
            return before[: len(before) - words]
        out = [*before, "{"]
        for i, (key, items) in enumerate(entries.items()):
            out += [",", key] if i else [key]
            if items:
                out += ["=", *self._items(items, scope)]
        return [*out, "}"]

    def _token(self, token: Token, scope: dict[str, str]) -> str:
        kind, text = token.kind, token.text
        if kind == "ssa":
            if text in scope:
                return scope[text]
            base, _, index = text.partition("#")
            name = scope[base] if base in scope else self._define(base, scope)
            return f"{name}#{index}" if index else name
        if kind == "block":
            return scope.get(text, text)
        return _normal(token)


def _labels(region: list[Statement]) -> dict[str, str]:
    """Blocks of a region are numbered in order; one without a label is the first."""
    names = [s.name for s in region if s.name.startswith("^")]
    first = 0 if region and region[0].name.startswith("^") else 1
    return {name: f"^bb{i}" for i, name in enumerate(names, first)}


def _strings(words: Iterable[str | list[Statement]]) -> Iterator[str]:
    return (w for w in words if isinstance(w, str))


def _normal(token: Token) -> str:
    """Numbers, maps and shaped types have many spellings: pick one."""
    if token.kind == "map":
        return normal_map(token)
    if token.kind == "shaped":
        return _normal_type(token)
    if token.kind == "number" and "." in token.text:
        mantissa, mark, exponent = repr(float(token.text)).partition("e")
        return (mantissa if "." in mantissa else mantissa + ".0") + mark + exponent if mark else mantissa
    return token.text


def _normal_type(token: Token) -> str:
    """One spelling of a shaped type; memory space 0 is the default."""
    found = _INNER_MAP.sub(lambda m: normal_map(Token("map", m[0], token.line)), token.text)
    text = re.sub(r"\s+", "", found).replace(",", ", ")
    return text[:-4] + ">" if text.startswith("memref<") and text.endswith(", 0>") else text

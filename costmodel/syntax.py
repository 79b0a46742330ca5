"""MLIR syntax without MLIR bindings: tokens, brackets, and statements with their nested regions.

Reads the pretty form of any dialect: an operation starts at its results or its dotted name and ends where the next
one starts. Text is untrusted: its size and nesting are bounded, and every error names a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from costmodel.errors import SeercError

MAX_CHARACTERS = 16_000_000
MAX_DEPTH = 64

_TOKEN = re.compile(
    r"""(?P<space>\s++)
    |(?P<string>"(?:[^"\\\n]|\\.)*+")
    |(?P<map>affine_(?:map|set)<(?:->|>=|[^<>])*+>)
    |(?P<shaped>(?:tensor|memref|vector)<(?:->|[^<>]|<(?:->|[^<>])*+>)*+>)
    |(?P<ssa>%[\w$.-]+(?:\#\d+)?)
    |(?P<block>\^[\w$.-]+)
    |(?P<symbol>@(?:[\w$.-]+|"[^"\n]*"))
    |(?P<alias>[\#!][\w$.-]+)
    |(?P<number>-?0x[0-9A-Fa-f]+|-?\d+(?:\.\d*(?:[eE][-+]?\d+)?)?)
    |(?P<word>[A-Za-z_][\w$.]*)
    |(?P<punctuation>->|::|==|>=|[()\[\]{}<>,:=?*+|!/-])""",
    re.VERBOSE,
)
_COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*+"|//[^\n]*+')
_ALIAS = re.compile(r"\#[\w$.-]+")
OPEN = {"(": ")", "[": "]", "{": "}"}
_BARE_OPS = frozenset({"return", "call", "module"})
_REGION_OPS = re.compile(r"(affine|scf)\.(for|forall|if|parallel|while)|module|builtin\.module")
"""Ops whose `{}` is an empty region; after any other op it is an empty dictionary."""
_PURE = re.compile(
    r"(arith|math|tensor|linalg|complex|index|shape|tosa|stablehlo|mhlo|chlo|torch|scf)\.|affine\.(apply|min|max|yield)$"
    r"|vector\.(?!.*(load|store|transfer|gather|scatter|print|mask))|(func\.)?return$|\^"
)
"""Ops without effects of their own; those of nested regions count as well."""
_TERMINATOR = re.compile(r"(?:^|\.)(?:return|yield|terminator|unreachable)$")


class Token(NamedTuple):
    """One lexical token and the line it starts on (1 is the first)."""

    kind: str
    text: str
    line: int


@dataclass
class Group:
    """A bracketed run of tokens; `{...}` is marked as a region or as an attribute dictionary."""

    opener: str
    items: list[Token | Group]
    line: int
    region: list[Statement] | None = None


Item = Token | Group
Items = list[Token | Group]


@dataclass
class Statement:
    """One operation or block label: the names it defines, its op name, all that follows, and its first line."""

    results: list[str]
    name: str
    items: list[Token | Group] = field(default_factory=list)
    line: int = 0


def tokenize(text: str) -> list[Token]:
    """Tokens of MLIR text without space and comments; SeercError with the line of the first strange character."""
    if len(text) > MAX_CHARACTERS:
        raise SeercError(f"MLIR text of {len(text)} characters exceeds the limit of {MAX_CHARACTERS}")
    if "//" in text:  # they may stand inside of types and maps
        text = _COMMENT.sub(lambda m: m[0] if m[0].startswith('"') else "", text)
    tokens: list[Token] = []
    position, line = 0, 1
    for match in _TOKEN.finditer(text):
        if match.start() != position:
            break
        kind, found = match.lastgroup, match.group()
        if kind != "space":
            tokens.append(Token(kind or "", found, line))
        if "\n" in found:
            line += found.count("\n")
        position = match.end()
    if position < len(text):
        raise SeercError(f"line {line}: unexpected character {text[position]!r} in MLIR text")
    return tokens


def plain(items: Iterable[Token | Group]) -> str:
    """Items printed on one line with their own names; regions are left out."""
    return join(_flat(items))


def dictionary(group: Group) -> dict[str, list[Token | Group]]:
    """Entries of an attribute dictionary, sorted by key; a unit attribute has no items."""
    entries: dict[str, list[Token | Group]] = {}
    for part in split_commas(group.items):
        key = part[0]
        if not isinstance(key, Token):
            raise SeercError(f"line {group.line}: an attribute dictionary entry has no name")
        entries[key.text.strip('"')] = part[2:]
    return dict(sorted(entries.items()))


def split_commas(items: Iterable[Token | Group]) -> list[list[Token | Group]]:
    """Items between top-level commas; empty parts are left out."""
    parts: list[list[Token | Group]] = [[]]
    angle = 0
    for item in items:
        if isinstance(item, Token):
            angle += (item.text == "<") - (item.text == ">")
            if item.text == "," and angle <= 0:
                parts.append([])
                continue
        parts[-1].append(item)
    return [p for p in parts if p]


def expand_aliases(tokens: list[Token]) -> list[Token]:
    """Replace `#map` aliases by their definitions and drop `loc(...)`."""
    aliases: dict[str, list[Token]] = {}
    kept: list[Token] = []
    i = 0
    while i < len(tokens):
        token = tokens[i]
        if token.kind == "alias" and i + 1 < len(tokens) and tokens[i + 1].text == "=" and _starts_line(tokens, i):
            end = i + 3
            while end < len(tokens) and not _starts_line(tokens, end):
                end += 1
            aliases[token.text] = tokens[i + 2 : end]
            i = end
        elif token.text == "loc" and i + 1 < len(tokens) and tokens[i + 1].text == "(":
            i = _closing(tokens, i + 1) + 1
        else:
            kept.append(token)
            i += 1
    out: list[Token] = []
    for token in kept:
        if token.kind == "alias" and token.text in aliases:
            out += [t._replace(line=token.line) for t in aliases[token.text]]
        elif token.kind == "shaped" and "#" in token.text:
            text = _ALIAS.sub(lambda m: join(t.text for t in aliases[m[0]]) if m[0] in aliases else m[0], token.text)
            out.append(token._replace(text=text))
        else:
            out.append(token)
    return out


def _starts_line(tokens: list[Token], i: int) -> bool:
    return i == 0 or tokens[i].line > tokens[i - 1].line


def _closing(tokens: list[Token], start: int) -> int:
    depth = 0
    for i in range(start, len(tokens)):
        depth += (tokens[i].text in OPEN) - (tokens[i].text in OPEN.values())
        if depth == 0:
            return i
    raise SeercError(f"line {tokens[start].line}: unclosed {tokens[start].text!r} in MLIR text")


def group(tokens: list[Token]) -> list[Token | Group]:
    """Nest tokens by brackets."""
    top: list[Token | Group] = []
    stack: list[Group] = []
    for token in tokens:
        into = stack[-1].items if stack else top
        if token.text in OPEN:
            group = Group(token.text, [], token.line)
            into.append(group)
            stack.append(group)
            if len(stack) > MAX_DEPTH:
                raise SeercError(f"line {token.line}: MLIR text nests deeper than {MAX_DEPTH} brackets")
        elif token.kind == "punctuation" and token.text in OPEN.values():
            if not stack or OPEN[stack[-1].opener] != token.text:
                raise SeercError(f"line {token.line}: {token.text!r} closes nothing in MLIR text")
            stack.pop()
        else:
            into.append(token)
    if stack:
        raise SeercError(f"line {stack[-1].line}: unclosed {stack[-1].opener!r} in MLIR text; is it truncated?")
    return top


def statements(items: list[Token | Group]) -> list[Statement]:
    """Cut the items of a region (or a module) into statements, marking nested regions."""
    starts = [i for i in range(len(items)) if _starts_statement(items, i)]
    if not items:
        return []
    if not starts or starts[0] != 0:
        raise SeercError(f"line {items[0].line}: expected an operation, found {plain(items[:1]) or '{'!r}")
    return [_statement(items[a:b]) for a, b in zip(starts, [*starts[1:], len(items)], strict=True)]


def _starts_statement(items: list[Token | Group], i: int) -> bool:
    item = items[i]
    if not isinstance(item, Token):
        return False
    before = items[i - 1] if i else None
    before_text = before.text if isinstance(before, Token) else ""
    if item.kind == "block":
        return before_text not in (",", "to")
    if item.kind == "ssa":
        return before_text != "," and _is_definition(items, i) and not _is_op(before)
    if not (_is_op(item) or _is_generic(items, i)):
        return False
    return before_text not in ("=", ",", ":", "<") or (before_text == ":" and _ends_label(items, i - 1))


def _is_op(item: Token | Group | None) -> bool:
    return isinstance(item, Token) and item.kind == "word" and ("." in item.text or item.text in _BARE_OPS)


def _is_generic(items: list[Token | Group], i: int) -> bool:
    """Whether `"dialect.op"(` starts at `i`."""
    item, after = items[i], items[i + 1] if i + 1 < len(items) else None
    return isinstance(item, Token) and item.kind == "string" and isinstance(after, Group) and after.opener == "("


def _ends_label(items: list[Token | Group], colon: int) -> bool:
    """Whether the colon is that of `^bb0:` or `^bb0(...):`."""
    start = colon - (2 if isinstance(items[colon - 1], Group) else 1)
    label = items[start] if start >= 0 else None
    return isinstance(label, Token) and label.kind == "block"


def _is_definition(items: list[Token | Group], i: int) -> bool:
    """Whether `%a =`, `%a, %b =` or `%a:2 =` starts at `i`, before the name of an op."""
    while i < len(items):
        text = item.text if isinstance(item := items[i], Token) else ""
        if text == "=":
            return i + 1 < len(items) and (_is_op(items[i + 1]) or _is_generic(items, i + 1))
        if not (text.startswith("%") or text in (",", ":") or text.isdigit()):
            return False
        i += 1
    return False


def _statement(items: list[Token | Group]) -> Statement:
    results: list[str] = []
    line, i = items[0].line, 0
    first = items[0]
    if isinstance(first, Token) and first.kind == "ssa":
        i = next(k for k, item in enumerate(items) if isinstance(item, Token) and item.text == "=") + 1
        results = [
            t.text + _count(items[:i], k) for k, t in enumerate(items[:i]) if isinstance(t, Token) and t.kind == "ssa"
        ]
    name = first.text if isinstance(first := items[i], Token) else ""
    rest = items[i + 1 :]
    for item in rest:
        if isinstance(item, Group):
            _mark_regions(item)
            if not item.items and item.opener == "{" and _REGION_OPS.fullmatch(name):
                item.region = []
    return Statement(results, name, rest, line)


def _count(items: list[Token | Group], k: int) -> str:
    after = items[k + 1] if k + 1 < len(items) else None
    number = items[k + 2] if k + 2 < len(items) else None
    packed = isinstance(after, Token) and after.text == ":" and isinstance(number, Token)
    return f":{number.text}" if packed and isinstance(number, Token) else ""


def _mark_regions(group: Group) -> None:
    if group.opener == "{" and _is_region(group):
        group.region = statements(group.items)
        return
    for item in group.items:
        if isinstance(item, Group):
            _mark_regions(item)


def _is_region(group: Group) -> bool:
    if not group.items or not isinstance(first := group.items[0], Token):
        return False
    if first.kind in ("block", "ssa") or _is_generic(group.items, 0):
        return True
    second = group.items[1] if len(group.items) > 1 else None
    if first.kind == "word" and (second is None or (isinstance(second, Token) and second.text in ("=", ","))):
        return bool(_TERMINATOR.search(first.text)) and second is None
    return first.kind == "word"


def _region(item: Token | Group) -> list[Statement] | None:
    return item.region if isinstance(item, Group) else None


def walk(found: list[Statement]) -> Iterator[Statement]:
    for statement in found:
        yield statement
        if statement.name != "func.func":
            for item in statement.items:
                yield from walk(_region(item) or [])


def ordered(block: list[Statement]) -> list[Statement]:
    """The statements in the order in which the terminator needs them; blocks with effects keep their order."""
    body = [s for s in block if not s.name.startswith("^")]
    if len(body) < len(block) - 1 or sum(not s.results for s in body) != 1 or not body or body[-1].results:
        return block
    if not all(map(_pure, block)):
        return block
    by_name = {r.split(":")[0]: s for s in body for r in s.results}
    done: dict[int, Statement] = {}
    seen: set[int] = set()
    stack: list[tuple[Statement, bool]] = [(body[-1], False)]
    while stack:
        statement, expanded = stack.pop()
        if expanded:
            done[id(statement)] = statement
        elif id(statement) not in seen:
            seen.add(id(statement))
            stack.append((statement, True))
            needed = [by_name[n] for n in used(statement.items) if n in by_name]
            stack.extend((s, False) for s in reversed(needed))
    return [s for s in block if s.name.startswith("^")] + list(done.values())


def _pure(statement: Statement) -> bool:
    if not _PURE.match(statement.name):
        return False
    regions = (i.region for i in statement.items if isinstance(i, Group) and i.region)
    return all(_pure(s) for region in regions for s in region)


def used(items: Iterable[Token | Group]) -> Iterator[str]:
    """Names used by items, without those that a nested region defines itself."""
    for item in items:
        if isinstance(item, Token):
            if item.kind == "ssa":
                yield item.text.split("#")[0]
        elif item.region is None:
            yield from used(item.items)
        else:
            own = {r.split(":")[0] for s in item.region for r in s.results}
            own |= {n for s in item.region if s.name.startswith("^") for n in used(s.items)}
            yield from (n for s in item.region for n in used(s.items) if n not in own)


def _flat(items: Iterable[Token | Group]) -> Iterator[str]:
    for item in items:
        if isinstance(item, Token):
            yield item.text
        elif item.region is None:
            yield item.opener
            yield from _flat(item.items)
            yield OPEN[item.opener]


_NO_SPACE_BEFORE = frozenset((",", ")", "]", ">", "<", "(", ":"))
_NO_SPACE_AFTER = ("(", "[", "<")


def join(words: Iterable[str]) -> str:
    out = ""
    for word in words:
        tight = (word in _NO_SPACE_BEFORE and not out.endswith("->")) or out.endswith(_NO_SPACE_AFTER)
        out += word if not out or tight else f" {word}"
    return out

"""Affine maps as text and as sums of terms."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from costmodel.errors import SeercError
from costmodel.syntax import Token, join

MAX_RANK = 16


@dataclass(frozen=True)
class Expression:
    """One result of an affine map: a sum of coefficient * dimension, or not linear (floordiv, mod)."""

    terms: tuple[tuple[int, int], ...]
    """(dimension, coefficient), by dimension."""
    constant: int = 0
    linear: bool = True


_MAP = re.compile(r"(affine_(?:map|set))<\s*\(([^)]*)\)\s*(?:\[([^\]]*)\])?\s*(->|:)\s*(.*)>", re.DOTALL)


def normal_map(token: Token) -> str:
    """An affine map with dimensions d0, d1, ..., symbols s0, s1, ..., sums in order of dimension, single spaces."""
    match = _MAP.fullmatch(token.text)
    if match is None:
        raise SeercError(f"line {token.line}: cannot read {token.text[:80]}")
    kind, dims, symbols, arrow, body = match.groups(default="")
    names = [n.strip() for n in dims.split(",") if n.strip()]
    marks = [n.strip() for n in symbols.split(",") if n.strip()]
    renamed: dict[str, str] = {n: f"d{i}" for i, n in enumerate(names)} | {n: f"s{i}" for i, n in enumerate(marks)}
    found: list[str] = re.findall(r"\w+|->|>=|==|[^\w\s]", body)
    words = [renamed[w] if w in renamed else w for w in found]
    if kind == "affine_map" and body.strip().startswith("("):
        parts = [part for part in "".join(words[1:-1]).split(",") if part.strip()]
        words = ["(", ", ".join(_spell(part, token.line) for part in parts), ")"]
    head = "(" + ", ".join(f"d{i}" for i in range(len(names))) + ")"
    head += "[" + ", ".join(f"s{i}" for i in range(len(marks))) + "]" if marks else ""
    return f"{kind}<{head} {arrow} {join(words)}>"


@lru_cache(maxsize=4096)
def parse_map(text: str, line: int = 1) -> tuple[Expression, ...]:
    """The results of an affine map without symbols."""
    normal = normal_map(Token("map", text, line))
    head, _, body = normal.partition("->")
    dims = len(re.findall(r"\bd\d+", head))
    if "[" in head or not normal.startswith("affine_map") or dims > MAX_RANK:
        raise SeercError(
            f"line {line}: expected an affine map of at most {MAX_RANK} dimensions and no symbols: {normal}"
        )
    inner = body.strip().removesuffix(">").strip()[1:-1]
    return tuple(_expression(part, line) for part in inner.split(",") if part.strip())


def _spell(text: str, line: int) -> str:
    """One result of a map: linear ones as sorted terms, others as they came."""
    found = None if re.search(r"s\d", text) else _expression(text, line)
    if found is None or not found.linear:
        return join(re.findall(r"\w+|[^\w\s]", re.sub(r"(floordiv|ceildiv|mod)", r" \1 ", text)))
    terms = [f"d{d}" if c == 1 else f"d{d} * {c}" for d, c in found.terms]
    terms += [str(found.constant)] if found.constant or not terms else []
    return " + ".join(terms).replace("+ -", "- ")


_TERM = re.compile(r"^(-?)(?:d(\d+)(?:\*(-?\d+))?|(-?\d+)\*d(\d+)|(\d+))$")


def _expression(text: str, line: int) -> Expression:
    """A sum of products of a dimension and an integer; anything else is kept as not linear."""
    terms: dict[int, int] = {}
    constant = 0
    compact = re.sub(r"\s", "", text)
    for part in re.findall(r"-?(?:\*-|[^+-])+", compact):
        match = _TERM.match(part)
        if match is None:
            used = sorted({int(d) for d in re.findall(r"d(\d+)", text)})
            if not used and not re.fullmatch(r"[\d\s*+()-]+", text):
                raise SeercError(f"line {line}: cannot read the affine expression {text.strip()[:80]!r}")
            return Expression(tuple((d, 1) for d in used), 0, False)
        sign = -1 if match.group(1) else 1
        if match.group(6) is not None:
            constant += sign * int(match.group(6))
        else:
            dim = int(match.group(2) or match.group(5) or 0)
            terms[dim] = terms.get(dim, 0) + sign * int(match.group(3) or match.group(4) or 1)
    return Expression(tuple(sorted(terms.items())), constant)

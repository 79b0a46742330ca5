"""Counts that describe an MLIR text of any dialect: a bag of its tokens, weighted by the loops around them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import log1p, log2
from typing import TYPE_CHECKING, Any

import numpy as np

from costmodel.syntax import Group, Item, Items, Statement, Token
from costmodel.text import functions

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

UNKNOWN_TRIPS = 8.0
"""Trip count of a loop whose bounds are no constants."""
_MAX_TRIPS = 1e15
_LOOPS = re.compile(r"(affine|scf)\.(for|parallel|forall)$")
_SHAPE = re.compile(r"(tensor|memref|vector)<((?:[\d?]+x)*)\s*([\w!.]+)")


def text_features(text: str) -> dict[str, float]:
    """Feature to value, all of them log(1 + count).

    For each op: how often it stands there, how often it is run as far as constant trip counts tell, and with which
    types. For the text: sizes of its types, numbers by magnitude, depth of loops.
    """
    counter: defaultdict[str, float] = defaultdict(float)
    for function in functions(text):
        _Reader(counter).statement(function, 0, 1.0)
    return {name: log1p(value) for name, value in counter.items()}


def feature_vocabulary(bags: Sequence[Mapping[str, float]], least: int, most: int) -> tuple[str, ...]:
    """The features that at least `least` of the texts have, the commonest `most` of them."""
    count = Counter(name for bag in bags for name in bag)
    common = sorted((n for n, c in count.items() if c >= least), key=lambda n: (-count[n], n))
    return tuple(sorted(common[:most]))


def feature_rows(bags: Sequence[Mapping[str, float]], vocabulary: Sequence[str]) -> csr_matrix:
    """A sparse matrix, one row a bag; the last column sums the features outside of the vocabulary."""
    from scipy.sparse import csr_matrix

    index = {name: i for i, name in enumerate(vocabulary)}
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    for row, bag in enumerate(bags):
        for name in sorted(bag):
            rows.append(row)
            columns.append(index.get(name, len(index)))
            values.append(bag[name])
    shape = (len(bags), len(index) + 1)
    return csr_matrix((np.array(values), (np.array(rows, int), np.array(columns, int))), shape=shape)


class _Reader:
    """Walks one function; knows the integer constants in it, which bound loops."""

    def __init__(self, counter: defaultdict[str, float]) -> None:
        self.counter = counter
        self.constants: dict[str, int] = {}

    def statement(self, statement: Statement, depth: int, trips: float) -> None:
        name, counter = statement.name.strip('"'), self.counter
        if name.startswith("^"):
            return
        if name == "arith.constant" and len(statement.results) == 1 and _is_integer(statement.items[:1]):
            self.constants[statement.results[0]] = int(_texts(statement.items[:1])[0])
        tokens = list(_tokens(statement.items))
        types = [t for t in tokens if t.kind == "shaped"]
        counter[f"op {name}"] += 1
        counter[f"depth {min(depth, 6)}"] += 1
        for token in types:
            self._type(name, token.text, trips)
        for token in tokens:
            if token.kind == "number":
                counter[f"number {_magnitude(token.text)}"] += 1
        if name.startswith("linalg."):
            trips = min(_MAX_TRIPS, trips * max([_elements(t.text) for t in types], default=1.0))
        counter[f"run {name}"] += trips
        counter["run"] += trips
        inner = min(_MAX_TRIPS, trips * self._trips(statement)) if _LOOPS.match(name) else trips
        for region in (i.region for i in _groups(statement.items) if i.region):
            for each in region:
                self.statement(each, depth + (inner != trips), inner)

    def _type(self, op: str, text: str, trips: float) -> None:
        match = _SHAPE.match(text)
        if match is None:
            return
        kind, _, element = match.groups()
        elements = _elements(text)
        self.counter[f"type {op} {kind} {element}"] += 1
        self.counter[f"elements {kind}"] += elements
        self.counter[f"moved {kind}"] += min(_MAX_TRIPS, elements * trips) if kind == "vector" else trips
        if kind == "vector":
            self.counter[f"vector {op} {int(elements)}"] += 1

    def _trips(self, loop: Statement) -> float:
        """Product of the trip counts that constants tell; UNKNOWN_TRIPS a loop otherwise."""
        words: list[str] = []
        for item in loop.items:
            if isinstance(item, Group) and item.region is not None:
                break
            words += [item.text] if isinstance(item, Token) else _texts(item.items)
        low, high, step = (self._bounds(words, mark) for mark in ("=", "to", "step"))
        if not low or len(low) != len(high) or len(step) not in (0, len(low)):
            self.counter["unknown loops"] += 1
            return UNKNOWN_TRIPS
        counts = [max(0, -(-(b - a) // s)) for a, b, s in zip(low, high, step or [1] * len(low), strict=True) if s > 0]
        return float(min(_MAX_TRIPS, np.prod(np.array(counts, float))))

    def _bounds(self, words: list[str], mark: str) -> list[int]:
        """The constants after a word; empty if another value stands among them."""
        found: list[int] = []
        for word in words[words.index(mark) + 1 :] if mark in words else []:
            if word in self.constants:
                found.append(self.constants[word])
            elif re.fullmatch(r"-?\d{1,18}", word):
                found.append(int(word))
            elif word != ",":
                return [] if word.startswith(("%", "affine_map", "min", "max")) else found
        return found


def _groups(items: Iterable[Item]) -> Iterable[Group]:
    for item in items:
        if isinstance(item, Group):
            yield item
            if item.region is None:
                yield from _groups(item.items)


def _tokens(items: Iterable[Item]) -> Iterable[Token]:
    """Tokens of items, those of regions left out."""
    for item in items:
        if isinstance(item, Token):
            yield item
        elif item.region is None:
            yield from _tokens(item.items)


def _texts(items: Iterable[Item]) -> list[str]:
    return [t.text for t in _tokens(items)]


def _is_integer(items: Items) -> bool:
    return len(items) == 1 and isinstance(t := items[0], Token) and re.fullmatch(r"-?\d{1,18}", t.text) is not None


def _elements(text: str) -> float:
    match = _SHAPE.match(text)
    sizes: list[Any] = match[2].split("x")[:-1] if match else []
    return float(min(_MAX_TRIPS, np.prod([UNKNOWN_TRIPS if s == "?" else float(s) for s in sizes] or [1.0])))


def _magnitude(text: str) -> int:
    try:
        value = abs(float(int(text, 16)) if "0x" in text else float(text))
    except (ValueError, OverflowError):
        return 99
    return min(64, round(log2(1 + value)))

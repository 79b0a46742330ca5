"""The workload function of docs/architecture.md as light dataclasses: shapes, strides, maps, op bodies, schedule."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod

from costmodel.affine import MAX_RANK, Expression, parse_map
from costmodel.body import Body, read_body
from costmodel.errors import SeercError
from costmodel.syntax import Group, Statement, Token, dictionary, ordered, split_commas
from costmodel.text import hash_text, only_function, print_function, split_candidate

MAX_EXTENT = 2**40
BITS = dict(i1=8, i8=8, ui8=8, i16=16, f16=16, bf16=16, i32=32, f32=32, i64=64, f64=64, index=64)
"""Bits that one element of a type takes in memory."""


@dataclass(frozen=True)
class Tensor:
    """Shape, element type and place in memory (strides in elements) of one value; a scalar has shape ()."""

    shape: tuple[int, ...]
    dtype: str
    strides: tuple[int, ...] = ()
    constant: bool = False

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size without gaps; i1 takes a byte an element."""
        return self.elements * self.element_bytes

    @property
    def element_bytes(self) -> int:
        """Bytes of one element."""
        return max(1, BITS[self.dtype] // 8)


@dataclass(frozen=True)
class Op:
    """One structured op: `linalg.generic` with all fields, any other op with its name, operands and results."""

    name: str
    operands: tuple[int, ...]
    results: tuple[int, ...]
    inputs: int = 0
    """How many of the operands are `ins`; the others are `outs`."""
    maps: tuple[tuple[Expression, ...], ...] = ()
    iterators: tuple[str, ...] = ()
    extents: tuple[int, ...] = ()
    """Trip count of each loop dimension."""
    body: tuple[str, ...] = ()
    """Names of the body's ops in order, without the terminator."""
    root: bool = False
    flow: Body | None = None
    """The body's dataflow; `linalg.generic` has one."""

    @cached_property
    def histogram(self) -> Counter[str]:
        """How often each op stands in the body."""
        return Counter(self.body)

    @property
    def points(self) -> int:
        """Iterations of the whole loop nest."""
        return prod(self.extents)

    @property
    def reduction(self) -> bool:
        """Whether any loop is a reduction."""
        return "reduction" in self.iterators


@dataclass(frozen=True)
class Workload:
    """A parsed workload function."""

    hash: str
    kind: str
    values: tuple[Tensor, ...]
    """Every SSA value; operands and results of ops are indices into it. Arguments come first."""
    arguments: int
    results: tuple[int, ...]
    result_types: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    root: int
    """Index of the op that carries `seerc.root`, else of the op with most iterations."""
    schedule: str | None = None


@lru_cache(maxsize=4096)
def parse_workload(text: str) -> Workload:
    """The one function of a workload or candidate text; SeercError with the line of what cannot be read."""
    workload, schedule = split_candidate(text)
    function = only_function(workload)
    return _Reader(function).read(hash_text(print_function(function)), schedule)


class _Reader:
    """Reads one function statement; values are numbered as they are defined."""

    def __init__(self, function: Statement) -> None:
        self.function = function
        self.values: list[Tensor] = []
        self.names: dict[str, int] = {}
        self.ops: list[Op] = []

    def read(self, digest: str, schedule: str | None) -> Workload:
        items = self.function.items
        signature = next((i for i in items if isinstance(i, Group) and i.opener == "("), None)
        body = next((i.region for i in items if isinstance(i, Group) and i.region is not None), None)
        if signature is None or body is None:
            raise SeercError(f"line {self.function.line}: the function has no arguments or no body")
        for part in split_commas(signature.items):
            self._argument(part)
        arguments = len(self.values)
        results: tuple[int, ...] = ()
        for statement in body:
            if statement.name in ("return", "func.return"):
                results = self._operands(_ssa(statement.items), statement.line)
            elif not statement.name.startswith("^"):
                self._statement(statement)
        types = [self._result_type(i, v) for i, v in enumerate(results)]
        return Workload(
            digest,
            _kind(items),
            tuple(self.values),
            arguments,
            results,
            tuple(types),
            tuple(self.ops),
            self._root(),
            schedule,
        )

    def _argument(self, part: list[Token | Group]) -> None:
        line = part[0].line
        shape = next((t for t in part if isinstance(t, Token) and t.kind in ("shaped", "word")), None)
        if shape is None or not isinstance(part[0], Token):
            raise SeercError(f"line {line}: an argument needs a type")
        attributes = next((dictionary(g) for g in part if isinstance(g, Group) and g.opener == "{"), {})
        self._define(part[0].text, _placed(parse_type(shape.text, line), attributes, line))

    def _result_type(self, index: int, value: int) -> Tensor:
        """The value's type with the strides written on the function's result."""
        arrow = [i for i, t in enumerate(self.function.items) if isinstance(t, Token) and t.text == "->"]
        after = self.function.items[arrow[0] + 1] if arrow else None
        parts = split_commas(after.items) if isinstance(after, Group) else []
        part = parts[index] if index < len(parts) else []
        attributes = next((dictionary(g) for g in part if isinstance(g, Group) and g.opener == "{"), {})
        return _placed(self.values[value], attributes, self.function.line)

    def _statement(self, statement: Statement) -> None:
        line, name = statement.line, statement.name
        if name == "linalg.generic":
            self.ops.append(self._generic(statement))
        else:
            operands = tuple(self.names[n] for n in _ssa(statement.items) if n in self.names)
            results = self._results(statement)
            if name.startswith("linalg."):
                shape = self.values[results[0]].shape if results else ()
                self.ops.append(Op(name, operands, results, extents=shape, iterators=("parallel",) * len(shape)))
            elif name.startswith(("tensor.", "arith.", "math.", "func.call", "call")):
                self.ops.append(Op(name, operands, results))
            else:
                raise SeercError(f"line {line}: a workload holds linalg, tensor, arith and math ops, found {name}")

    def _results(self, statement: Statement) -> tuple[int, ...]:
        if not statement.results:
            return ()
        types = _result_types(statement)
        counts = [int(r.partition(":")[2] or 1) for r in statement.results]
        if sum(counts) != len(types):
            raise SeercError(
                f"line {statement.line}: {statement.name} names {sum(counts)} results of {len(types)} types"
            )
        first = len(self.values)
        found = iter(types)
        for name, count in zip(statement.results, counts, strict=True):
            base = name.partition(":")[0]
            for k in range(count):
                self._define(f"{base}#{k}" if count > 1 else base, next(found))
        return tuple(range(first, len(self.values)))

    def _generic(self, statement: Statement) -> Op:
        line = statement.line
        attributes: dict[str, list[Token | Group]] = {}
        for item in statement.items:
            if isinstance(item, Group) and item.opener == "{" and item.region is None:
                attributes |= dictionary(item)
        inputs = self._segment(statement, "ins")
        outputs = self._segment(statement, "outs")
        maps = tuple(parse_map(t.text, t.line) for t in _tokens(attributes.get("indexing_maps", [])) if t.kind == "map")
        iterators = tuple(
            t.text.strip('"') for t in _tokens(attributes.get("iterator_types", [])) if t.kind == "string"
        )
        if len(maps) != len(inputs) + len(outputs):
            raise SeercError(
                f"line {line}: linalg.generic has {len(maps)} maps for {len(inputs) + len(outputs)} operands"
            )
        region = next((i.region for i in statement.items if isinstance(i, Group) and i.region is not None), [])
        body = tuple(s.name for s in ordered(region) if not s.name.startswith("^") and s.name != "linalg.yield")
        extents = self._extents((*inputs, *outputs), maps, len(iterators), line)
        return Op(
            statement.name, (*inputs, *outputs), self._results(statement), len(inputs), maps, iterators, extents, body,
            "seerc.root" in attributes, read_body(region, self.names),
        )  # fmt: skip

    def _segment(self, statement: Statement, word: str) -> tuple[int, ...]:
        for before, item in zip(statement.items, statement.items[1:], strict=False):
            if isinstance(before, Token) and before.text == word and isinstance(item, Group):
                return self._operands(_ssa(item.items), statement.line)
        return ()

    def _operands(self, names: Iterable[str], line: int) -> tuple[int, ...]:
        found = []
        for name in names:
            if name not in self.names:
                raise SeercError(f"line {line}: {name} is used before it is defined")
            found.append(self.names[name])
        return tuple(found)

    def _extents(
        self, operands: tuple[int, ...], maps: tuple[tuple[Expression, ...], ...], dims: int, line: int
    ) -> tuple[int, ...]:
        extents = [0] * dims
        for operand, expressions in zip(operands, maps, strict=True):
            shape = self.values[operand].shape
            if len(shape) != len(expressions) or any(d >= dims for e in expressions for d, _ in e.terms):
                raise SeercError(f"line {line}: an indexing map fits neither its operand nor the {dims} iterator types")
            for size, e in zip(shape, expressions, strict=True):
                if e.linear and len(e.terms) == 1 and e.terms[0][1] == 1 and e.constant == 0:
                    extents[e.terms[0][0]] = max(extents[e.terms[0][0]], size)
        if 0 in extents:
            raise SeercError(f"line {line}: the trip count of loop d{extents.index(0)} follows from no operand")
        return tuple(extents)

    def _define(self, name: str, value: Tensor) -> None:
        self.names[name] = len(self.values)
        self.values.append(value)

    def _root(self) -> int:
        marked = [i for i, op in enumerate(self.ops) if op.root]
        if marked:
            return marked[0]
        generic = [i for i, op in enumerate(self.ops) if op.name.startswith("linalg.")]
        if not generic:
            raise SeercError(f"line {self.function.line}: the function holds no linalg op: nothing to compute")
        return max(generic, key=lambda i: (self.ops[i].reduction, self.ops[i].points, -i))


def parse_type(text: str, line: int = 1) -> Tensor:
    """`tensor<1x128xf32>` or a scalar type, row-major."""
    match = re.fullmatch(r"(?:tensor|memref|vector)<((?:\s*\d+\s*x)*)\s*(\w+)\s*(?:,.*)?>", text, re.DOTALL)
    shape = tuple(int(d) for d in re.findall(r"\d+", match.group(1))) if match else ()
    dtype = match.group(2) if match else text
    if dtype not in BITS:
        raise SeercError(f"line {line}: {text[:80]} is not a static tensor of {', '.join(BITS)}")
    if len(shape) > MAX_RANK or prod(shape) > MAX_EXTENT:
        raise SeercError(f"line {line}: {text[:80]} has more than {MAX_RANK} dimensions or {MAX_EXTENT} elements")
    return Tensor(shape, dtype, row_major(shape))


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of a dense row-major array."""
    strides = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * shape[i + 1]
    return tuple(strides)


def _placed(tensor: Tensor, attributes: dict[str, list[Token | Group]], line: int) -> Tensor:
    strides = tensor.strides
    if "seerc.strides" in attributes:
        strides = tuple(int(t.text) for t in _tokens(attributes["seerc.strides"]) if t.kind == "number")
        if len(strides) != len(tensor.shape):
            raise SeercError(f"line {line}: {len(strides)} strides for a tensor of {len(tensor.shape)} dimensions")
    return Tensor(tensor.shape, tensor.dtype, strides, "seerc.constant" in attributes)


def _tokens(items: Iterable[Token | Group]) -> Iterator[Token]:
    for item in items:
        if isinstance(item, Token):
            yield item
        else:
            yield from _tokens(item.items)


def _ssa(items: Iterable[Token | Group]) -> list[str]:
    """Value names in order, `%a#1` kept, those inside regions left out."""
    found: list[str] = []
    for item in items:
        if isinstance(item, Token):
            found += [item.text] if item.kind == "ssa" else []
        elif item.region is None:
            found += _ssa(item.items)
    return found


def _result_types(statement: Statement) -> list[Tensor]:
    """Types after the last `->`, else after the last `:` or `into` or `to`."""
    texts = [t.text if isinstance(t, Token) else t.opener for t in statement.items]
    marks = [i for i, t in enumerate(texts) if t == "->"] or [
        i for i, t in enumerate(texts) if t in (":", "into", "to")
    ]
    after = statement.items[marks[-1] + 1 :] if marks else []
    found = [parse_type(t.text, t.line) for t in _tokens(after) if t.kind == "shaped" or t.text in BITS]
    if not found and ("true" in texts or "false" in texts):
        found = [parse_type("i1", statement.line)]  # MLIR leaves the type of a boolean constant out
    if not found:
        raise SeercError(f"line {statement.line}: {statement.name} has no result type that can be read")
    if not any(t == "->" for t in texts) and len(found) > 1:
        found = found[-1:]
    return found * len(statement.results) if len(found) == 1 and statement.name.startswith("arith.") else found


def _kind(items: list[Token | Group]) -> str:
    """`seerc.kind` of the function's attributes; empty if absent."""
    for item in items:
        if isinstance(item, Group) and item.opener == "{" and item.region is None:
            for token in _tokens(dictionary(item).get("seerc.kind", [])):
                return token.text.strip('"')
    return ""

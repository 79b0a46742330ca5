"""MLIR's textual pipeline syntax with Python and upstream passes mixed at any nesting, as one native PassManager.

    builtin.module(canonicalize, func.func(my-pass{n=4}, cse), seerc-fuse{cost-model=default})

A name in the registry is a Python pass; any other is handed to MLIR as it stands. Inside a nest that holds a Python
pass each pass visits every nested operation before the next one starts, where MLIR alone takes operation by operation.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from costmodel.errors import SeercError, suggestion
from passes.base import Pass, PassContext
from passes.options import parse_options
from passes.registry import PassRegistry

if TYPE_CHECKING:
    from passes.mlir import PassManager

ROOT = "builtin.module"
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
# Candidates for "did you mean": the bindings cannot list the upstream passes.
_UPSTREAM_NAMES = (
    "canonicalize",
    "convert-func-to-llvm",
    "convert-linalg-to-loops",
    "convert-scf-to-cf",
    "convert-vector-to-llvm",
    "convert-vector-to-scf",
    "cse",
    "eliminate-empty-tensors",
    "finalize-memref-to-llvm",
    "inline",
    "linalg-fuse-elementwise-ops",
    "linalg-generalize-named-ops",
    "loop-invariant-code-motion",
    "lower-affine",
    "one-shot-bufferize",
    "promote-buffers-to-stack",
    "reconcile-unrealized-casts",
    "symbol-dce",
    "transform-interpreter",
)


@dataclass(frozen=True)
class Upstream:
    """A pass of MLIR itself, its options verbatim."""

    name: str
    options: str = ""

    def __str__(self) -> str:
        return f"{self.name}{{{self.options}}}" if self.options else self.name


@dataclass(frozen=True)
class Nest:
    """Passes that run on the operations called `op_name` right below the current one."""

    op_name: str
    items: tuple[Item, ...]

    def __str__(self) -> str:
        return f"{self.op_name}({','.join(map(str, self.items))})"


Item = Pass | Upstream | Nest


@dataclass(frozen=True)
class Pipeline:
    """A parsed pipeline on `builtin.module`; `str(p)` parses back to the same one."""

    items: tuple[Item, ...] = ()

    @classmethod
    def parse(cls, text: str, registry: PassRegistry) -> Pipeline:
        """Parse `builtin.module(...)`.

        Raises:
            SeercError: a syntax error with its column, or an option that its pass does not have.
        """
        parser = _Parser(text, registry)
        root = parser.item()
        parser.expect_end()
        if not isinstance(root, Nest) or root.op_name != ROOT:
            raise SeercError(f"a pipeline starts at the module: write {ROOT}({text.strip()})")
        return cls(root.items)

    def __str__(self) -> str:
        return str(Nest(ROOT, self.items))

    def build(self, context: PassContext | None = None) -> PassManager:
        """A native PassManager with these passes; call it with an active `ir.Context`.

        Raises:
            SeercError: MLIR does not know a pass or its options, or refuses the nesting.
        """
        from passes.mlir import PassManager

        manager = PassManager(ROOT)
        _add(manager, self.items, (), context or PassContext())
        return manager


def _has_python(item: Item) -> bool:
    return isinstance(item, Pass) or (isinstance(item, Nest) and any(map(_has_python, item.items)))


def _add(manager: PassManager, items: tuple[Item, ...], nest: tuple[str, ...], context: PassContext) -> None:
    """Append `items`: runs of upstream parts as text, Python passes as callables, mixed nests flattened."""
    for mixed, group in groupby(items, _has_python):
        if not mixed:
            _add_text(manager, tuple(group), nest)
            continue
        for item in group:
            if isinstance(item, Pass):
                _refuse_upstream_name(item)
                item.add_to(manager, context, nest)
            elif isinstance(item, Nest):
                _add(manager, item.items, (*nest, _nestable(item.op_name)), context)


def _add_text(manager: PassManager, items: tuple[Item, ...], nest: tuple[str, ...]) -> None:
    text = ",".join(map(str, items))
    for op_name in reversed(nest):
        text = f"{op_name}({text})"
    try:
        manager.add(text)
    except ValueError as error:
        raise SeercError(_explain(str(error))) from error


def _explain(message: str) -> str:
    """MLIR's complaint about a pipeline in one line, with the nearest name where a pass is unknown."""
    _, quote, rest = message.partition("error: '")
    name = rest.partition("'")[0]
    if quote and "registered pass" in rest:
        return f"unknown pass {name!r}, neither registered with seerc nor upstream: {suggestion(name, _UPSTREAM_NAMES)}"
    return "; ".join(line.strip() for line in message.splitlines() if line.strip())


def _nestable(op_name: str) -> str:
    if op_name == "any":
        raise SeercError("any(...) cannot hold a Python pass: name the operation, as in func.func(...)")
    return op_name


def _refuse_upstream_name(item: Pass) -> None:
    from passes.mlir import PassManager

    try:
        PassManager(ROOT).add(item.name)
    except ValueError as error:
        if "does not refer to a registered pass" in str(error):
            return
    raise SeercError(f"pass {item.name!r} ({type(item).__module__}) has the name of an upstream pass: rename it")


class _Parser:
    """Recursive descent over `item := name | name{options} | name(item, ...)`."""

    def __init__(self, text: str, registry: PassRegistry) -> None:
        self.text = text
        self.registry = registry
        self.position = 0

    def item(self) -> Item:
        name = self._name()
        if self._accept("("):
            return Nest(name, self._items())
        options = self._options() if self._accept("{") else ""
        if name in self.registry.entries:
            return parse_options(self.registry.get(name), options)
        return Upstream(name, options.strip())

    def expect_end(self) -> None:
        if self._peek():
            raise self._error("expected the end of the pipeline")

    def _items(self) -> tuple[Item, ...]:
        if self._accept(")"):
            return ()
        items = [self.item()]
        while self._accept(","):
            items.append(self.item())
        if not self._accept(")"):
            raise self._error("expected ',' or ')'")
        return tuple(items)

    def _name(self) -> str:
        self._peek()
        start = self.position
        while self.text[self.position : self.position + 1] in _NAME_CHARACTERS:
            self.position += 1
        if start == self.position:
            raise self._error("expected the name of a pass or operation")
        return self.text[start : self.position]

    def _options(self) -> str:
        start, depth = self.position, 1
        while depth:
            if self.position == len(self.text):
                self.position = start - 1
                raise self._error("this '{' is never closed")
            depth += {"{": 1, "}": -1}.get(self.text[self.position], 0)
            self.position += 1
        return self.text[start : self.position - 1]

    def _peek(self) -> str:
        while self.text[self.position : self.position + 1].isspace():
            self.position += 1
        return self.text[self.position : self.position + 1]

    def _accept(self, character: str) -> bool:
        found = self._peek() == character
        self.position += found
        return found

    def _error(self, what: str) -> SeercError:
        near = self.text[self.position : self.position + 20] or "the end"
        return SeercError(f"pipeline, column {self.position + 1}: {what}, found {near!r}")

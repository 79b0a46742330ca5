"""Writes @main of linalg on tensors as text: what a frontend would hand over, without exporting a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from compiler.frontend.model import Array, ImportedModel, TensorSpec

_MATH = frozenset("exp erf tanh sqrt rsqrt log log1p absf powf floor ceil sin cos".split())
_COMPARE = frozenset("ugt ult oge ole ogt olt".split())
_ITEM_BYTES = {"f32": 4, "i64": 8}
STARTS = {"addf": "0.0", "maximumf": "0xFF800000", "minimumf": "0x7F800000", "mulf": "1.0"}
"""What a reduction by each op starts from."""


@dataclass(frozen=True)
class Value:
    """An SSA value: a tensor of static shape."""

    name: str
    shape: tuple[int, ...]
    kind: str = "f32"

    @property
    def type(self) -> str:
        """The MLIR type."""
        return "tensor<" + "".join(f"{n}x" for n in self.shape) + f"{self.kind}>"

    @property
    def bytes(self) -> int:
        """Size of the array."""
        return prod(self.shape) * _ITEM_BYTES[self.kind]


@dataclass
class Writer:
    """Builds one @main op by op; each method returns the value that its op makes.

    Index notation is einsum's: `"ij, j -> ij"` names the loops by which each operand and the result are indexed; loops
    that the result lacks are reduced. A body is statements `name = op args`, separated by `;`, over the operands a, b,
    ... and literals; the last one's value is the result's.
    """

    name: str
    largest: float = 0.0
    """Floating-point operations of the largest op so far (a multiply-add is two, any other one)."""
    lines: list[str] = field(default_factory=list[str])
    weights: list[tuple[Value, Array]] = field(default_factory=list[tuple[Value, Array]])
    inputs: list[Value] = field(default_factory=list[Value])
    count: int = 0

    def weight(self, *shape: int, turned: bool = False) -> Value:
        """A weight argument; `turned`: its two dimensions lie in memory the other way round, as a Linear's do."""
        value = Value(f"%w{len(self.weights)}", shape)
        array = np.empty(shape[::-1], np.float32).T if turned else np.empty(shape, np.float32)
        self.weights.append((value, array))
        return value

    def input(self, *shape: int, kind: str = "f32") -> Value:
        """An input argument."""
        self.inputs.append(Value(f"%x{len(self.inputs)}", shape, kind))
        return self.inputs[-1]

    def line(self, text: str, shape: tuple[int, ...], kind: str = "f32") -> Value:
        """Appends an op that makes a tensor; `TYPE` in the text is the tensor's type."""
        value = Value(f"%v{self.count}", shape, kind)
        self.count += 1
        self.lines.append(f"    {value.name} = {text.replace('TYPE', value.type)}")
        return value

    def empty(self, *shape: int) -> Value:
        """An uninitialised tensor."""
        return self.line("tensor.empty() : TYPE", shape)

    def fill(self, literal: str, *shape: int) -> Value:
        """A tensor filled with an f32 literal."""
        scalar = f"%c{self.count}"
        self.lines.append(f"    {scalar} = arith.constant {literal} : f32")
        empty = self.empty(*shape)
        return self.line(f"linalg.fill ins({scalar} : f32) outs({empty.name} : TYPE) -> TYPE", shape)

    def apply(self, indices: str, inputs: Sequence[Value], body: str) -> Value:
        """A generic over parallel loops."""
        return self._generic(indices, inputs, body, None)

    def reduce(self, indices: str, inputs: Sequence[Value], body: str, by: str = "addf") -> Value:
        """A generic that folds the body's value into its result by the op `by`; an empty body folds the operand."""
        return self._generic(
            indices, inputs, (f"{body}; " if body else "") + f"last = {by} out {'it' if body else 'a'}", by
        )

    def _generic(self, indices: str, inputs: Sequence[Value], body: str, by: str | None) -> Value:
        *operands, result = indices.replace("->", ",").replace(" ", "").split(",")
        extents = {
            d: n for letters, v in zip(operands, inputs, strict=True) for d, n in zip(letters, v.shape, strict=True)
        }
        loops = max(operands, key=len) if by else result
        loops += "".join(d for d in extents if d not in loops and d not in "0")
        shape = tuple(extents.get(d, 1) for d in result)
        init = self.fill(STARTS[by], *shape) if by else self.empty(*shape)
        self.largest = max(self.largest, prod(extents[d] for d in loops) * (body.count(";") + 1))
        return self.structured(
            loops, result, list(zip(inputs, operands, strict=True)), result, init, _assembled(body, inputs)
        )

    def structured(
        self, loops: str, parallel: str, inputs: Sequence[tuple[Value, str]], out: str, init: Value, body: str
    ) -> Value:
        """A generic with loops in this order and a body in MLIR."""
        maps = ", ".join(_map(loops, letters) for letters in [*(letters for _, letters in inputs), out])
        kinds = ", ".join('"parallel"' if d in parallel else '"reduction"' for d in loops)
        names, types = ", ".join(v.name for v, _ in inputs), ", ".join(v.type for v, _ in inputs)
        block = ", ".join([*(f"%{chr(97 + i)}: {v.kind}" for i, (v, _) in enumerate(inputs)), f"%out: {init.kind}"])
        return self.line(
            f"linalg.generic {{indexing_maps = [{maps}], iterator_types = [{kinds}]}} ins({names} : {types}) "
            f"outs({init.name} : TYPE) {{\n    ^bb0({block}):\n{body}\n    }} -> TYPE",
            init.shape,
            init.kind,
        )

    def named(self, op: str, inputs: Sequence[Value], init: Value, taps: int, attributes: str = "") -> Value:
        """A named op onto `init` that does `taps` multiply-adds an element."""
        self.largest = max(self.largest, 2.0 * prod(init.shape) * taps)
        names, types = ", ".join(v.name for v in inputs), ", ".join(v.type for v in inputs)
        return self.line(
            f"linalg.{op} {attributes} ins({names} : {types}) outs({init.name} : TYPE) -> TYPE", init.shape
        )

    def transpose(self, value: Value, *permutation: int) -> Value:
        """Dimensions in another order: a view, unless the layout cannot make it one."""
        empty = self.empty(*(value.shape[p] for p in permutation))
        order = ", ".join(map(str, permutation))
        return self.line(
            f"linalg.transpose ins({value.name} : {value.type}) outs({empty.name} : TYPE) permutation = [{order}]",
            empty.shape,
        )

    def reshape(self, value: Value, *shape: int) -> Value:
        """Splits or merges dimensions, whichever the two shapes need."""
        if len(shape) < len(value.shape):
            groups = _groups(value.shape, shape)
            return self.line(f"tensor.collapse_shape {value.name} {groups} : {value.type} into TYPE", shape)
        groups, sizes = _groups(shape, value.shape), ", ".join(map(str, shape))
        return self.line(
            f"tensor.expand_shape {value.name} {groups} output_shape [{sizes}] : {value.type} into TYPE", shape
        )

    def pad(self, value: Value, before: Sequence[int], after: Sequence[int], literal: str = "0.0") -> Value:
        """A border of a constant: elements before and after, by dimension."""
        indices = ", ".join(f"%i{d}: index" for d in range(len(before)))
        scalar = f"%c{self.count}"
        self.lines.append(f"    {scalar} = arith.constant {literal} : f32")
        return self.line(
            f"tensor.pad {value.name} low[{', '.join(map(str, before))}] high[{', '.join(map(str, after))}] {{\n"
            f"    ^bb0({indices}):\n      tensor.yield {scalar} : f32\n    }} : {value.type} to TYPE",
            tuple(n + b + a for n, b, a in zip(value.shape, before, after, strict=True)),
        )

    def bytes(self) -> int:
        """Size of all arguments."""
        return sum(v.bytes for v, _ in self.weights) + sum(v.bytes for v in self.inputs)

    def model(self, results: Sequence[Value]) -> ImportedModel:
        """The finished model; the values of its weights are arbitrary."""
        arguments = [f'{v.name}: {v.type} {{seerc.weight = "{v.name[1:]}"}}' for v, _ in self.weights]
        arguments += [f"{v.name}: {v.type}" for v in self.inputs]
        types, names = ", ".join(v.type for v in results), ", ".join(v.name for v in results)
        body = "\n".join(self.lines)
        text = (
            f"module {{\n  func.func @main({', '.join(arguments)}) -> ({types}) {{\n{body}\n"
            f"    return {names} : {types}\n  }}\n}}\n"
        )
        inputs = tuple(TensorSpec(v.name[1:], v.shape, v.kind) for v in self.inputs)
        outputs = tuple(TensorSpec(f"output{i}", v.shape, v.kind) for i, v in enumerate(results))
        return ImportedModel(self.name, text, {v.name[1:]: a for v, a in self.weights}, inputs, outputs, {})


def _map(loops: str, letters: str) -> str:
    dims = ", ".join(f"d{i}" for i in range(len(loops)))
    return f"affine_map<({dims}) -> ({', '.join('0' if d == '0' else f'd{loops.index(d)}' for d in letters)})>"


def _assembled(body: str, inputs: Sequence[Value]) -> str:
    """The statements as MLIR, ending in a yield of the last one's value."""
    lines: list[str] = []
    known = {chr(97 + i) for i in range(len(inputs))} | {"out"}
    last = ""
    for statement in body.split(";"):
        target, _, expression = statement.strip().rpartition("=")
        op, *arguments = expression.split()
        names: list[str] = []
        for argument in arguments:
            if argument == "it":
                argument = last
            if argument not in known:
                lines.append(f"      %k{len(lines)} = arith.constant {argument} : f32")
                argument = f"k{len(lines) - 1}"
            names.append(f"%{argument}")
        last = target.strip() or f"t{len(lines)}"
        known.add(last)
        lines.append(f"      %{last} = {_operation(op, names)}")
    return "\n".join([*lines, f"      linalg.yield %{last} : f32"])


def _operation(op: str, names: Sequence[str]) -> str:
    if op in _COMPARE:
        return f"arith.cmpf {op}, {', '.join(names)} : f32"
    return f"{'math' if op in _MATH else 'arith'}.{op} {', '.join(names)} : f32"


def _groups(fine: Sequence[int], coarse: Sequence[int]) -> str:
    """Which dimensions of `fine` make each of `coarse`."""
    groups: list[list[int]] = []
    at = 0
    for size in coarse:
        group = [at]
        at += 1
        while prod(fine[d] for d in group) < size:
            group.append(at)
            at += 1
        groups.append(group)
    groups[-1] += range(at, len(fine))  # trailing dimensions of extent 1
    return str(groups)

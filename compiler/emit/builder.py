"""Builds one kernel function: loops, address arithmetic, loads and stores of scalars and vectors."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from costmodel.region.linear import Linear
from passes.mlir import ir


@dataclass(frozen=True)
class Point:
    """Where an expression is evaluated: a constant offset for each unrolled dimension, and the vector lanes.

    `lane` is the dimension along which `lanes` consecutive elements are computed at once (1: scalars);
    only the first `valid` of them exist.
    """

    offsets: tuple[tuple[str, int], ...] = ()
    lane: str = ""
    lanes: int = 1
    valid: int = 1

    def constant(self, form: Linear) -> int:
        offsets = dict(self.offsets)
        return form.constant + sum(c * offsets.get(d, 0) for d, c in form.terms)


class KernelBuilder:
    """A `func.func` over one-dimensional memrefs, and the insertion point in it."""

    def __init__(self, name: str, argument_types: Sequence[tuple[int, Any]]) -> None:
        """`argument_types`: (elements, element type) of every pointer; call inside a context and location."""
        self.index = ir.IndexType.get()
        self.i8, self.i1 = ir.IntegerType.get_signless(8), ir.IntegerType.get_signless(1)
        self.module = ir.Module.create()
        types = [ir.MemRefType.get([max(n, 1)], self.i8 if t == self.i1 else t) for n, t in argument_types]
        unit = ir.UnitAttr.get()
        attributes = {
            "sym_name": ir.StringAttr.get(name),
            "function_type": ir.TypeAttr.get(ir.FunctionType.get(types, [])),
            "arg_attrs": ir.ArrayAttr.get([ir.DictAttr.get({"llvm.noalias": unit}) for _ in types]),
        }
        with ir.InsertionPoint(self.module.body):
            func = ir.Operation.create("func.func", attributes=attributes, regions=1)
        self.block = func.regions[0].blocks.append(*types)
        self.arguments: list[Any] = list(self.block.arguments)
        self.env: dict[str, Any] = {}
        self._bases: list[dict[tuple[tuple[str, int, int], ...], Any]] = [{}]
        self._constants: dict[tuple[str, str], Any] = {}
        self._point = ir.InsertionPoint(self.block)

    # operations

    def op(self, name: str, operands: Sequence[Any], results: Sequence[Any] = (), **attributes: Any) -> Any:
        made = ir.Operation.create(
            name, results=list(results), operands=list(operands), attributes=attributes, ip=self._point
        )
        return made.results[0] if len(results) == 1 else list(made.results)

    def constant(self, value: int) -> Any:
        """An index constant, in the entry block."""
        return self.scalar(ir.IntegerAttr.get(self.index, value), self.index)

    def scalar(self, attribute: Any, kind: Any) -> Any:
        key = (str(attribute), str(kind))
        if key not in self._constants:
            op = ir.Operation.create(
                "arith.constant",
                results=[kind],
                attributes={"value": attribute},
                ip=ir.InsertionPoint.at_block_begin(self.block),
            )
            self._constants[key] = op.results[0]
        return self._constants[key]

    def finish(self) -> Any:
        self.op("func.return", [])
        return self.module

    # control flow

    @contextmanager
    def scope(self, block: Any) -> Generator[None]:
        """Emission inside `block`; addresses computed in it are not visible outside."""
        outer, env = self._point, dict(self.env)
        self._point = ir.InsertionPoint(block)
        self._bases.append({})
        yield
        self._bases.pop()
        self._point, self.env = outer, env

    def loop(
        self,
        dim: str,
        count: int | Any,
        body: Callable[[list[Any]], list[Any]],
        carried: Sequence[Any] = (),
        step: int = 1,
    ) -> list[Any]:
        """`for dim in range(0, count, step)`; `body` maps carried values to their next ones. Returns the last ones."""
        types = [v.type for v in carried]
        bound = self.constant(count) if isinstance(count, int) else count
        operands = [self.constant(0), bound, self.constant(step), *carried]
        op = ir.Operation.create("scf.for", results=types, operands=operands, regions=1, ip=self._point)
        block = op.regions[0].blocks.append(self.index, *types)
        with self.scope(block):
            self.env[dim] = block.arguments[0]
            self.op("scf.yield", body(list(block.arguments)[1:]))
        return list(op.results)

    def parallel(self, dims: Sequence[tuple[str, int]], body: Callable[[], None]) -> None:
        """A loop nest whose iterations are distributed over threads."""
        zero, one = self.constant(0), self.constant(1)
        bounds = [self.constant(n) for _, n in dims]
        operands = [*[zero] * len(dims), *bounds, *[one] * len(dims)]
        sizes = ir.DenseI32ArrayAttr.get([len(dims), len(dims), len(dims), 0])
        op = ir.Operation.create(
            "scf.parallel", operands=operands, attributes={"operandSegmentSizes": sizes}, regions=1, ip=self._point
        )
        block = op.regions[0].blocks.append(*[self.index] * len(dims))
        with self.scope(block):
            for (dim, _), value in zip(dims, block.arguments, strict=True):
                self.env[dim] = value
            body()
            ir.Operation.create("scf.reduce", ip=self._point)

    def branch(self, dim: str, last: int, on_last: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """`if dim == last`."""
        equal = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), 0)
        condition = self.op("arith.cmpi", [self.env[dim], self.constant(last)], [self.i1], predicate=equal)
        op = ir.Operation.create("scf.if", operands=[condition], regions=2, ip=self._point)
        for region, body in zip(op.regions, (on_last, otherwise), strict=True):
            with self.scope(region.blocks.append()):
                body()
                self.op("scf.yield", [])

    # addresses

    def scaled(self, value: Any, factor: int) -> Any:
        """An index times a constant."""
        return value if factor == 1 else self.op("arith.muli", [value, self.constant(factor)], [self.index])

    def sum(self, left: Any, right: Any) -> Any:
        """The sum of two indices."""
        return self.op("arith.addi", [left, right], [self.index])

    def at_most(self, first: Any, end: int, size: int) -> Any:
        """How many of `size` indices from `first` on are below `end`."""
        left = self.op("arith.subi", [self.constant(end), first], [self.index])
        return self.op("arith.minsi", [left, self.constant(size)], [self.index])

    def address(self, form: Linear, point: Point, extra: int = 0) -> Any:
        """The index value of `form` at `point`, `extra` elements on."""
        offset = point.constant(form) + extra
        terms = tuple((d, c) for d, c in form.terms if d in self.env)
        if not terms:
            return self.constant(offset)
        base = self._base(terms)
        return self.op("arith.addi", [base, self.constant(offset)], [self.index]) if offset else base

    def _base(self, terms: tuple[tuple[str, int], ...]) -> Any:
        key = tuple((d, c, hash(self.env[d])) for d, c in terms)
        for bases in self._bases:
            if key in bases:
                return bases[key]
        dims = [ir.AffineDimExpr.get(i) * c for i, (_, c) in enumerate(terms)]
        total = dims[0]
        for expr in dims[1:]:
            total = total + expr
        affine_map = ir.AffineMapAttr.get(ir.AffineMap.get(len(terms), 0, [total]))
        value = self.op("affine.apply", [self.env[d] for d, _ in terms], [self.index], map=affine_map)
        self._bases[-1][key] = value
        return value

    # vectors

    def vector_type(self, lanes: int, kind: Any) -> Any:
        return ir.VectorType.get([lanes], kind)

    def is_vector(self, value: Any) -> bool:
        return isinstance(value.type, ir.VectorType)

    def broadcast(self, value: Any, lanes: int) -> Any:
        if lanes == 1 or self.is_vector(value):
            return value
        return self.op("vector.broadcast", [value], [self.vector_type(lanes, value.type)])

    def mask(self, lanes: int, valid: int) -> Any:
        bits = ", ".join("true" if i < valid else "false" for i in range(lanes))
        kind = self.vector_type(lanes, self.i1)
        return self.scalar(ir.Attribute.parse(f"dense<[{bits}]> : {kind}"), kind)

    def zero(self, kind: Any) -> Any:
        element = kind.element_type if isinstance(kind, ir.VectorType) else kind
        text = "0.0" if str(element).startswith(("f", "bf")) else "0"
        if isinstance(kind, ir.VectorType):
            return self.scalar(ir.Attribute.parse(f"dense<{text}> : {kind}"), kind)
        return self.scalar(ir.Attribute.parse(f"{text} : {kind}"), kind)

    def load(self, argument: int, form: Linear, kind: Any, point: Point) -> Any:
        memref = self.arguments[argument]
        stored = memref.type.element_type
        stride = form.coefficient(point.lane) if point.lanes > 1 else 0
        vector = self.vector_type(point.lanes, stored)
        if stride == 0:
            value = self.op("memref.load", [memref, self.address(form, point)], [stored])
        elif stride == 1 and point.valid == point.lanes:
            value = self.op("vector.load", [memref, self.address(form, point)], [vector])
        elif stride == 1:
            operands = [memref, self.address(form, point), self.mask(point.lanes, point.valid), self.zero(vector)]
            value = self.op("vector.maskedload", operands, [vector])
        else:
            loaded = [
                self.op("memref.load", [memref, self.address(form, point, i * stride)], [stored])
                for i in range(point.valid)
            ]
            loaded += [self.zero(stored)] * (point.lanes - point.valid)
            value = self.op("vector.from_elements", loaded, [vector])
        return value if stored == kind else self._convert("arith.trunci", value, kind)

    def prefetch(self, argument: int, form: Linear, point: Point, extra: int) -> None:
        """Starts loading the cache line of an element that will be read soon; it may lie beyond the argument's end."""
        hints = {"isWrite": ir.BoolAttr.get(False), "isDataCache": ir.BoolAttr.get(True)}
        hints["localityHint"] = ir.IntegerAttr.get(ir.IntegerType.get_signless(32), 3)
        self.op("memref.prefetch", [self.arguments[argument], self.address(form, point, extra)], **hints)

    def store(self, argument: int, form: Linear, value: Any, point: Point) -> None:
        memref = self.arguments[argument]
        stored = memref.type.element_type
        element = value.type.element_type if self.is_vector(value) else value.type
        if element != stored:
            value = self._convert("arith.extui", value, stored)
        stride = form.coefficient(point.lane) if point.lanes > 1 else 0
        if point.lanes == 1 or stride == 0:
            value = self.extract(value, 0) if self.is_vector(value) else value
            self.op("memref.store", [value, memref, self.address(form, point)])
            return
        value = self.broadcast(value, point.lanes)
        if stride == 1 and point.valid == point.lanes:
            self.op("vector.store", [value, memref, self.address(form, point)])
        elif stride == 1:
            self.op(
                "vector.maskedstore", [memref, self.address(form, point), self.mask(point.lanes, point.valid), value]
            )
        else:
            for i in range(point.valid):
                self.op("memref.store", [self.extract(value, i), memref, self.address(form, point, i * stride)])

    def extract(self, value: Any, lane: int) -> Any:
        position = ir.DenseI64ArrayAttr.get([lane])
        return self.op("vector.extract", [value], [value.type.element_type], static_position=position)

    def _convert(self, name: str, value: Any, kind: Any) -> Any:
        target = self.vector_type(value.type.shape[0], kind) if self.is_vector(value) else kind
        return self.op(name, [value], [target])

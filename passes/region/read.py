"""A region function read into expressions: arguments with strides, loop dimensions, reductions and stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costmodel.region.expression import (
    Accumulator,
    Apply,
    Constant,
    Expr,
    Gather,
    Index,
    Load,
    Reduced,
    Reduction,
    Store,
)
from costmodel.region.linear import Linear, dot
from costmodel.region.region import Region
from passes.mlir import ir
from passes.region.place import Placement, unify
from passes.region.structure import (
    UnsupportedRegion,
    apply_map,
    element_type,
    find_function,
    indexing_maps,
    is_reduction,
    loop_extents,
    read_arguments,
    reduction_positions,
    reshape_index,
    shape_of,
    splat,
    zero,
)
from passes.tiling.schedule import Schedule


def read_region(module: Any) -> Region:
    """Reads a candidate (or an unscheduled workload); UnsupportedRegion if it does not fit the expression form."""
    func = find_function(module)
    try:
        return _Reader(func).region(module)
    except ValueError as error:
        raise UnsupportedRegion(f"{func.name.value}: {error}") from error


class _Reader:
    """Builds the expressions of a function whose ops are placed."""

    def __init__(self, func: Any) -> None:
        self.func = func
        self.arguments, self.inputs = read_arguments(func)
        self.placed = Placement(func)
        self.reductions: list[Reduction] = []
        self.reduced: dict[Any, int] = {}
        self.memo: dict[tuple[Any, tuple[Linear, ...]], Expr] = {}

    def region(self, module: Any) -> Region:
        for op in self.func.entry_block.operations:
            if is_reduction(op.operation):
                self._reduce(op.operation)
        stores = self._stores()
        attributes = self.placed.root.attributes
        text = str(attributes["seerc.schedule"]) if "seerc.schedule" in attributes else None
        schedule = Schedule.parse(text) if text else None
        name = self.func.name.value
        extents = self._used_extents(stores)
        return Region(name, self.arguments, self.inputs, extents, tuple(self.reductions), stores, schedule, module)

    def _used_extents(self, stores: Sequence[Store]) -> dict[str, int]:
        bound = {d for r in self.reductions for d in r.dims}
        free = {d for s in stores for d in s.address.dims()}
        return {d: n for d, n in self.placed.extents.items() if n != 1 or d in bound or d in free}

    def _reduce(self, op: Any) -> None:
        if op not in self.placed.forms:
            raise ValueError(f"{op.name} reduces over dimensions that the root does not have")
        number, forms = len(self.reductions), self.placed.forms[op]
        dims = tuple(str(forms[i].as_dim()) for i in reduction_positions(op) if forms[i].terms)
        out = op.operands[len(op.operands) - 1]
        kind = element_type(out)
        index = self.placed.index[op.results[0]]
        if len(op.results) != 1:
            raise ValueError("a reduction with several results")
        init = self.value(out, index)
        update = self._body(op, forms, Accumulator(number, kind))[0]
        self.reductions.append(Reduction(dims, init, update, index))
        self.reduced[op.results[0]] = number

    def _stores(self) -> tuple[Store, ...]:
        returned = list(self.func.entry_block.operations)[-1].operation.operands
        stores: list[Store] = []
        for i, value in enumerate(returned):
            number = self.inputs + i
            index = self._result_index(value)
            address = dot(index, self.arguments[number].strides)
            stores.append(Store(number, address, self.value(value, index), self.arguments[number].type))
        return tuple(stores)

    def _result_index(self, value: Any) -> tuple[Linear, ...]:
        if value in self.placed.index:
            return self.placed.index[value]
        raise ValueError(f"result {value.get_name()} is not computed at the root's dimensions")

    def value(self, value: Any, index: tuple[Linear, ...]) -> Expr:
        """The element of a tensor value at `index`."""
        key = (value, index)
        if key not in self.memo:
            self.memo[key] = self._value(value, index)
        return self.memo[key]

    def _value(self, value: Any, index: tuple[Linear, ...]) -> Expr:
        kind = element_type(value)
        if isinstance(value.owner, ir.Block):
            number = ir.BlockArgument(value).arg_number
            return Load(number, dot(index, self.arguments[number].strides), kind)
        op = value.owner.operation if hasattr(value.owner, "operation") else value.owner
        if op.name == "linalg.fill":
            return self._scalar(op.operands[0])
        if op.name == "arith.constant":
            return Constant(splat(op), kind)
        if op.name == "tensor.empty":
            return Constant(zero(kind), kind)
        if op.name in ("tensor.expand_shape", "tensor.collapse_shape"):
            source = op.operands[0]
            return self.value(source, tuple(reshape_index(index, shape_of(value), shape_of(source))))
        if op.name != "linalg.generic":
            raise ValueError(f"{op.name} inside a region")
        if is_reduction(op):
            if value not in self.reduced or self.placed.index[value] != index:
                raise ValueError("a reduction is read elsewhere than where it is computed")
            return Reduced(self.reduced[value], kind)
        return self._elementwise(op, value, index)

    def _elementwise(self, op: Any, value: Any, index: tuple[Linear, ...]) -> Expr:
        number = list(op.results).index(value)
        maps, extents = indexing_maps(op), loop_extents(op)
        found = unify(maps[len(maps) - len(op.results) + number], index, {})
        forms = [found.get(i, Linear()) for i in range(len(extents))]
        if any(i not in found and n != 1 for i, n in enumerate(extents)):
            raise ValueError("an elementwise op whose result does not fix its loops")
        return self._body(op, forms, None)[number]

    def _body(self, op: Any, forms: list[Linear], accumulator: Expr | None) -> list[Expr]:
        block = op.regions[0].blocks[0]
        maps, operands = indexing_maps(op), list(op.operands)
        env: dict[Any, Expr] = {}
        if accumulator is not None:
            env[block.arguments[len(operands) - 1]] = accumulator

        def read(value: Any) -> Expr:
            if value not in env:
                env[value] = compute(value)
            return env[value]

        def compute(value: Any) -> Expr:
            if isinstance(value.owner, ir.Block):
                if value.owner != block:
                    raise ValueError("a body reads a block argument of another op")
                position = ir.BlockArgument(value).arg_number
                return self.value(operands[position], tuple(apply_map(maps[position], forms)))
            inner = value.owner
            if inner.name == "linalg.index":
                return Index(forms[ir.IntegerAttr(inner.attributes["dim"]).value], value.type)
            if inner.name == "tensor.extract":
                return self._extract(inner, [read(v) for v in list(inner.operands)[1:]])
            if inner.name == "arith.constant":
                return Constant(inner.attributes["value"], value.type)
            if len(inner.regions) or len(inner.results) != 1 or inner.name.startswith("tensor."):
                raise ValueError(f"{inner.name} in a linalg body")
            return Apply(inner, tuple(read(v) for v in inner.operands), value.type)

        return [read(v) for v in list(block.operations)[-1].operation.operands]

    def _extract(self, op: Any, indices: list[Expr]) -> Expr:
        tensor = op.operands[0]
        if not isinstance(tensor.owner, ir.Block):
            raise ValueError("tensor.extract from a value computed in the region")
        number = ir.BlockArgument(tensor).arg_number
        argument = self.arguments[number]
        address, dynamic = Linear(), list[tuple[Expr, int, int]]()
        for index, stride, extent in zip(indices, argument.strides, argument.shape, strict=True):
            if isinstance(index, Index):
                address = address + index.form * stride
            else:
                dynamic.append((index, stride, extent))
        return Gather(number, address, tuple(dynamic), element_type(tensor))

    def _scalar(self, value: Any) -> Expr:
        """A scalar computed outside of any body (the value of a fill)."""
        if isinstance(value.owner, ir.Block):
            raise ValueError("a scalar argument")
        op = value.owner.operation if hasattr(value.owner, "operation") else value.owner
        if op.name == "arith.constant":
            return Constant(op.attributes["value"], value.type)
        return Apply(op, tuple(self._scalar(v) for v in op.operands), value.type)

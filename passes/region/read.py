"""A region function read into expressions: arguments with strides, loop dimensions, reductions and stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from costmodel.errors import SeercError
from passes.mlir import ir
from passes.region.expression import Accumulator, Apply, Constant, Expr, Gather, Index, Load, Reduced, Reduction, Store
from passes.region.linear import Linear, apply_map, dot, row_major
from passes.tiling.schedule import Schedule


class UnsupportedRegion(SeercError):
    """A region that this emitter cannot express; the plain lowering can."""


@dataclass(frozen=True)
class Argument:
    """An operand or result of a region: shape, MLIR element type, strides in elements, whether it is a weight."""

    shape: tuple[int, ...]
    type: Any
    strides: tuple[int, ...]
    constant: bool

    def span(self) -> int:
        """Elements between the first and one past the last."""
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)) if prod(self.shape) else 0


@dataclass(frozen=True)
class Region:
    """`arguments` holds the inputs, then the results; `extents` maps loop dimensions to trip counts."""

    name: str
    arguments: tuple[Argument, ...]
    inputs: int
    extents: dict[str, int]
    reductions: tuple[Reduction, ...]
    stores: tuple[Store, ...]
    schedule: Schedule | None
    module: Any = field(repr=False, compare=False)
    """Keeps the operations alive that the expressions point to."""


def find_function(module: Any) -> Any:
    """The one function of a candidate module."""
    functions = [op for op in module.body.operations if op.operation.name == "func.func"]
    if len(functions) != 1:
        raise UnsupportedRegion(f"a candidate holds one function, this has {len(functions)}")
    return functions[0]


def read_arguments(func: Any) -> tuple[tuple[Argument, ...], int]:
    """Inputs then results of a region function, and the number of inputs."""
    kind = func.type
    attrs = func.attributes
    arg_attrs = list(attrs["arg_attrs"]) if "arg_attrs" in attrs else [None] * len(kind.inputs)
    res_attrs = list(attrs["res_attrs"]) if "res_attrs" in attrs else [None] * len(kind.results)
    types = [*kind.inputs, *kind.results]
    made = [_argument(ir.RankedTensorType(t), a) for t, a in zip(types, [*arg_attrs, *res_attrs], strict=True)]
    return tuple(made), len(kind.inputs)


def _argument(kind: Any, attrs: Any) -> Argument:
    shape = tuple(kind.shape)
    attrs = {} if attrs is None else attrs
    strides = tuple(attrs["seerc.strides"]) if "seerc.strides" in attrs else row_major(shape)
    return Argument(shape, kind.element_type, strides, "seerc.constant" in attrs)


def find_root(func: Any) -> Any:
    """The op with the schedule, the one marked root, or the last structured op."""
    ops = [op.operation for op in func.entry_block.operations if op.operation.name == "linalg.generic"]
    for key in ("seerc.schedule", "seerc.root"):
        for op in ops:
            if key in op.attributes:
                return op
    if not ops:
        raise UnsupportedRegion(f"{func.name}: no linalg.generic in the region")
    return ops[-1]


def read_region(module: Any) -> Region:
    """Reads a candidate (or an unscheduled workload); UnsupportedRegion if it does not fit the expression form."""
    func = find_function(module)
    try:
        return _Reader(func).region(module)
    except ValueError as error:
        raise UnsupportedRegion(f"{func.name.value}: {error}") from error


class _Reader:
    """Places every op of the function at linear forms of the root's dimensions, then builds expressions."""

    def __init__(self, func: Any) -> None:
        self.func = func
        self.arguments, self.inputs = read_arguments(func)
        self.root = find_root(func)
        self.extents: dict[str, int] = {}
        self.index: dict[Any, tuple[Linear, ...]] = {}
        self.forms: dict[Any, list[Linear]] = {}
        self.reductions: list[Reduction] = []
        self.reduced: dict[Any, int] = {}
        self.memo: dict[tuple[Any, tuple[Linear, ...]], Expr] = {}

    def region(self, module: Any) -> Region:
        self._place_root()
        self._place_others()
        for op in self.func.entry_block.operations:
            if is_reduction(op.operation):
                self._reduce(op.operation)
        stores = self._stores()
        text = str(self.root.attributes["seerc.schedule"]) if "seerc.schedule" in self.root.attributes else None
        schedule = Schedule.parse(text) if text else None
        name = self.func.name.value
        extents = self._used_extents(stores)
        return Region(name, self.arguments, self.inputs, extents, tuple(self.reductions), stores, schedule, module)

    def _used_extents(self, stores: Sequence[Store]) -> dict[str, int]:
        bound = {d for r in self.reductions for d in r.dims}
        free = {d for s in stores for d in s.address.dims()}
        return {d: n for d, n in self.extents.items() if n != 1 or d in bound or d in free}

    # placing

    def _place_root(self) -> None:
        extents = loop_extents(self.root)
        forms = [Linear.dim(f"d{i}") for i in range(len(extents))]
        self.extents = {f"d{i}": n for i, n in enumerate(extents)}
        self._anchor(self.root, forms)

    def _anchor(self, op: Any, forms: list[Linear]) -> None:
        self.forms[op] = forms
        maps = indexing_maps(op)
        first_out = len(maps) - len(op.results)
        for result, affine_map in zip(op.results, maps[first_out:], strict=True):
            self.index[result] = tuple(apply_map(affine_map, forms))

    def _place_others(self) -> None:
        ops = [op.operation for op in self.func.entry_block.operations]
        changed = True
        while changed:
            changed = any([self._place(op) for op in ops] + [self._place_back(op) for op in reversed(ops)])
            changed = changed or any(self._place_beside(op) for op in ops)

    def _place(self, op: Any) -> bool:
        """Forward: an op one of whose operands is placed."""
        if op in self.forms:
            return False
        if op.name in ("tensor.expand_shape", "tensor.collapse_shape"):
            return self._place_reshape(op)
        if op.name != "linalg.generic":
            return False
        maps, forms, near = indexing_maps(op), dict[int, Linear](), False
        for value, affine_map in zip(op.operands, maps, strict=True):
            if value in self.index:
                forms, near = forms | self._unify(affine_map, self.index[value], forms), True
        return near and self._complete(op, forms)

    def _place_back(self, op: Any) -> bool:
        """Backward: an op whose result is read by a placed op at plain dimensions."""
        if op in self.forms or op.name != "linalg.generic" or op.results[0] in self.index:
            return False
        for use in op.results[0].uses:
            user = use.owner
            if user not in self.forms or user.name != "linalg.generic":
                continue
            indices = apply_map(indexing_maps(user)[use.operand_number], self.forms[user])
            forms = self._unify(indexing_maps(op)[-1], indices, {})
            if all(f.as_dim() or not f.terms for f in forms.values()) and self._complete(op, forms):
                return True
        return False

    def _place_beside(self, op: Any) -> bool:
        """An op over the root's loops that shares only arguments with what is placed (sum and sum of squares)."""
        if op in self.forms or op.name != "linalg.generic" or not self._spans_root(loop_extents(op)):
            return False
        return self._complete(op, {})

    def _place_reshape(self, op: Any) -> bool:
        source, result = op.operands[0], op.results[0]
        if source not in self.index or result in self.index:
            return False
        self.index[result] = tuple(_reshape_index(self.index[source], shape_of(source), shape_of(result)))
        return True

    def _unify(self, affine_map: Any, index: Sequence[Linear], known: dict[int, Linear]) -> dict[int, Linear]:
        found: dict[int, Linear] = {}
        for i, form in enumerate(index):
            expr = affine_map.results[i]
            if isinstance(expr, ir.AffineDimExpr) and expr.position not in known:
                found[expr.position] = form
        return found

    def _complete(self, op: Any, forms: dict[int, Linear]) -> bool:
        """Names what is left: size-1 dimensions are 0, reduction dimensions take a free root dimension or a new one."""
        extents, reducing = loop_extents(op), reduction_positions(op)
        used = {d for f in forms.values() for d in f.dims()}
        for i, extent in enumerate(extents):
            if i in forms:
                continue
            if extent == 1:
                forms[i] = Linear()
            elif f"d{i}" not in used and self._spans_root(extents):
                forms[i] = Linear.dim(f"d{i}")
                used.add(f"d{i}")
            elif i in reducing:
                free = [d for d, n in self.extents.items() if n == extent and d not in used]
                name = free[-1] if free else f"r{len(self.extents)}"
                self.extents[name] = extent
                used.add(name)
                forms[i] = Linear.dim(name)
            else:
                return False
        self._anchor(op, [forms[i] for i in range(len(extents))])
        return True

    def _spans_root(self, extents: list[int]) -> bool:
        """Whether an op has the loops of a root that reduces: in a row region it then runs along them."""
        kind = self.func.attributes["seerc.kind"] if "seerc.kind" in self.func.attributes else None
        return is_reduction(self.root) and str(kind) != '"contraction"' and extents == loop_extents(self.root)

    # expressions

    def _reduce(self, op: Any) -> None:
        if op not in self.forms:
            raise ValueError(f"{op.name} reduces over dimensions that the root does not have")
        number, forms = len(self.reductions), self.forms[op]
        dims = tuple(str(forms[i].as_dim()) for i in reduction_positions(op) if forms[i].terms)
        out = op.operands[len(op.operands) - 1]
        kind = element_type(out)
        index = self.index[op.results[0]]
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
        if value in self.index:
            return self.index[value]
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
            return Constant(_splat(op), kind)
        if op.name == "tensor.empty":
            return Constant(_zero(kind), kind)
        if op.name in ("tensor.expand_shape", "tensor.collapse_shape"):
            source = op.operands[0]
            return self.value(source, tuple(_reshape_index(index, shape_of(value), shape_of(source))))
        if op.name != "linalg.generic":
            raise ValueError(f"{op.name} inside a region")
        if is_reduction(op):
            if value not in self.reduced or self.index[value] != index:
                raise ValueError("a reduction is read elsewhere than where it is computed")
            return Reduced(self.reduced[value], kind)
        return self._elementwise(op, value, index)

    def _elementwise(self, op: Any, value: Any, index: tuple[Linear, ...]) -> Expr:
        number = list(op.results).index(value)
        maps, extents = indexing_maps(op), loop_extents(op)
        found = self._unify(maps[len(maps) - len(op.results) + number], index, {})
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


def indexing_maps(op: Any) -> list[Any]:
    return [ir.AffineMapAttr(a).value for a in op.attributes["indexing_maps"]]


def reduction_positions(op: Any) -> list[int]:
    return [i for i, kind in enumerate(op.attributes["iterator_types"]) if "reduction" in str(kind)]


def is_reduction(op: Any) -> bool:
    return op.name == "linalg.generic" and bool(reduction_positions(op))


def loop_extents(op: Any) -> list[int]:
    """Trip count of every loop of a linalg.generic, from the operands that it indexes by a plain dimension."""
    maps = indexing_maps(op)
    extents: dict[int, int] = {}
    for value, affine_map in zip(op.operands, maps, strict=True):
        shape = shape_of(value)
        for i in range(len(affine_map.results)):
            expr = affine_map.results[i]
            if isinstance(expr, ir.AffineDimExpr):
                extents.setdefault(expr.position, shape[i])
    if len(extents) != maps[0].n_dims:
        raise ValueError("a loop whose extent no operand shows")
    return [extents[i] for i in range(maps[0].n_dims)]


def shape_of(value: Any) -> tuple[int, ...]:
    return tuple(ir.RankedTensorType(value.type).shape) if isinstance(value.type, ir.RankedTensorType) else ()


def element_type(value: Any) -> Any:
    return ir.RankedTensorType(value.type).element_type if isinstance(value.type, ir.RankedTensorType) else value.type


def _reshape_index(index: Sequence[Linear], source: Sequence[int], result: Sequence[int]) -> list[Linear]:
    """Index into a reshape that adds or drops only dimensions of size 1."""
    kept = [form for form, n in zip(index, source, strict=True) if n != 1]
    if [n for n in source if n != 1] != [n for n in result if n != 1]:
        raise ValueError(f"a reshape of {tuple(source)} to {tuple(result)} inside a region")
    forms = iter(kept)
    return [Linear() if n == 1 else next(forms) for n in result]


def _splat(op: Any) -> Any:
    attribute = op.attributes["value"]
    if not isinstance(attribute, ir.DenseElementsAttr):
        return attribute
    if not attribute.is_splat:
        raise ValueError("a dense constant inside a region")
    return attribute.get_splat_value()


def _zero(kind: Any) -> Any:
    return ir.FloatAttr.get(kind, 0.0) if "f" in str(kind) else ir.IntegerAttr.get(kind, 0)

"""A parsed workload read into expressions: the same form that passes.region reads from MLIR, by the same rules."""

from __future__ import annotations

from functools import lru_cache

from costmodel.body import Body
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
from costmodel.region.place import Placement, evaluate, reshape_index, unify
from costmodel.region.region import Argument, Region
from costmodel.workload import Op, Tensor, Workload


@lru_cache(maxsize=4096)
def read_workload(workload: Workload) -> Region | None:
    """The region of a workload; None if its ops do not fit the expression form (the plain lowering computes those)."""
    try:
        return _Reader(workload).region()
    except ValueError:
        return None


class _Reader:
    """Builds the expressions of a workload whose ops are placed."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        inputs = workload.values[: workload.arguments]
        self.arguments = tuple(_argument(t) for t in (*inputs, *workload.result_types))
        self.placed = Placement(workload)
        self.made = {v: op for op in workload.ops for v in op.results}
        self.reductions: list[Reduction] = []
        self.reduced: dict[int, int] = {}
        self.memo: dict[tuple[int, tuple[Linear, ...]], Expr] = {}

    def region(self) -> Region:
        for number, op in enumerate(self.workload.ops):
            if op.reduction:
                self._reduce(number, op)
        stores = self._stores()
        bound = {d for r in self.reductions for d in r.dims}
        free = {d for s in stores for d in s.address.dims()}
        extents = {d: n for d, n in self.placed.extents.items() if n != 1 or d in bound or d in free}
        inputs = self.workload.arguments
        return Region("workload", self.arguments, inputs, extents, tuple(self.reductions), stores, None)

    def _reduce(self, position: int, op: Op) -> None:
        forms = self.placed.forms.get(position)
        if forms is None or op.flow is None or len(op.results) != 1:
            raise ValueError(f"{op.name} reduces over dimensions that the root does not have")
        number, out = len(self.reductions), op.operands[-1]
        reducing = [i for i, kind in enumerate(op.iterators) if kind == "reduction"]
        dims = tuple(str(forms[i].as_dim()) for i in reducing if forms[i].terms)
        index = self.placed.index[op.results[0]]
        init = self.value(out, index)
        accumulator = Accumulator(number, self.workload.values[out].dtype)
        (update,) = self._body(op, op.flow, forms, accumulator)
        self.reductions.append(Reduction(dims, init, update, index))
        self.reduced[op.results[0]] = number

    def _stores(self) -> tuple[Store, ...]:
        stores: list[Store] = []
        for i, value in enumerate(self.workload.results):
            if value not in self.placed.index:
                raise ValueError("a result is not computed at the root's dimensions")
            number, index = self.workload.arguments + i, self.placed.index[value]
            argument = self.arguments[number]
            stores.append(Store(number, dot(index, argument.strides), self.value(value, index), argument.type))
        return tuple(stores)

    def value(self, value: int, index: tuple[Linear, ...]) -> Expr:
        """The element of a tensor value at `index`."""
        key = (value, index)
        if key not in self.memo:
            self.memo[key] = self._value(value, index)
        return self.memo[key]

    def _value(self, value: int, index: tuple[Linear, ...]) -> Expr:
        tensor = self.workload.values[value]
        if value < self.workload.arguments:
            return Load(value, dot(index, self.arguments[value].strides), tensor.dtype)
        op = self.made.get(value)
        if op is None or op.name in ("arith.constant", "tensor.empty", "linalg.fill"):
            return Constant(value, tensor.dtype)
        if op.name in ("tensor.expand_shape", "tensor.collapse_shape"):
            source = op.operands[0]
            return self.value(source, reshape_index(index, tensor.shape, self.workload.values[source].shape))
        if op.flow is None:
            raise ValueError(f"{op.name} inside a region")
        if op.reduction:
            if value not in self.reduced or self.placed.index[value] != index:
                raise ValueError("a reduction is read elsewhere than where it is computed")
            return Reduced(self.reduced[value], tensor.dtype)
        number = op.results.index(value)
        found = unify(op.maps[len(op.maps) - len(op.results) + number], index, {})
        if any(i not in found and n != 1 for i, n in enumerate(op.extents)):
            raise ValueError("an elementwise op whose result does not fix its loops")
        return self._body(op, op.flow, [found.get(i, Linear()) for i in range(len(op.extents))], None)[number]

    def _body(self, op: Op, flow: Body, forms: list[Linear], accumulator: Expr | None) -> list[Expr]:
        env: dict[int, Expr] = {}
        if accumulator is not None:
            env[len(op.operands) - 1] = accumulator

        def read(number: int) -> Expr:
            if number not in env:
                env[number] = compute(number)
            return env[number]

        def compute(number: int) -> Expr:
            if number < 0:
                return self.value(-1 - number, ())
            if number < flow.arguments:
                return self.value(op.operands[number], tuple(evaluate(e, forms) for e in op.maps[number]))
            step = flow.steps[number - flow.arguments]
            if step.name == "linalg.index":
                return Index(forms[int(step.text)], "index")
            if step.name == "tensor.extract":
                return self._extract(step.operands[0], [read(v) for v in step.operands[1:]])
            if step.name == "arith.constant":
                return Constant((id(op), number), "f32")
            return Apply(step, tuple(read(v) for v in step.operands), "f32")

        return [read(v) for v in flow.yields]

    def _extract(self, number: int, indices: list[Expr]) -> Expr:
        tensor = -1 - number
        if not 0 <= tensor < self.workload.arguments:
            raise ValueError("tensor.extract from a value computed in the region")
        argument = self.arguments[tensor]
        address, dynamic = Linear(), list[tuple[Expr, int, int]]()
        for index, stride, extent in zip(indices, argument.strides, argument.shape, strict=True):
            if isinstance(index, Index):
                address = address + index.form * stride
            else:
                dynamic.append((index, stride, extent))
        return Gather(tensor, address, tuple(dynamic), argument.type)


def _argument(tensor: Tensor) -> Argument:
    return Argument(tensor.shape, tensor.dtype, tensor.strides, tensor.constant)

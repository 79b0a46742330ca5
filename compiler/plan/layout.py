"""Layout: gives every tensor of the fused @main a place in memory, so that most reshapes, transposes, pads and
concatenations cost nothing.

A result is placed where its consumers want it (compiler/plan/wishes.py): inside the padded or concatenated buffer, in
the program's output, or permuted so that a later reshape is a view. Results of convolutions and pooling are
channels-last, and so are the filters of depthwise convolutions. What no view can express becomes a copy kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from compiler.plan.steps import Buffer, IfStep, KernelCall, LoopStep, Step, Steps
from compiler.plan.tensor_ops import BITS, concat_parts, element_of, groups, pad_value, slice_place
from compiler.plan.views import (
    Place,
    collapse_strides,
    contiguous,
    expand_strides,
    extract_slice,
    nesting,
    permuted_strides,
    same,
    span,
    transpose,
)
from compiler.plan.windows import Windows, channels_last
from compiler.plan.wishes import filter_strides, wished_place
from compiler.plan.workload import copy_text, fill_text, name_workload, region_text
from costmodel.errors import SeercError
from costmodel.region.linear import row_major
from passes.mlir import ir
from passes.region.structure import shape_of

Shape = Sequence[int]


def plan_layout(module: Any, weights: Mapping[str, np.ndarray[Any, Any]]) -> Steps:
    """The steps of a fused module; `weights` are the arrays by `seerc.weight` name (their strides are kept)."""
    layout = Layout(module)
    layout.place_arguments(weights)
    layout.place_block(layout.main.entry_block)
    return layout.planned


class Layout:
    """Walks @main in order and keeps the place of every value seen."""

    def __init__(self, module: Any) -> None:
        functions = {f.name.value: f for f in module.body.operations if f.operation.name == "func.func"}
        self.functions = functions
        self.main = functions["main"]
        self.windows = Windows(functions)
        self.places: dict[Any, Place] = {}
        self.planned = Steps()
        self._texts: dict[tuple[Any, ...], str] = {}
        self._joined: dict[Any, Place] = {}
        self._steps: list[Step] = self.planned.steps
        self._loop_index: Any = None

    # buffers

    def _buffer(self, name: str, kind: str, elements: int, element: str) -> None:
        self.planned.buffers[name] = Buffer(name, kind, elements, BITS[element] // 8)

    def _temporary(self, shape: Shape, element: str, strides: Shape | None = None) -> Place:
        name = f"t{len(self.planned.buffers)}"
        self._buffer(name, "temporary", prod(shape), element)
        return Place(name, tuple(shape), tuple(strides) if strides is not None else row_major(shape))

    def place_arguments(self, weights: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Buffers of weights, inputs and outputs; SeercError if a weight has no array of its shape."""
        attributes = self.main.attributes
        attrs = list(attributes["arg_attrs"]) if "arg_attrs" in attributes else [{}] * len(self.main.arguments)
        inputs = 0
        for value, attr in zip(self.main.arguments, attrs, strict=True):
            if "seerc.weight" in attr:
                name = ir.StringAttr(attr["seerc.weight"]).value
                self.places[value] = self._weight(name, value, weights)
            else:
                self._buffer(f"in{inputs}", "input", prod(shape_of(value)), element_of(value))
                self.places[value] = contiguous(f"in{inputs}", shape_of(value))
                inputs += 1
        for i, value in enumerate(list(self.main.entry_block.operations)[-1].operation.operands):
            self._buffer(f"out{i}", "output", prod(shape_of(value)), element_of(value))

    def _weight(self, name: str, value: Any, weights: Mapping[str, np.ndarray[Any, Any]]) -> Place:
        """As the array lies in memory, but for filters that only a depthwise convolution reads."""
        shape = shape_of(value)
        if name not in weights:
            raise SeercError(f"weight {name!r} is an argument of @main but has no array")
        array = weights[name]
        if array.shape != shape:
            raise SeercError(f"weight {name!r} has shape {array.shape}, the program expects {shape}")
        if any(s < 0 or s % array.itemsize for s in array.strides):
            raise SeercError(f"weight {name!r} has byte strides {array.strides}: make the array contiguous")
        strides = tuple(s // array.itemsize for s in array.strides)
        wanted = filter_strides(self.functions, value)
        place = Place(f"w:{name}", shape, wanted or strides)
        self._buffer(place.buffer, "weight", span(place), element_of(value))
        self.planned.weights[place.buffer] = name
        if wanted is not None and nesting(shape, wanted) != nesting(shape, strides):
            self.planned.orders[place.buffer] = nesting(shape, wanted)
        return place

    # operations

    def place_block(self, block: Any) -> None:
        """Places the results of every operation of a block."""
        handlers = {
            "func.call": self._call,
            "tensor.expand_shape": self._expand,
            "tensor.collapse_shape": self._collapse,
            "tensor.extract_slice": self._extract,
            "tensor.insert_slice": self._insert,
            "linalg.transpose": self._transpose,
            "tensor.pad": self._pad,
            "tensor.concat": self._concat,
            "scf.for": self._for,
            "scf.if": self._if,
            "tensor.extract": self._condition,
            "func.return": self._return,
            "arith.constant": self._constant,
            "tensor.empty": self._ignore,
            "scf.yield": self._ignore,
        }
        for op in block.operations:
            name = op.operation.name
            if name not in handlers:
                raise SeercError(f"{name} at {op.location} is left outside of every region: run seerc-fuse first")
            handlers[name](op.operation)

    def _ignore(self, op: Any) -> None:
        """Destinations of transposes and loops, and what a loop yields, are placed by those."""

    def _constant(self, op: Any) -> None:
        if isinstance(op.results[0].type, ir.RankedTensorType):
            raise SeercError(f"a dense constant at {op.location} is left in @main: the frontend takes constants out")

    def _call(self, op: Any) -> None:
        name = ir.FlatSymbolRefAttr(op.attributes["callee"]).value
        inputs = tuple(self.places[v] for v in op.operands)
        results = tuple(self._result_place(v, name, inputs) for v in op.results)
        strides = tuple(p.strides for p in (*inputs, *results))
        text = self._workload((name, strides), lambda: region_text(self.functions[name], strides))
        self._emit(text, inputs, results)
        self.places |= dict(zip(op.results, results, strict=True))

    def _workload(self, key: tuple[Any, ...], make: Any) -> str:
        if key not in self._texts:
            self._texts[key], text = name_workload(make())
            self.planned.workloads[self._texts[key]] = text
        return self._texts[key]

    def _emit(self, workload: str, inputs: Sequence[Place], results: Sequence[Place]) -> None:
        self._steps.append(KernelCall(workload, tuple(inputs), tuple(results)))

    def copy(self, source: Place, target: Place, element: str) -> None:
        """A copy kernel, unless both are the same elements."""
        if prod(source.shape) and not same(source, target):
            key = ("copy", source.shape, element, source.strides, target.strides)
            text = self._workload(key, lambda: copy_text(source.shape, element, source.strides, target.strides))
            self._emit(text, [source], [target])

    def _fill(self, place: Place, element: str, value: str) -> None:
        key = ("fill", place.shape, element, value, place.strides)
        text = self._workload(key, lambda: fill_text(place.shape, element, value, place.strides))
        self._emit(text, [], [place])

    def _expand(self, op: Any) -> None:
        place, shape = self.places[op.operands[0]], shape_of(op.results[0])
        strides = expand_strides(place.strides, groups(op), shape)
        self.places[op.results[0]] = replace(place, shape=shape, strides=strides)

    def _collapse(self, op: Any) -> None:
        source, shape = op.operands[0], shape_of(op.results[0])
        place = self.places[source]
        strides = collapse_strides(place.strides, place.shape, groups(op))
        if strides is None:
            target = self._temporary(place.shape, element_of(source))
            self.copy(place, target, element_of(source))
            place, strides = target, row_major(shape)
        self.places[op.results[0]] = replace(place, shape=shape, strides=strides)

    def _transpose(self, op: Any) -> None:
        permutation = list(ir.DenseI64ArrayAttr(op.attributes["permutation"]))
        self.places[op.results[0]] = transpose(self.places[op.operands[0]], permutation)

    def _extract(self, op: Any) -> None:
        result = op.results[0]
        self.places[result] = slice_place(op, self.places[op.operands[0]], result, self._loop_index)

    def _insert(self, op: Any) -> None:
        """In place: the destination's value is dead afterwards, as in every loop that the frontend writes."""
        part, whole = op.operands[0], op.operands[1]
        target = slice_place(op, self.places[whole], part, self._loop_index)
        self.copy(self.places[part], target, element_of(part))
        self.places[op.results[0]] = self.places[whole]

    def _pad(self, op: Any) -> None:
        source, result = op.operands[0], op.results[0]
        low, inner = list(ir.DenseI64ArrayAttr(op.attributes["static_low"])), shape_of(source)
        whole = self.joined(result)
        self._fill_border(whole, low, inner, element_of(result), pad_value(op))
        self.copy(self.places[source], extract_slice(whole, low, inner, [1] * len(low)), element_of(result))
        self.places[result] = whole

    def _fill_border(self, whole: Place, low: Shape, inner: Shape, element: str, value: str) -> None:
        """Slabs before and behind the inside, dimension by dimension."""
        offsets, sizes = [0] * len(low), list(whole.shape)
        for dim, (before, size) in enumerate(zip(low, inner, strict=True)):
            for begin, count in ((0, before), (before + size, whole.shape[dim] - before - size)):
                if count:
                    starts = [*offsets[:dim], begin, *offsets[dim + 1 :]]
                    counts = [*sizes[:dim], count, *sizes[dim + 1 :]]
                    self._fill(extract_slice(whole, starts, counts, [1] * len(sizes)), element, value)
            offsets[dim], sizes[dim] = before, size

    def _concat(self, op: Any) -> None:
        whole = self.joined(op.results[0])
        for value, part in zip(op.operands, concat_parts(op, whole), strict=True):
            self.copy(self.places[value], part, element_of(value))
        self.places[op.results[0]] = whole

    def _return(self, op: Any) -> None:
        for i, value in enumerate(op.operands):
            self.copy(self.places[value], contiguous(f"out{i}", shape_of(value)), element_of(value))

    def _for(self, op: Any) -> None:
        """Carried values live in one buffer each: filled before, read by the body, overwritten at its end."""
        block = op.regions[0].blocks[0]
        lower, upper, step = (_constant_of(v) for v in list(op.operands)[:3])
        if (lower, step) != (0, 1):
            raise SeercError(f"the loop at {op.location} runs from {lower} by {step}: only from 0 by 1 is supported")
        index, *carried = block.arguments
        for argument, start in zip(carried, list(op.operands)[3:], strict=True):
            self.places[argument] = self._temporary(shape_of(start), element_of(start))
            if start in self.places:
                self.copy(self.places[start], self.places[argument], element_of(start))
        outer, self._steps, outer_index, self._loop_index = self._steps, [], self._loop_index, index
        self.place_block(block)
        yielded = list(block.operations)[-1].operation.operands
        for argument, value in zip(carried, yielded, strict=True):
            self.copy(self.places[value], self.places[argument], element_of(value))
        body, self._steps, self._loop_index = tuple(self._steps), outer, outer_index
        self._steps.append(LoopStep(upper - lower, body))
        self.places |= {r: self.places[a] for r, a in zip(op.results, carried, strict=True)}

    def _condition(self, op: Any) -> None:
        """One element of an input, at a constant place: what a branch asks."""
        index = [_constant_of(value) for value in list(op.operands)[1:]]
        whole = self.places[op.operands[0]]
        self.places[op.results[0]] = extract_slice(whole, index, [1] * len(index), [1] * len(index))

    def _if(self, op: Any) -> None:
        """Both sides leave their results in the same places."""
        for result in op.results:
            wanted = wished_place(self, result)
            if wanted is None or not wanted.buffer:
                wanted = self._temporary(shape_of(result), element_of(result))
            self.places[result] = wanted
        then, otherwise = (self._side(op, region.blocks[0]) for region in op.regions)
        self._steps.append(IfStep(self.places[op.operands[0]], then, otherwise))

    def _side(self, op: Any, block: Any) -> tuple[Step, ...]:
        outer, self._steps = self._steps, []
        self.place_block(block)
        yielded = list(block.operations)[-1].operation.operands
        for result, value in zip(op.results, yielded, strict=True):
            self.copy(self.places[value], self.places[result], element_of(value))
        side, self._steps = tuple(self._steps), outer
        return side

    # where results go

    def joined(self, value: Any) -> Place:
        """The buffer of a pad or concatenation: chosen when the first of its parts is computed."""
        if value not in self._joined:
            wanted = wished_place(self, value)
            if wanted is None or not wanted.buffer:
                strides = wanted.strides if wanted is not None else self._default_strides(value)
                wanted = self._temporary(shape_of(value), element_of(value), strides)
            self._joined[value] = wanted
        return self._joined[value]

    def _default_strides(self, value: Any) -> tuple[int, ...]:
        """Channels-last if a convolution or pooling reads the value, else row-major."""
        for use in value.uses:
            if use.owner.name == "func.call":
                function = ir.FlatSymbolRefAttr(use.owner.attributes["callee"]).value
                spatial = self.windows.of(function).get(use.operand_number)
                if spatial:
                    return channels_last(shape_of(value), spatial)
        return row_major(shape_of(value))

    def _result_place(self, value: Any, function: str, inputs: Sequence[Place]) -> Place:
        wanted = wished_place(self, value)
        if wanted is not None and wanted.buffer:
            return wanted
        strides = wanted.strides if wanted is not None else self._preferred_strides(value, function, inputs)
        return self._temporary(shape_of(value), element_of(value), strides)

    def _preferred_strides(self, value: Any, function: str, inputs: Sequence[Place]) -> tuple[int, ...]:
        shape = shape_of(value)
        spatial = self.windows.of(function).get(-1)
        if spatial and len(spatial) < len(shape):
            return channels_last(shape, spatial)
        for place in inputs:
            if place.shape == shape and nesting(shape, place.strides) != nesting(shape, row_major(shape)):
                return permuted_strides(nesting(shape, place.strides), shape)
        return self._default_strides(value)


def _constant_of(value: Any) -> int:
    owner = value.owner
    if owner.name != "arith.constant":
        raise SeercError(f"a computed loop bound or index at {owner.location}: it must be a constant")
    return ir.IntegerAttr(owner.attributes["value"]).value

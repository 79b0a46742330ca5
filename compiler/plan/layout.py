"""Layout: gives every tensor of the fused @main a place in memory, so that most reshapes, transposes, pads and
concatenations cost nothing.

A result is placed where its consumers want it: inside the padded or concatenated buffer, in the program's output, or
permuted so that a later reshape is a view (`_wanted`, read backwards). Results of convolutions and pooling are
channels-last. What no view can express becomes a copy kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from compiler.plan.steps import Buffer, KernelCall, Step, Steps
from compiler.plan.views import (
    Place,
    collapse_strides,
    contiguous,
    drop_dims,
    expand_strides,
    extract_slice,
    nesting,
    permuted_strides,
    same,
    span,
    transpose,
)
from compiler.plan.workload import copy_text, fill_text, name_workload, region_text
from costmodel.errors import SeercError
from passes.mlir import ir
from passes.region.linear import Linear, apply_map, row_major
from passes.region.read import find_root, indexing_maps

BITS = {"i1": 8, "i8": 8, "f16": 16, "bf16": 16, "i16": 16, "f32": 32, "i32": 32, "f64": 64, "i64": 64, "index": 64}


def plan_layout(module: Any, weights: Mapping[str, np.ndarray[Any, Any]]) -> Steps:
    """The steps of a fused module; `weights` are the arrays by `seerc.weight` name (their strides are kept)."""
    return _Layout(module, weights).run()


class _Layout:
    def __init__(self, module: Any, weights: Mapping[str, np.ndarray[Any, Any]]) -> None:
        self.weights = weights
        self.functions = {f.name.value: f for f in module.body.operations if f.operation.name == "func.func"}
        self.main = self.functions["main"]
        self.places: dict[Any, Place] = {}
        self.planned = Steps()
        self.texts: dict[tuple[Any, ...], str] = {}
        self.claimed: dict[Any, Place] = {}
        self.windows: dict[str, dict[int, frozenset[int]]] = {}
        self.current: list[Step] = self.planned.steps

    def run(self) -> Steps:
        self._arguments()
        for op in self.main.entry_block.operations:
            self._op(op.operation)
        return self.planned

    # buffers

    def _buffer(self, name: str, kind: str, elements: int, element: str) -> None:
        self.planned.buffers[name] = Buffer(name, kind, elements, BITS[element] // 8)

    def _temporary(self, shape: Sequence[int], element: str, strides: Sequence[int] | None = None) -> Place:
        name = f"t{len(self.planned.buffers)}"
        self._buffer(name, "temporary", prod(shape), element)
        return Place(name, tuple(shape), tuple(strides) if strides is not None else row_major(shape))

    def _arguments(self) -> None:
        attributes = self.main.attributes
        attrs = list(attributes["arg_attrs"]) if "arg_attrs" in attributes else [{}] * len(self.main.arguments)
        inputs = 0
        for value, attr in zip(self.main.arguments, attrs, strict=True):
            shape, element = _shape(value), _element(value)
            if "seerc.weight" in attr:
                name = ir.StringAttr(attr["seerc.weight"]).value
                self.places[value] = self._weight(name, shape, element)
            else:
                self._buffer(f"in{inputs}", "input", prod(shape), element)
                self.places[value] = contiguous(f"in{inputs}", shape)
                inputs += 1
        returned = list(self.main.entry_block.operations)[-1].operation.operands
        for i, value in enumerate(returned):
            self._buffer(f"out{i}", "output", prod(_shape(value)), _element(value))

    def _weight(self, name: str, shape: tuple[int, ...], element: str) -> Place:
        if name not in self.weights:
            raise SeercError(f"weight {name!r} is an argument of @main but has no array")
        array = self.weights[name]
        if array.shape != shape:
            raise SeercError(f"weight {name!r} has shape {array.shape}, the program expects {shape}")
        buffer = f"w:{name}"
        strides = tuple(s // array.itemsize for s in array.strides)
        if any(s < 0 for s in strides) or any(s % array.itemsize for s in array.strides):
            raise SeercError(f"weight {name!r} has strides {array.strides} that are not multiples of its elements")
        self._buffer(buffer, "weight", span(Place("", shape, strides)), element)
        self.planned.weights[buffer] = name
        return Place(buffer, shape, strides)

    # operations of @main

    def _op(self, op: Any) -> None:
        handlers = {
            "func.call": self._call,
            "tensor.expand_shape": self._expand,
            "tensor.collapse_shape": self._collapse,
            "tensor.extract_slice": self._slice,
            "linalg.transpose": self._transpose,
            "tensor.pad": self._pad,
            "tensor.concat": self._concat,
            "func.return": self._return,
            "tensor.empty": lambda _: None,
            "arith.constant": self._constant,
        }
        if op.name not in handlers:
            raise SeercError(f"{op.name} at {op.location} is left outside of every region: run seerc-fuse first")
        handlers[op.name](op)

    def _constant(self, op: Any) -> None:
        value = op.results[0]
        if isinstance(value.type, ir.RankedTensorType) and any(u.owner.name != "tensor.pad" for u in value.uses):
            raise SeercError(f"a dense constant at {op.location} is left in @main: the frontend takes constants out")

    def _call(self, op: Any) -> None:
        name = ir.FlatSymbolRefAttr(op.attributes["callee"]).value
        inputs = tuple(self.places[v] for v in op.operands)
        results = tuple(self._result_place(v, name, inputs) for v in op.results)
        self._emit(self._region_workload(name, inputs, results), inputs, results)
        for value, place in zip(op.results, results, strict=True):
            self.places[value] = place

    def _region_workload(self, name: str, inputs: Sequence[Place], results: Sequence[Place]) -> str:
        strides = tuple(p.strides for p in (*inputs, *results))
        return self._workload((name, strides), lambda: region_text(self.functions[name], strides))

    def _workload(self, key: tuple[Any, ...], make: Any) -> str:
        if key not in self.texts:
            self.texts[key], text = name_workload(make())
            self.planned.workloads[self.texts[key]] = text
        return self.texts[key]

    def _emit(self, workload: str, inputs: Sequence[Place], results: Sequence[Place]) -> None:
        self.current.append(KernelCall(workload, tuple(inputs), tuple(results)))

    def _copy(self, source: Place, target: Place, element: str) -> None:
        if prod(source.shape):
            key = ("copy", source.shape, element, source.strides, target.strides)
            text = self._workload(key, lambda: copy_text(source.shape, element, source.strides, target.strides))
            self._emit(text, [source], [target])

    def _expand(self, op: Any) -> None:
        place, result = self.places[op.operands[0]], op.results[0]
        strides = expand_strides(place.strides, _groups(op), _shape(result))
        self.places[result] = replace(place, shape=_shape(result), strides=strides)

    def _collapse(self, op: Any) -> None:
        source, result = op.operands[0], op.results[0]
        place = self.places[source]
        strides = collapse_strides(place.strides, place.shape, _groups(op))
        if strides is None:
            target = self._temporary(place.shape, _element(source))
            self._copy(place, target, _element(source))
            place, strides = target, row_major(_shape(result))
        self.places[result] = replace(place, shape=_shape(result), strides=strides)

    def _transpose(self, op: Any) -> None:
        permutation = list(ir.DenseI64ArrayAttr(op.attributes["permutation"]))
        self.places[op.results[0]] = transpose(self.places[op.operands[0]], permutation)

    def _slice(self, op: Any) -> None:
        source, result = op.operands[0], op.results[0]
        offsets, sizes, steps = (
            list(ir.DenseI64ArrayAttr(op.attributes[k])) for k in ("static_offsets", "static_sizes", "static_strides")
        )
        if len(op.operands) > 1:
            raise SeercError(f"a slice with dynamic bounds at {op.location}: shapes must be static")
        place = extract_slice(self.places[source], offsets, sizes, steps)
        self.places[result] = drop_dims(place, _kept(sizes, _shape(result)))

    def _pad(self, op: Any) -> None:
        source, result = op.operands[0], op.results[0]
        low, shape, element = list(ir.DenseI64ArrayAttr(op.attributes["static_low"])), _shape(result), _element(result)
        whole = self._destination(result)
        inside = extract_slice(whole, low, _shape(source), [1] * len(shape))
        self._fill_border(whole, low, _shape(source), element, _pad_value(op))
        if not same(self.places[source], inside):
            self._copy(self.places[source], inside, element)
        self.places[result] = whole

    def _fill_border(
        self, whole: Place, low: Sequence[int], inner: Sequence[int], element: str, value: str
    ) -> None:
        """Slabs before and behind the inside, dimension by dimension."""
        offsets, sizes = [0] * len(low), list(whole.shape)
        for dim, (before, size) in enumerate(zip(low, inner, strict=True)):
            for begin, count in ((0, before), (before + size, whole.shape[dim] - before - size)):
                if count:
                    slab = extract_slice(
                        whole,
                        [*offsets[:dim], begin, *offsets[dim + 1 :]],
                        [*sizes[:dim], count, *sizes[dim + 1 :]],
                        [1] * len(sizes),
                    )
                    self._fill(slab, element, value)
            offsets[dim], sizes[dim] = before, size

    def _fill(self, place: Place, element: str, value: str) -> None:
        key = ("fill", place.shape, element, value, place.strides)
        text = self._workload(key, lambda: fill_text(place.shape, element, value, place.strides))
        self._emit(text, [], [place])

    def _concat(self, op: Any) -> None:
        result = op.results[0]
        whole = self._destination(result)
        for value, part in zip(op.operands, _concat_parts(op, whole), strict=True):
            if not same(self.places[value], part):
                self._copy(self.places[value], part, _element(value))
        self.places[result] = whole

    def _return(self, op: Any) -> None:
        for i, value in enumerate(op.operands):
            target = contiguous(f"out{i}", _shape(value))
            if not same(self.places[value], target):
                self._copy(self.places[value], target, _element(value))

    # where results go

    def _destination(self, value: Any) -> Place:
        """The buffer of a pad or concatenation: chosen when the first of its parts is computed."""
        if value not in self.claimed:
            wanted = self._wanted(value)
            if wanted is None or not wanted.buffer:
                strides = wanted.strides if wanted is not None else self._default_strides(value)
                wanted = self._temporary(_shape(value), _element(value), strides)
            self.claimed[value] = wanted
        return self.claimed[value]

    def _default_strides(self, value: Any) -> tuple[int, ...]:
        """Channels-last if a convolution or pooling reads the value, else row-major."""
        shape = _shape(value)
        for use in value.uses:
            if use.owner.name == "func.call":
                function = ir.FlatSymbolRefAttr(use.owner.attributes["callee"]).value
                spatial = self._windows(function).get(use.operand_number)
                if spatial:
                    return _channels_last(shape, spatial)
        return row_major(shape)

    def _result_place(self, value: Any, function: str, inputs: Sequence[Place]) -> Place:
        wanted = self._wanted(value)
        if wanted is not None and wanted.buffer:
            return wanted
        strides = wanted.strides if wanted is not None else self._preferred_strides(value, function, inputs)
        return self._temporary(_shape(value), _element(value), strides)

    def _preferred_strides(self, value: Any, function: str, inputs: Sequence[Place]) -> tuple[int, ...]:
        shape = _shape(value)
        spatial = self._windows(function).get(-1)
        if spatial and len(spatial) < len(shape):
            return _channels_last(shape, spatial)
        for place in inputs:
            if place.shape == shape and nesting(shape, place.strides) != nesting(shape, row_major(shape)):
                return permuted_strides(nesting(shape, place.strides), shape)
        return self._default_strides(value)

    def _windows(self, function: str) -> dict[int, frozenset[int]]:
        """Spatial dimensions of each argument of a convolution or pooling region (of its result: -1); else empty.

        Spatial are the loops that slide a window: the operand's index is a sum of loops.
        """
        if function not in self.windows:
            self.windows[function] = _find_windows(self.functions[function])
        return self.windows[function]

    def _wanted(self, value: Any) -> Place | None:
        """Where the users of `value` want it: a place with a buffer, strides alone (buffer ""), or None."""
        found: Place | None = None
        for use in value.uses:
            wish = self._wish(use, value)
            if wish is not None and wish.buffer:
                return wish
            found = found or wish
        return found

    def _wish(self, use: Any, value: Any) -> Place | None:
        op, shape = use.owner, _shape(value)
        if op.name == "func.return":
            return contiguous(f"out{use.operand_number}", shape) if self._first(value, op) else None
        if op.name == "linalg.transpose" and use.operand_number == 0:
            wanted = self._wanted(op.results[0])
            permutation = list(ir.DenseI64ArrayAttr(op.attributes["permutation"]))
            return transpose(wanted, list(np.argsort(permutation))) if wanted is not None else None
        if op.name == "tensor.collapse_shape":
            wanted = self._wanted(op.results[0]) or Place("", _shape(op.results[0]), row_major(_shape(op.results[0])))
            return replace(wanted, shape=shape, strides=expand_strides(wanted.strides, _groups(op), shape))
        if op.name == "tensor.expand_shape":
            wanted = self._wanted(op.results[0])
            strides = collapse_strides(wanted.strides, wanted.shape, _groups(op)) if wanted is not None else None
            return replace(wanted, shape=shape, strides=strides) if wanted is not None and strides is not None else None
        if op.name == "tensor.pad" and use.operand_number == 0:
            low = list(ir.DenseI64ArrayAttr(op.attributes["static_low"]))
            return extract_slice(self._destination(op.results[0]), low, shape, [1] * len(shape))
        if op.name == "tensor.concat":
            return _concat_parts(op, self._destination(op.results[0]))[use.operand_number]
        return None

    def _first(self, value: Any, op: Any) -> bool:
        return list(op.operands).count(value) == 1


def _groups(op: Any) -> list[list[int]]:
    return [[int(i) for i in group] for group in op.attributes["reassociation"]]


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(ir.RankedTensorType(value.type).shape)


def _element(value: Any) -> str:
    element = str(ir.RankedTensorType(value.type).element_type)
    if element not in BITS:
        raise SeercError(f"element type {element} is not supported; supported: {', '.join(BITS)}")
    return element


def _find_windows(function: Any) -> dict[int, frozenset[int]]:
    if all(op.operation.name != "linalg.generic" for op in function.entry_block.operations):
        return {}
    root = find_root(function)
    maps = indexing_maps(root)
    dims = [Linear.dim(str(i)) for i in range(maps[0].n_dims)]
    indices = [apply_map(m, dims) for m in maps]
    found: dict[int, frozenset[int]] = {}
    sliding: set[str] = set()
    for operand, index in zip(root.operands, indices, strict=True):
        sums = frozenset(i for i, form in enumerate(index) if len(form.terms) > 1)
        sliding |= {d for i in sums for d in index[i].dims()}
        if sums and isinstance(operand.owner, ir.Block):
            found[ir.BlockArgument(operand).arg_number] = sums
    spatial = frozenset(i for i, form in enumerate(indices[-1]) if form.dims() & sliding)
    return found | {-1: spatial} if spatial else {}


def _channels_last(shape: Sequence[int], spatial: frozenset[int]) -> tuple[int, ...]:
    """Batch, then the spatial dimensions, then channels; the first of several other dimensions is the batch."""
    others = [d for d in range(len(shape)) if d not in spatial]
    batch = others[:1] if len(others) > 1 else []
    return permuted_strides([*batch, *sorted(spatial), *others[len(batch) :]], shape)


def _kept(sizes: Sequence[int], shape: Sequence[int]) -> list[int]:
    """Which dimensions a rank-reducing slice keeps: drops size-1 ones from the left until the shapes match."""
    kept = list(range(len(sizes)))
    for dim in range(len(sizes)):
        if len(kept) > len(shape) and sizes[dim] == 1 and [sizes[d] for d in kept if d != dim][: 1 + dim] != []:
            rest = [sizes[d] for d in kept if d != dim]
            if _subsequence(shape, rest):
                kept.remove(dim)
    return kept


def _subsequence(shape: Sequence[int], sizes: Sequence[int]) -> bool:
    rest = iter(sizes)
    return all(n in rest for n in shape)


def _pad_value(op: Any) -> str:
    yielded = list(op.regions[0].blocks[0].operations)[-1].operation.operands[0]
    owner = yielded.owner
    if owner.name != "arith.constant":
        raise SeercError(f"padding with a computed value at {op.location}")
    return str(owner.attributes["value"])


def _concat_parts(op: Any, whole: Place) -> list[Place]:
    dim = ir.IntegerAttr(op.attributes["dim"]).value
    parts: list[Place] = []
    begin = 0
    for value in op.operands:
        shape = _shape(value)
        offsets = [begin if d == dim else 0 for d in range(len(shape))]
        parts.append(extract_slice(whole, offsets, shape, [1] * len(shape)))
        begin += shape[dim]
    return parts

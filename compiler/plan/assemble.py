"""From steps and compiled kernels to a program: packed weights, workspace offsets, the calls of `seerc_run`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from compiler.emit.pack import pack_array
from compiler.native.main import Branch, Call, Loop, Pointer
from compiler.native.main import Step as Resolved
from compiler.native.manifest import TensorSpec, WeightSpec, place_weights
from compiler.plan.memory import assign_offsets, lifetimes
from compiler.plan.steps import IfStep, KernelCall, LoopStep, Step, Steps, calls
from compiler.plan.views import Place, span

Array = np.ndarray[Any, Any]
Sources = dict[tuple[str, Any], TensorSpec]
"""(weight name, how it is stored) and what the array is, in the order of the weights blob.

Stored: packed by a Packing, as the array lies in memory (None), or with its dimensions in another order (a tuple).
"""


@dataclass(frozen=True)
class KernelInfo:
    """What a call needs to know of a compiled kernel: its symbol, how it packs which weight, its scratch memory."""

    symbol: str
    packing: Any = None
    scratch_bytes: int = 0


@dataclass(frozen=True)
class Assembly:
    """`calls` with every pointer resolved; `weights` in the order of `arrays`."""

    calls: tuple[Resolved, ...]
    weights: tuple[WeightSpec, ...]
    workspace_bytes: int
    sources: tuple[tuple[str, Any], ...]
    """(weight name, how it is stored) of each array."""

    def arrays(self, weights: Mapping[str, Array]) -> Iterator[Array]:
        """The arrays of the weights blob, one at a time, as they are stored."""
        for name, stored in self.sources:
            plain = _is_plain(stored)
            yield _memory(weights[name], stored) if plain else pack_array(weights[name], stored)


def assemble(
    planned: Steps, kernels: Mapping[str, KernelInfo], weights: Mapping[str, Array], sources: Sources | None = None
) -> Assembly:
    """Resolves the steps of a plan; `kernels` by workload key.

    Programs that share one weights blob give the same `sources`: each uses the arrays there and appends its own.
    """
    return _Assembler(planned, kernels, weights, {} if sources is None else sources).run()


class _Assembler:
    def __init__(
        self, planned: Steps, kernels: Mapping[str, KernelInfo], weights: Mapping[str, Array], sources: Sources
    ) -> None:
        self.planned, self.kernels, self.arrays, self.sources = planned, kernels, weights, sources
        self.offsets: dict[str, int] = {}
        self.scratch: dict[int, str] = {}

    def run(self) -> Assembly:
        self._place_temporaries()
        for call in calls(self.planned.steps):
            for number, place in enumerate(call.inputs):
                self._register_weight(call, number, place)
        placed = place_weights(list(self.sources.values()))
        self.weight_offsets = {key: spec.offset for key, spec in zip(self.sources, placed, strict=True)}
        steps = tuple(self._step(step) for step in self.planned.steps)
        return Assembly(steps, tuple(placed), self.workspace, tuple(self.sources))

    def _place_temporaries(self) -> None:
        sizes = {n: b.bytes() for n, b in self.planned.buffers.items() if b.kind == "temporary"}
        uses: list[list[str]] = []
        for step in self.planned.steps:
            inside = calls([step])
            conditions = [step.condition.buffer] if isinstance(step, IfStep) else []
            uses.append([*conditions, *(p.buffer for c in inside for p in (*c.inputs, *c.results))])
            for call in inside:
                scratch = self.kernels[call.workload].scratch_bytes
                if scratch:
                    name = f"scratch{len(uses)}.{call.workload}"
                    sizes[name] = scratch
                    uses[-1].append(name)
                    self.scratch[id(call)] = name
        self.offsets, self.workspace = assign_offsets(lifetimes(uses, sizes))

    def _register_weight(self, call: KernelCall, number: int, place: Place) -> None:
        buffer = self.planned.buffers[place.buffer]
        if buffer.kind != "weight":
            return
        key = self._weight_key(call, number, place)
        if key not in self.sources:
            self.sources[key] = self._weight_spec(key)

    def _weight_key(self, call: KernelCall, number: int, place: Place) -> tuple[str, Any]:
        packing = self.kernels[call.workload].packing
        name = self.planned.weights[place.buffer]
        if packing is None or packing.argument != number:
            return name, self.planned.orders.get(place.buffer)
        return name, replace(packing, argument=0, offset=packing.offset + place.offset)

    def _weight_spec(self, key: tuple[str, Any]) -> TensorSpec:
        name, stored = key
        array = self.arrays[name]
        shape = _memory(array, stored).shape if _is_plain(stored) else stored.shape()
        return TensorSpec(f"{name}#{len(self.sources)}", tuple(shape), _dtype(array))

    def _step(self, step: Step) -> Resolved:
        if isinstance(step, LoopStep):
            return Loop(step.count, tuple(map(self._step, step.body)))
        if isinstance(step, IfStep):
            then, otherwise = (tuple(map(self._step, side)) for side in (step.then, step.otherwise))
            return Branch(self._pointer(step.condition), then, otherwise)
        kernel = self.kernels[step.workload]
        pointers = [self._input(step, number, place) for number, place in enumerate(step.inputs)]
        pointers += [self._pointer(place) for place in step.results]
        pointers.append(self._scratch(step))
        return Call(kernel.symbol, tuple(pointers))

    def _scratch(self, call: KernelCall) -> Pointer:
        name = self.scratch.get(id(call))
        return Pointer("workspace", 0, self.offsets[name]) if name else Pointer("null")

    def _input(self, call: KernelCall, number: int, place: Place) -> Pointer:
        buffer = self.planned.buffers[place.buffer]
        if buffer.kind != "weight":
            return self._pointer(place)
        key = self._weight_key(call, number, place)
        offset = self.weight_offsets[key]
        if _is_plain(key[1]):
            offset += place.offset * buffer.itemsize
        return Pointer("weights", 0, offset)

    def _pointer(self, place: Place) -> Pointer:
        buffer = self.planned.buffers[place.buffer]
        offset, step = place.offset * buffer.itemsize, place.step_stride * buffer.itemsize
        if buffer.kind == "temporary":
            return Pointer("workspace", 0, self.offsets[buffer.name] + offset, step)
        base = "inputs" if buffer.kind == "input" else "outputs"
        return Pointer(base, int(buffer.name.lstrip("inout")), offset, step)


def _is_plain(stored: Any) -> bool:
    """Whether elements are addressed by strides, not by a packing."""
    return stored is None or isinstance(stored, tuple)


def _memory(array: Array, order: tuple[int, ...] | None = None) -> Array:
    """The elements from the first to the last in memory order, so that the array's strides stay true.

    `order`: dimensions, outermost first, of a dense copy in that order.
    """
    if order is not None:
        return np.ascontiguousarray(array.transpose(order)).reshape(-1)
    strides = tuple(s // array.itemsize for s in array.strides)
    return as_strided(array, (span(Place("", array.shape, strides)),), (array.itemsize,))


def _dtype(array: Array) -> str:
    if array.dtype == np.bool_:
        return "i1"
    kind = {"f": "f", "i": "i", "u": "ui"}[array.dtype.kind]
    return f"{kind}{array.dtype.itemsize * 8}"

"""Compiles candidates, runs them on guarded strided arrays, and returns what they wrote."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from compiler.emit.candidate import emit_candidate
from compiler.emit.kernel import Kernel
from compiler.emit.pack import pack_array
from compiler.native.lower import lower_to_llvm, openmp_library
from costmodel.region.region import Argument
from passes.mlir import ExecutionEngine, context, ir
from passes.region.structure import find_function, read_arguments
from passes.tiling.schedule import Schedule

GUARD = 256
"""Bytes before and after every array that must stay as they are."""
FILL = 0xFF
"""Bytes outside of an array's elements: NaN as floats, so that what reads them shows."""
DTYPES = {"f32": np.float32, "f64": np.float64, "f16": np.float16, "i64": np.int64, "i32": np.int32, "i8": np.int8}


def schedule(algorithm: str = "direct", **fields: Any) -> Schedule:
    return Schedule(algorithm=algorithm, **fields)


@dataclass(frozen=True)
class Tensor:
    """An argument or result of a region function."""

    shape: tuple[int, ...]
    kind: str = "f32"
    strides: tuple[int, ...] | None = None
    constant: bool = False

    @property
    def type(self) -> str:
        return "tensor<" + "".join(f"{n}x" for n in self.shape) + f"{self.kind}>"

    def attributes(self) -> str:
        found = ["seerc.constant"] if self.constant else []
        if self.strides is not None:
            found.append(
                "seerc.strides = array<i64" + (": " + ", ".join(map(str, self.strides)) if self.strides else "") + ">"
            )
        return f" {{{', '.join(found)}}}" if found else ""


def module(
    inputs: Sequence[Tensor], results: Sequence[Tensor], body: str, how: Schedule, kind: str = "elementwise"
) -> str:
    """A candidate: `body` reads %0, %1... and returns; `ROOT` in it becomes the root's attributes."""
    args = ", ".join(f"%{i}: {t.type}{t.attributes()}" for i, t in enumerate(inputs))
    outs = ", ".join(f"{t.type}{t.attributes()}" for t in results)
    body = body.replace("ROOT", f"attrs = {{seerc.root, seerc.schedule = {how}}}")
    return f'module {{ func.func @kernel({args}) -> ({outs}) attributes {{seerc.kind = "{kind}"}} {{\n{body}\n}} }}'


def generic(
    result: str,
    ins: Sequence[tuple[str, Tensor, str]],
    out: tuple[str, Tensor, str],
    loops: str,
    body: str,
    root: bool = False,
) -> str:
    """Text of a linalg.generic: operands are (name, tensor, map results), `loops` is p and r for each loop d0, d1, ...

    Body arguments are %a0, %a1, ... and %o, scoped to this op; the body ends by `yield VALUE`.
    """
    dims = ", ".join(f"d{i}" for i in range(len(loops)))
    maps = ", ".join(f"affine_map<({dims}) -> ({m})>" for _, _, m in [*ins, out])
    kinds = ", ".join('"parallel"' if p == "p" else '"reduction"' for p in loops)
    names, types = ", ".join(n for n, _, _ in ins), ", ".join(t.type for _, t, _ in ins)
    arguments = ", ".join([*[f"%a{i}: {t.kind}" for i, (_, t, _) in enumerate(ins)], f"%o: {out[1].kind}"])
    inputs = f"ins({names} : {types}) " if ins else ""
    for name in re.findall(r"^\s*(%\w+) =", body, re.MULTILINE):
        body = re.sub(rf"{name}\b", f"{result}_{name[1:]}", body)
    body = body.replace("yield ", "linalg.yield ") + f" : {out[1].kind}"
    return (
        f"{result} = linalg.generic {{indexing_maps = [{maps}], iterator_types = [{kinds}]}} {inputs}"
        f"outs({out[0]} : {out[1].type}) {'ROOT' if root else ''} {{\n^bb0({arguments}):\n{body}\n}} -> {out[1].type}\n"
    )


def filled(name: str, tensor: Tensor, value: str) -> str:
    """`name` as a tensor filled with a constant; `name`_e is the empty one."""
    typed = value if tensor.kind == "i1" else f"{value} : {tensor.kind}"
    return (
        f"{name}_c = arith.constant {typed}\n{name}_e = tensor.empty() : {tensor.type}\n"
        f"{name} = linalg.fill ins({name}_c : {tensor.kind}) outs({name}_e : {tensor.type}) -> {tensor.type}\n"
    )


class Guarded:
    """Memory of one argument: its elements in strided places, guards around, everything else filled."""

    def __init__(self, argument: Argument, value: np.ndarray[Any, Any] | None) -> None:
        kind = str(argument.type)
        self.dtype = np.dtype(np.uint8 if kind == "i1" else DTYPES[kind])
        size = argument.span() * self.dtype.itemsize
        self.raw = np.full(size + 2 * GUARD + 64, FILL, np.uint8)
        # Aligned to an element and no further: views of larger buffers start anywhere.
        self.start = (-self.raw.ctypes.data) % 64 + GUARD + self.dtype.itemsize - 64
        strides = [s * self.dtype.itemsize for s in argument.strides]
        flat = self.raw[self.start : self.start + size].view(self.dtype)
        self.view = as_strided(flat, argument.shape, strides)
        if value is not None:
            assert value.shape == argument.shape, (value.shape, argument.shape)
            self.view[...] = value.astype(self.dtype)
        self.before = self.raw.copy()

    @property
    def pointer(self) -> int:
        return self.raw.ctypes.data + self.start

    def outside_untouched(self) -> bool:
        """Whether only the elements may have changed."""
        now, before = self.raw.copy(), self.before.copy()
        for raw in (now, before):
            size = self.dtype.itemsize
            flat = raw[self.start :][: (len(raw) - self.start) // size * size].view(self.dtype)
            as_strided(flat, self.view.shape, self.view.strides)[...] = 0
        return bool(np.array_equal(now, before))


@dataclass
class Compiled:
    """A candidate in memory, ready to run."""

    kernel: Kernel
    arguments: tuple[Argument, ...]
    inputs: int
    engine: Any

    def run(self, *values: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """The results; fails if the kernel wrote anywhere else."""
        assert len(values) == self.inputs
        given = [*values, *[None] * (len(self.arguments) - self.inputs)]
        places = [Guarded(a, v) for a, v in zip(self.arguments, given, strict=True)]
        pointers = [p.pointer for p in places]
        packing = self.kernel.packing
        if packing is not None:
            packed = pack_array(places[packing.argument].view, packing)
            aligned = np.zeros(packed.nbytes + 64, np.uint8)
            start = -aligned.ctypes.data % 64
            aligned[start : start + packed.nbytes] = packed.reshape(-1).view(np.uint8)
            pointers[packing.argument] = aligned.ctypes.data + start
        scratch = np.full(self.kernel.scratch_bytes + 2 * GUARD + 64, FILL, np.uint8)
        begin = -scratch.ctypes.data % 64 + GUARD
        self.call([*pointers, scratch.ctypes.data + begin])
        for number, place in enumerate(places):
            assert place.outside_untouched(), f"argument {number}: written outside of its elements"
            if number < self.inputs:
                assert np.array_equal(place.raw, place.before), f"input {number} was written"
        assert (scratch[:begin] == FILL).all(), "written before scratch"
        assert (scratch[begin + self.kernel.scratch_bytes :] == FILL).all(), "written after scratch"
        return [np.array(p.view) for p in places[self.inputs :]]

    def call(self, pointers: Sequence[int]) -> None:
        function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.engine.raw_lookup(self.kernel.name))
        slots = (ctypes.c_void_p * len(pointers))(*pointers)
        packed = (ctypes.c_void_p * len(pointers))(*[ctypes.addressof(slots) + 8 * i for i in range(len(pointers))])
        function(ctypes.addressof(packed))


def compiled(text: str) -> Compiled:
    """The candidate lowered and linked in memory."""
    with context(), ir.Location.unknown():
        arguments, inputs = read_arguments(find_function(ir.Module.parse(text)))
    kernel = emit_candidate(text)
    lower_to_llvm(kernel.module)
    engine = ExecutionEngine(kernel.module, opt_level=3, enable_pic=True, shared_libs=[str(openmp_library())])
    return Compiled(kernel, arguments, inputs, engine)


def run(text: str, *values: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    return compiled(text).run(*values)


def close(got: np.ndarray[Any, Any], want: np.ndarray[Any, Any], tolerance: float = 2e-5) -> None:
    """Equal where not finite, else within `tolerance` of the largest value of the reference."""
    want = np.asarray(want, np.float64)
    assert got.shape == want.shape, (got.shape, want.shape)
    assert np.array_equal(np.isnan(got), np.isnan(want)), "NaN in other places"
    finite = np.isfinite(want)
    assert np.array_equal(got[~finite & ~np.isnan(want)], want[~finite & ~np.isnan(want)]), "infinities in other places"
    if finite.any():
        scale = np.abs(want[finite]).max() or 1.0
        worst = np.abs(got[finite] - want[finite]).max() / scale
        assert worst <= tolerance, f"relative error {worst:.2e}"

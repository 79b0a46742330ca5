"""Kernels in MLIR text, compiled, linked and called through ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.native.link import link_shared
from compiler.native.lower import compile_object
from compiler.native.main import Call, Loop, Pointer, emit_main
from compiler.native.manifest import Manifest, TensorSpec, place_weights
from compiler.native.openmp import load_openmp
from compiler.native.program import Program
from compiler.target import host_features

Native = Callable[..., None]

AXPY = """
func.func @axpy(%a: memref<SIZExf32>, %b: memref<SIZExf32>, %o: memref<SIZExf32>) {
  %c0 = arith.constant 0 : index
  %end = arith.constant SIZE : index
  %step = arith.constant 8 : index
  scf.parallel (%i) = (%c0) to (%end) step (%step) {
    %x = vector.load %a[%i] : memref<SIZExf32>, vector<8xf32>
    %y = vector.load %b[%i] : memref<SIZExf32>, vector<8xf32>
    %z = vector.fma %x, %y, %x : vector<8xf32>
    vector.store %z, %o[%i] : memref<SIZExf32>, vector<8xf32>
  }
  return
}
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str, str], Native]:
    """`load(text, name)` is the compiled function; it takes arrays."""

    def loaded(text: str, name: str) -> Native:
        load_openmp()
        (tmp_path / f"{name}.o").write_bytes(compile_object(text, name))
        library = tmp_path / f"{name}.so"
        link_shared([tmp_path / f"{name}.o"], library, exports=[name])
        function = getattr(ctypes.CDLL(str(library)), name)

        def call(*arrays: np.ndarray[Any, Any]) -> None:
            function(*(ctypes.c_void_p(array.ctypes.data) for array in arrays))

        return call

    return loaded


def axpy_program(folder: Path, size: int = 64, linker: str | None = None) -> Program:
    """x -> x w + x twice through the workspace; y row by row in a loop; w = 0, 1, ..., size - 1 over size."""
    (folder / "axpy.o").write_bytes(compile_object(AXPY.replace("SIZE", str(size)), "axpy"))
    weights, row = Pointer("weights"), size * 4
    steps = [
        Call("axpy", (Pointer("inputs", 0), weights, Pointer("workspace", 0, 64))),
        Call("axpy", (Pointer("workspace", 0, 64), weights, Pointer("outputs", 0))),
        Loop(3, (Call("axpy", (Pointer("inputs", 1, 0, row), weights, Pointer("outputs", 1, 0, row))),)),
    ]
    (folder / "main.o").write_bytes(compile_object(emit_main(steps, 2, 2), "seerc_run"))
    library = folder / f"axpy{size}.so"
    link_shared([folder / "axpy.o", folder / "main.o"], library, linker=linker)
    manifest = Manifest(
        inputs=(TensorSpec("x", (size,)), TensorSpec("y", (3, size))),
        outputs=(TensorSpec("twice", (size,)), TensorSpec("rows", (3, size))),
        workspace_bytes=64 + row,
        weights=tuple(place_weights([TensorSpec("w", (size,))])),
        isa=host_features(),
        plan={"made": "by hand"},
    )
    return Program.build(library, [np.arange(size, dtype=np.float32) / size], manifest)


@pytest.fixture
def axpy(tmp_path: Path) -> Program:
    return axpy_program(tmp_path)


@pytest.fixture
def make_axpy(tmp_path: Path) -> Callable[..., Program]:
    return lambda size, linker=None: axpy_program(tmp_path, size, linker)

"""Counted instructions against single-stepping the kernel, and leaping against following every instruction."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.native import count
from compiler.native.count import count_instructions
from compiler.native.link import link_shared
from compiler.native.lower import compile_object

TRACEME, GETREGS, SINGLESTEP = 0, 12, 9
HEAD = """
func.func @k(%a: memref<40x64xf32>, %b: memref<64x24xf32>, %c: memref<40x24xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c24 = arith.constant 24 : index
  %c40 = arith.constant 40 : index
  %c64 = arith.constant 64 : index
  %f = arith.constant 1.5 : f32
"""
PRODUCT = (
    HEAD
    + """
  linalg.matmul ins(%a, %b : memref<40x64xf32>, memref<64x24xf32>) outs(%c : memref<40x24xf32>)
  return }"""
)
TRIANGLE = (
    HEAD
    + """
  scf.for %i = %c0 to %c40 step %c1 {
    scf.for %j = %c0 to %i step %c1 {
      %x = memref.load %a[%j, %i] : memref<40x64xf32>
      %y = arith.divf %f, %x : f32
      memref.store %y, %a[%i, %j] : memref<40x64xf32>
    } }
  return }"""
)
CONDITIONAL = (
    HEAD
    + """
  scf.for %i = %c0 to %c40 step %c1 {
    %rest = arith.remui %i, %c40 : index
    %low = arith.minui %rest, %c64 : index
    %even = arith.cmpi ult, %low, %c40 : index
    scf.if %even {
      scf.for %j = %c0 to %c64 step %c1 {
        %x = memref.load %a[%i, %j] : memref<40x64xf32>
        %y = arith.divf %f, %x : f32
        memref.store %y, %a[%i, %j] : memref<40x64xf32>
      } } }
  return }"""
)
PARALLEL = (
    HEAD
    + """
  scf.parallel (%i) = (%c0) to (%c40) step (%c1) {
    scf.for %j = %c0 to %c64 step %c1 {
      %x = memref.load %a[%i, %j] : memref<40x64xf32>
      %y = arith.divf %f, %x : f32
      memref.store %y, %a[%i, %j] : memref<40x64xf32>
    } }
  return }"""
)
GRID = (
    HEAD
    + """
  scf.parallel (%i, %j) = (%c0, %c0) to (%c40, %c24) step (%c1, %c2) {
    scf.for %p = %c0 to %c64 step %c1 {
      %x = memref.load %b[%p, %j] : memref<64x24xf32>
      %y = arith.divf %f, %x : f32
      memref.store %y, %b[%p, %j] : memref<64x24xf32>
    } }
  return }"""
)
DATA = (
    HEAD
    + """
  %x = memref.load %a[%c0, %c0] : memref<40x64xf32>
  %bits = arith.fptosi %x : f32 to i64
  %end = arith.index_cast %bits : i64 to index
  scf.for %j = %c0 to %end step %c1 { memref.store %f, %a[%j, %j] : memref<40x64xf32> }
  return }"""
)


def single_stepped(library: Path, arrays: list[np.ndarray[Any, Any]]) -> int:
    """Instructions within `library` while a child calls its function k."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    function = ctypes.CDLL(str(library)).k
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    (code,) = (m[0] for m in maps if m[-1] == str(library) and "x" in m[1])
    low, high = (int(end, 16) for end in code.split("-"))
    child = os.fork()
    if child == 0:
        failed = libc.ptrace(TRACEME, 0, None, None)
        if failed:
            os._exit(77)
        os.kill(os.getpid(), signal.SIGSTOP)
        function(*pointers)
        os._exit(0)
    registers = ctypes.create_string_buffer(27 * 8)
    counted = before = 0
    while True:
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            break
        libc.ptrace(GETREGS, child, None, registers)
        (at,) = struct.unpack_from("<Q", registers, 16 * 8)
        # A signal or a page fault can stop twice before the same instruction.
        counted += low <= at < high and at != before
        before = at
        libc.ptrace(SINGLESTEP, child, None, None)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 77:
        pytest.skip("ptrace is not allowed here")
    return counted


@pytest.mark.parametrize("text", [PRODUCT, TRIANGLE, CONDITIONAL], ids=["product", "triangle", "conditional"])
def test_the_count_is_exact(text: str, tmp_path: Path) -> None:
    for old, new in (("40", "9"), ("64", "16"), ("24", "6")):
        text = text.replace(old, new)
    data = compile_object(text, "k", openmp=False)
    (tmp_path / "k.o").write_bytes(data)
    link_shared([tmp_path / "k.o"], tmp_path / "k.so", exports=["k"])
    arrays = [np.ones(shape, np.float32) for shape in ((40, 64), (64, 24), (40, 24))]
    assert count_instructions(data, "k") == single_stepped(tmp_path / "k.so", arrays)


@pytest.mark.parametrize("text", [PRODUCT.replace("40x", "4x"), TRIANGLE, CONDITIONAL, PARALLEL, GRID])
def test_leaping_counts_what_following_counts(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = compile_object(text, "k")
    leaping = count_instructions(data, "k", budget=400_000)
    monkeypatch.setattr(count._Machine, "_leap", lambda _: None)
    assert leaping == count_instructions(data, "k", budget=400_000)
    assert leaping is not None


def test_a_long_kernel_takes_few_steps() -> None:
    text = PRODUCT.replace("40x", "4000x").replace("64", "6400").replace("24", "2400")
    counted = count_instructions(compile_object(text, "k"), "k", budget=20_000)
    assert counted is not None
    assert counted > 4000 * 6400 * 2400 / 32


def test_paths_that_depend_on_data_give_none() -> None:
    assert count_instructions(compile_object(DATA, "k"), "k") is None
    assert count_instructions(compile_object(DATA, "k"), "other") is None

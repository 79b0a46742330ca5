"""From MLIR to an object: registers, fused multiply-add, fast-math, parallel loops, copies, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compiler.native.count import count_instructions
from compiler.native.elf import read_functions
from compiler.native.instructions import Instruction, decode
from compiler.native.lower import compile_object, lower_to_llvm
from compiler.native.openmp import openmp_library
from compiler.target import cpu_flags
from costmodel.errors import SeercError
from passes.mlir import context, ir


def elementwise(body: str, vector: str = "vector<16xf32>") -> str:
    return f"""
      func.func @k(%a: memref<64xf32>, %b: memref<64xf32>, %o: memref<64xf32>) {{
        %c0 = arith.constant 0 : index
        %x = vector.load %a[%c0] : memref<64xf32>, {vector}
        %y = vector.load %b[%c0] : memref<64xf32>, {vector}
        {body}
        vector.store %z, %o[%c0] : memref<64xf32>, {vector}
        return
      }}"""


def code(text: str, cpu: str | None = None) -> list[Instruction]:
    function = next(f for f in read_functions(compile_object(text, "k", cpu=cpu)) if f.name == "k")
    return decode(function.code)


@pytest.mark.skipif("fma" not in cpu_flags(), reason="the CPU has no fused multiply-add")
@pytest.mark.parametrize(
    ("body", "fused"),
    [
        ("%z = vector.fma %x, %y, %x : VECTOR", True),
        ("%z = math.fma %x, %y, %x : VECTOR", True),
        ("%p = arith.mulf %x, %y : VECTOR\n%z = arith.addf %p, %x : VECTOR", False),
        (
            "%p = arith.mulf %x, %y fastmath<contract> : VECTOR\n%z = arith.addf %p, %x fastmath<contract> : VECTOR",
            True,
        ),
    ],
)
def test_what_becomes_a_fused_multiply_add(body: str, fused: bool) -> None:
    instructions = code(elementwise(body.replace("VECTOR", "vector<8xf32>"), "vector<8xf32>"))
    assert any(i.is_fma for i in instructions) is fused


@pytest.mark.parametrize(("lanes", "flag"), [(16, "avx512f"), (8, "avx"), (4, "sse4_2")])
def test_vectors_stay_whole(lanes: int, flag: str) -> None:
    if flag not in cpu_flags():
        pytest.skip(f"the CPU has no {flag}")
    vector = f"vector<{lanes}xf32>"
    instructions = code(elementwise(f"%z = vector.fma %x, %y, %x : {vector}", vector))
    assert [i.bits for i in instructions if i.is_fma] == [lanes * 4]


def test_safe_fast_math_keeps_infinities(load: Any) -> None:
    flags = "fastmath<contract,nsz,arcp,reassoc>"
    body = f"%p = arith.mulf %x, %y {flags} : VECTOR\n%z = arith.addf %p, %x {flags} : VECTOR"
    x = np.array([-np.inf, np.inf, np.nan, 1] * 4, np.float32)
    y = np.array([1, 2, 3, np.inf] * 4, np.float32)
    found = np.empty_like(x)
    load(elementwise(body.replace("VECTOR", "vector<16xf32>")), "k")(x, y, found)
    np.testing.assert_array_equal(found, x * y + x)


def test_parallel_loops_run_on_openmp_without_a_second_barrier() -> None:
    text = """
      func.func @k(%o: memref<64xf32>) {
        %c0 = arith.constant 0 : index
        %c1 = arith.constant 1 : index
        %end = arith.constant 64 : index
        %v = arith.constant 1.0 : f32
        scf.parallel (%i) = (%c0) to (%end) step (%c1) {
          memref.store %v, %o[%i] : memref<64xf32>
        }
        return
      }"""
    called = {r.symbol for f in read_functions(compile_object(text, "k")) for r in f.relocations}
    assert "__kmpc_fork_call" in called
    assert "__kmpc_barrier" not in called
    serial = {r.symbol for f in read_functions(compile_object(text, "k", openmp=False)) for r in f.relocations}
    assert not {s for s in serial if s.startswith("__kmpc")}


def test_strided_copy_and_linalg_on_buffers(load: Any) -> None:
    text = """
      func.func @k(%a: memref<4x8xf32>, %o: memref<4x4xf32>, %t: memref<8x4xf32>) {
        %s = memref.subview %a[0, 2] [4, 4] [1, 1] : memref<4x8xf32> to memref<4x4xf32, strided<[8, 1], offset: 2>>
        memref.copy %s, %o : memref<4x4xf32, strided<[8, 1], offset: 2>> to memref<4x4xf32>
        linalg.transpose ins(%a : memref<4x8xf32>) outs(%t : memref<8x4xf32>) permutation = [1, 0]
        return
      }"""
    a = np.arange(32, dtype=np.float32).reshape(4, 8)
    o, t = np.zeros((4, 4), np.float32), np.zeros((8, 4), np.float32)
    load(text, "k")(a, o, t)
    np.testing.assert_array_equal(o, a[:, 2:6])
    np.testing.assert_array_equal(t, a.T)


def test_only_the_llvm_dialect_is_left() -> None:
    module = ir.Module.parse(elementwise("%z = math.exp %x : vector<16xf32>"), context())
    lower_to_llvm(module)
    assert {op.operation.name for op in module.body.operations} == {"llvm.func"}


def test_errors_name_the_kernel() -> None:
    with pytest.raises(SeercError, match="kernel k: not valid MLIR"):
        compile_object("func.func @k( {", "k")
    with pytest.raises(SeercError, match="kernel other: the module defines no such function"):
        compile_object("func.func @k() { return }", "other")
    with pytest.raises(SeercError, match="kernel k: "):
        compile_object("func.func @k(%a: tensor<4xf32>) -> tensor<4xf32> { return %a : tensor<4xf32> }", "k")


def test_the_openmp_library_is_found() -> None:
    assert openmp_library().name == "libiomp5.so"


@pytest.mark.skipif("avx512f" not in cpu_flags(), reason="the CPU has nothing to leave unused")
def test_code_for_a_narrower_cpu_keeps_to_its_registers() -> None:
    body = "%z = vector.fma %x, %y, %x : vector<16xf32>"
    assert {i.bits for i in code(elementwise(body)) if i.is_fma} == {64}
    narrow = code(elementwise(body), cpu="haswell")
    assert {i.bits for i in narrow if i.is_fma} == {32}
    assert not any("zmm" in i.operands or "{k" in i.operands for i in narrow)


def test_pointers_are_kept_apart_in_parallel_code() -> None:
    """The load does not vary with the loop that stores: LLVM may move it out, as it does in serial code."""
    text = """
      func.func @k(%a: memref<8xf32> {llvm.noalias}, %o: memref<4096xf32> {llvm.noalias}) {
        %c0 = arith.constant 0 : index
        %c1 = arith.constant 1 : index
        %c64 = arith.constant 64 : index
        scf.parallel (%i) = (%c0) to (%c64) step (%c1) {
          scf.for %j = %c0 to %c64 step %c1 {
            %x = memref.load %a[%c0] : memref<8xf32>
            %r = arith.muli %i, %c64 : index
            %at = arith.addi %r, %j : index
            memref.store %x, %o[%at] : memref<4096xf32>
          }
        }
        return
      }"""
    with context():
        module = ir.Module.parse(text)
    lower_to_llvm(module)
    loads = [line for line in str(module).splitlines() if "llvm.load" in line]
    stores = [line for line in str(module).splitlines() if "llvm.store" in line]
    assert len(loads) == len(stores) == 1
    assert all("alias_scopes" in line and "noalias_scopes" in line for line in (*loads, *stores))
    serial, parallel = (compile_object(text, "k", openmp=openmp) for openmp in (False, True))
    assert count_instructions(parallel, "k") < count_instructions(serial, "k") + 64 * 40

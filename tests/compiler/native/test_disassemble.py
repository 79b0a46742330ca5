"""Metrics read from object code, on register tiles whose registers and spills are known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.native.disassemble import innermost_loops, live_registers, measure_code
from compiler.native.instructions import Instruction, decode
from compiler.native.lower import compile_object
from compiler.target import cpu_flags, detect_target


def register_tile(rows: int, vectors: int, lanes: int, steps: int = 256) -> str:
    """rows x (vectors * lanes) accumulators over `steps` outer products."""
    vector, count = f"vector<{lanes}xf32>", rows * vectors
    a, b = f"memref<{steps}x{rows}xf32>", f"memref<{steps}x{vectors * lanes}xf32>"
    c = f"memref<{rows}x{vectors * lanes}xf32>"
    lines = [f"func.func @k(%a: {a}, %b: {b}, %c: {c}) {{"]
    lines += [f"%i{n} = arith.constant {n} : index" for n in sorted({0, 1, steps, *range(rows)})]
    lines += [f"%o{j} = arith.constant {j * lanes} : index" for j in range(vectors)]
    lines += [f"%zero = arith.constant dense<0.0> : {vector}"]
    starts = ", ".join(f"%s{n} = %zero" for n in range(count))
    types = ", ".join([vector] * count)
    lines += [f"%r:{count} = scf.for %p = %i0 to %i{steps} step %i1 iter_args({starts}) -> ({types}) {{"]
    lines += [f"%b{j} = vector.load %b[%p, %o{j}] : {b}, {vector}" for j in range(vectors)]
    for i in range(rows):
        lines += [f"%e{i} = memref.load %a[%p, %i{i}] : {a}", f"%v{i} = vector.broadcast %e{i} : f32 to {vector}"]
        for j in range(vectors):
            n = i * vectors + j
            lines += [f"%n{n} = vector.fma %v{i}, %b{j}, %s{n} : {vector}"]
    lines += [f"scf.yield {', '.join(f'%n{n}' for n in range(count))} : {types}", "}"]
    for n in range(count):
        lines += [f"vector.store %r#{n}, %c[%i{n // vectors}, %o{n % vectors}] : {c}, {vector}"]
    return "\n".join([*lines, "return", "}"])


TARGET = detect_target(measure=False)
LANES = TARGET.vector_bytes // 4
needs_fma = pytest.mark.skipif("fma" not in cpu_flags(), reason="the CPU has no fused multiply-add")


@needs_fma
def test_a_tile_that_fits_does_not_spill_and_one_that_does_not_does() -> None:
    rows = TARGET.vector_registers // 4
    fits = measure_code(compile_object(register_tile(rows, 2, LANES), "k"), TARGET.vector_bytes)
    assert fits.spills == fits.function_spills == 0
    assert rows * 2 < fits.registers <= TARGET.vector_registers
    assert fits.loop_fmas % (rows * 2) == 0
    assert fits.loop_instructions > fits.loop_fmas
    assert 0 < fits.code_bytes < 4096
    too_many = measure_code(compile_object(register_tile(rows * 3, 2, LANES), "k"), TARGET.vector_bytes)
    assert too_many.spills > 0
    assert too_many.function_spills >= too_many.spills
    assert too_many.registers == TARGET.vector_registers


@needs_fma
def test_utilisation_is_the_share_of_full_vectors() -> None:
    full = measure_code(compile_object(register_tile(4, 1, LANES), "k"), TARGET.vector_bytes)
    half = measure_code(compile_object(register_tile(4, 1, LANES // 2), "k"), TARGET.vector_bytes)
    assert (full.vector_utilisation, half.vector_utilisation) == (1.0, 0.0)


def test_parallel_kernels_are_measured_in_the_outlined_function() -> None:
    text = """
      func.func @k(%a: memref<64x64xf32>) {
        %c0 = arith.constant 0 : index
        %c1 = arith.constant 1 : index
        %c8 = arith.constant 8 : index
        %end = arith.constant 64 : index
        scf.parallel (%i) = (%c0) to (%end) step (%c1) {
          scf.for %j = %c0 to %end step %c8 {
            %x = vector.load %a[%i, %j] : memref<64x64xf32>, vector<8xf32>
            %y = vector.fma %x, %x, %x : vector<8xf32>
            vector.store %y, %a[%i, %j] : memref<64x64xf32>, vector<8xf32>
          }
        }
        return
      }"""
    assert measure_code(compile_object(text, "k"), 32).loop_fmas > 0


def test_an_object_without_vectors() -> None:
    metrics = measure_code(compile_object("func.func @k() { return }", "k"), 32)
    assert (metrics.registers, metrics.spills, metrics.vector_utilisation, metrics.loop_fmas) == (0, 0, 0.0, 0)


def instruction(address: int, mnemonic: str, operands: str = "", reads: int = 0, writes: int = 0) -> Instruction:
    return Instruction(address, 1, mnemonic, operands, reads, writes)


def test_innermost_loops_and_liveness() -> None:
    code = [
        instruction(0, "vmovups", "a", 0, 0b1),  # live through the outer loop
        instruction(1, "vmovups", "b", 0, 0b10),  # outer loop starts
        instruction(2, "vmovups", "c", 0, 0b100),  # inner loop
        instruction(3, "vaddps", "d", 0b110, 0b10),
        instruction(4, "jne", "0x2"),
        instruction(5, "vmovups", "e", 0b11, 0),
        instruction(6, "jne", "0x1"),
        instruction(7, "ret"),
    ]
    loops = innermost_loops(code)
    assert [(loop.start, loop.end) for loop in loops] == [(2, 5)]
    assert live_registers(code, loops[0]) == 3


@pytest.mark.parametrize(
    ("code", "reads", "writes"),
    [
        ("62f2fd48b8c1", 0b11, 0b1),  # vfmadd231pd zmm0, zmm0, zmm1
        ("c5f057c9", 0, 0b10),  # vxorps xmm1, xmm1, xmm1: a zero, reads nothing
        ("c5fc11442420", 0b1, 0),  # vmovups [rsp + 0x20], ymm0
        ("c5fc105c2440", 0, 0b1000),  # vmovups ymm3, [rsp + 0x40]
        ("0f58c8", 0b11, 0b10),  # addps xmm1, xmm0
    ],
)
def test_registers_of_instructions(code: str, reads: int, writes: int) -> None:
    found = decode(bytes.fromhex(code))[0]
    assert (found.reads, found.writes) == (reads, writes)


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded(code: bytes) -> None:
    instructions = decode(code)
    assert sum(i.size for i in instructions) == len(code)
    for loop in innermost_loops(instructions):
        assert live_registers(instructions, loop) <= 32

"""The f32 functions against float64 NumPy and, for special values, PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from compiler.native.elf import read_functions
from compiler.native.lower import compile_object

Array = np.ndarray[Any, Any]
N = 1 << 14
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 3e38, -3e38, 88.7228, 89.0, -104.0, 128.0, 1.5, 0.25, -7.0]


def kernel(op: str, size: int, vector: str = "vector<16xf32>", operand: str = "%y") -> str:
    """o = op(a) or op(a, b) over arrays of `size`."""
    arguments = f"%x, {operand}" if op == "powf" else "%x"
    return f"""
      func.func @k(%a: memref<{size}xf32>, %b: memref<{size}xf32>, %o: memref<{size}xf32>) {{
        %c0 = arith.constant 0 : index
        %end = arith.constant {size} : index
        %step = arith.constant 16 : index
        %three = arith.constant dense<3.0> : {vector}
        scf.for %i = %c0 to %end step %step {{
          %x = vector.load %a[%i] : memref<{size}xf32>, {vector}
          %y = vector.load %b[%i] : memref<{size}xf32>, {vector}
          %z = math.{op} {arguments} : {vector}
          vector.store %z, %o[%i] : memref<{size}xf32>, {vector}
        }}
        return
      }}"""


def uniform(low: float, high: float) -> Array:
    return np.random.default_rng(0).uniform(low, high, N).astype(np.float32)


def spread(low: float, high: float) -> Array:
    """Magnitudes of every order, both signs."""
    rng = np.random.default_rng(1)
    size = np.exp(rng.uniform(math.log(low), math.log(high), N))
    return (size * rng.choice([-1, 1], N)).astype(np.float32)


def ulps(found: Array, exact: Array) -> float:
    """The worst error in units of the last place of the result, over normal finite results."""
    rounded = exact.astype(np.float32)
    normal = np.isfinite(rounded) & (np.abs(rounded) > 3e-38)
    return float(np.max(np.abs(found - exact)[normal] / np.spacing(np.abs(rounded[normal])).astype(np.float64)))


erf = np.vectorize(math.erf)
CASES: list[tuple[str, Callable[[Array], Array], list[Array], float]] = [
    ("exp", np.exp, [uniform(-86, 88.7), uniform(-1, 1)], 1.5),
    ("exp2", np.exp2, [uniform(-125, 127.9)], 1.5),
    ("expm1", np.expm1, [uniform(-20, 88.7), spread(1e-10, 1)], 1.5),
    ("log", np.log, [np.abs(spread(1e-44, 3e38)), uniform(0.5, 2)], 1.0),
    ("log2", np.log2, [np.abs(spread(1e-38, 3e38)), uniform(0.5, 2)], 2.5),
    ("log10", np.log10, [np.abs(spread(1e-38, 3e38)), uniform(0.5, 2)], 2.5),
    ("log1p", np.log1p, [np.abs(spread(1e-30, 3e38)), uniform(-0.99, 1)], 2.5),
    ("tanh", np.tanh, [uniform(-10, 10), spread(1e-30, 1)], 6.0),
    ("erf", erf, [uniform(-5, 5), spread(1e-30, 1)], 6.0),
    ("sin", np.sin, [uniform(-10, 10), spread(1e-20, 1e9)], 1.6),
    ("cos", np.cos, [uniform(-10, 10), spread(1e-20, 1e9)], 1.6),
    ("tan", np.tan, [uniform(-10, 10), spread(1e-20, 1e9)], 3.5),
    ("rsqrt", lambda x: 1 / np.sqrt(x), [np.abs(spread(1e-37, 1e38))], 1.5),
]


@pytest.mark.parametrize(("op", "exact", "ranges", "limit"), CASES, ids=[case[0] for case in CASES])
def test_errors_against_float64(load: Any, op: str, exact: Any, ranges: list[Array], limit: float) -> None:
    function = load(kernel(op, N), "k")
    for x in ranges:
        found = np.empty_like(x)
        function(x, x, found)
        assert ulps(found, exact(x.astype(np.float64))) <= limit


@pytest.mark.parametrize("op", [case[0] for case in CASES])
def test_special_values_as_pytorch(load: Any, op: str) -> None:
    x = np.array(SPECIAL, np.float32)
    if op in ("sin", "cos", "tan"):
        x[np.abs(x) > 1e30] = 2.0
        x[np.isnan(np.array(SPECIAL))] = np.nan
    found = np.empty_like(x)
    load(kernel(op, len(x)), "k")(x, x, found)
    expected = getattr(torch, op)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-45)
    zeros = (expected == 0) & (x == 0)
    np.testing.assert_array_equal(np.signbit(found[zeros]), np.signbit(expected[zeros]))


def test_power(load: Any) -> None:
    x, y = np.abs(spread(1e-30, 1e30)), uniform(-5, 5)
    found = np.empty_like(x)
    load(kernel("powf", N), "k")(x, y, found)
    assert ulps(found, np.power(x.astype(np.float64), y.astype(np.float64))) <= 0.6


def test_power_of_special_values_as_pytorch(load: Any) -> None:
    values = np.array([*SPECIAL, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5, 2.5, -2.5], np.float32)
    x, y = (np.ascontiguousarray(grid.ravel()) for grid in np.meshgrid(values, values))
    found = np.empty_like(x)
    load(kernel("powf", len(x)), "k")(x, y, found)
    expected = torch.pow(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_power_with_a_small_constant_is_a_product(load: Any) -> None:
    x = uniform(-5, 5)
    found = np.empty_like(x)
    load(kernel("powf", N, operand="%three"), "k")(x, x, found)
    np.testing.assert_array_equal(found, x * x * x)


@pytest.mark.parametrize("op", [case[0] for case in CASES] + ["powf", "sqrt", "floor", "round", "roundeven"])
@pytest.mark.parametrize("vector", ["vector<16xf32>", "vector<2x8xf32>"])
def test_vectors_call_no_library(op: str, vector: str) -> None:
    text = kernel(op, 64, vector)
    if vector.startswith("vector<2x8"):
        text = text.replace("vector.load %a[%i]", "vector.transfer_read %a[%c0, %i], %pad {in_bounds = [true, true]}")
        text = text.replace("vector.load %b[%i]", "vector.transfer_read %b[%c0, %i], %pad {in_bounds = [true, true]}")
        text = text.replace(
            "vector.store %z, %o[%i]", "vector.transfer_write %z, %o[%c0, %i] {in_bounds = [true, true]}"
        )
        text = text.replace(": memref<64xf32>, vector", ": MEMREF, vector").replace("memref<64xf32>", "MEMREF")
        text = text.replace(": MEMREF, vector<2x8xf32>\n        }", ": vector<2x8xf32>, MEMREF\n        }")
        text = text.replace("%c0 =", "%pad = arith.constant 0.0 : f32\n%c0 =").replace("MEMREF", "memref<2x64xf32>")
    symbols = {r.symbol for f in read_functions(compile_object(text, "k")) for r in f.relocations}
    assert not {s for s in symbols if s and not s.startswith((".", "_GLOBAL", "_mlir", "k"))}

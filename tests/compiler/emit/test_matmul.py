"""Matrix products of the `direct` emitter: sizes, register tiles, packing, epilogues, batches over permuted views."""

from __future__ import annotations

from math import erf
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passes.tiling.schedule import Schedule
from tests.compiler.emit.harness import Tensor, close, compiled, filled, generic, module, run, schedule

Array = np.ndarray[Any, Any]
MULTIPLY_ADD = "%m = arith.mulf %a0, %a1 : f32\n%s = arith.addf %o, %m : f32\nyield %s"


def product(a: Tensor, b: Tensor, c: Tensor, how: Schedule, transposed: bool = False) -> str:
    """C = A B (or A B^T)."""
    index = "d1, d2" if transposed else "d2, d1"
    body = filled("%f", c, "0.0") + generic(
        "%r", [("%0", a, "d0, d2"), ("%1", b, index)], ("%f", c, "d0, d1"), "ppr", MULTIPLY_ADD, root=True
    )
    return module([a, b], [c], body + f"return %r : {c.type}", how, "contraction")


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def check_product(m: int, n: int, k: int, how: Schedule, constant: bool, transposed: bool = False) -> None:
    shape = (n, k) if transposed else (k, n)
    text = product(Tensor((m, k)), Tensor(shape, constant=constant), Tensor((m, n)), how, transposed)
    a, b = numbers(m, k), numbers(*shape)
    made = compiled(text)
    close(made.run(a, b)[0], a.astype(np.float64) @ (b.T if transposed else b).astype(np.float64))


@pytest.mark.parametrize(
    ("m", "n", "k"),
    [
        (1, 1, 1),
        (1, 16, 8),
        (7, 1, 5),
        (1, 37, 29),
        (6, 16, 1),
        (13, 17, 19),
        (24, 64, 32),
        (61, 83, 47),
        (2, 100, 130),
    ],
)
@pytest.mark.parametrize("constant", [True, False])
def test_sizes(m: int, n: int, k: int, constant: bool) -> None:
    check_product(m, n, k, schedule(vector=8, vectors=2, rows=6), constant)


@pytest.mark.parametrize(
    "how",
    [
        schedule(vector=16, vectors=2, rows=4),
        schedule(vector=16, vectors=1, rows=12, unroll=4),
        schedule(vector=8, vectors=3, rows=4, unroll=3, parallel=False),
        schedule(vector=8, vectors=2, rows=6, order="rows-columns"),
        schedule(vector=8, vectors=2, rows=6, row_tile=12, parallel=False),
        schedule(vector=8, vectors=2, rows=6, row_tile=24, unroll=2),
        schedule(vector=16, vectors=4, rows=1, row_tile=8),
        schedule(vector=1, vectors=4, rows=4),
        schedule(vector=8, vectors=2, rows=6, pack=False),
        schedule(vector=16, vectors=1, rows=5, pack=False, order="rows-columns"),
    ],
)
@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("constant", [True, False])
def test_schedules(how: Schedule, transposed: bool, constant: bool) -> None:
    check_product(29, 71, 43, how, constant, transposed)


def test_unpacked_operand_with_unit_stride_in_the_reduction() -> None:
    check_product(9, 40, 24, schedule(vector=8, vectors=2, rows=4, pack=False), False, transposed=True)


@pytest.mark.parametrize("pack", [True, False])
def test_strided_operands(pack: bool) -> None:
    a, b = Tensor((10, 12), strides=(1, 11)), Tensor((12, 20), strides=(1, 13))
    c = Tensor((10, 20), strides=(50, 2))
    text = product(a, b, c, schedule(vector=8, vectors=1, rows=4, pack=pack))
    x, y = numbers(10, 12), numbers(12, 20)
    close(run(text, x, y)[0], x.astype(np.float64) @ y.astype(np.float64))


def _unary(result: str, value: str, c: Tensor, body: str, extra: list[tuple[str, Tensor, str]] | None = None) -> str:
    return generic(result, [(value, c, "d0, d1"), *(extra or [])], ("%e", c, "d0, d1"), "pp", body)


GELU = """%h = arith.constant 0.5 : f32
%one = arith.constant 1.0 : f32
%root = arith.constant 0.70710678 : f32
%s = arith.mulf %a0, %root : f32
%t = math.erf %s : f32
%u = arith.addf %t, %one : f32
%v = arith.mulf %a0, %h : f32
%w = arith.mulf %v, %u : f32
yield %w"""


@pytest.mark.parametrize(
    "how", [schedule(vector=8, vectors=2, rows=6), schedule(vector=16, vectors=2, rows=5, unroll=4)]
)
def test_epilogue_bias_gelu_residual(how: Schedule) -> None:
    m, n, k = 23, 45, 31
    a, b, c, row = Tensor((m, k)), Tensor((k, n), constant=True), Tensor((m, n)), Tensor((n,), constant=True)
    body = filled("%f", c, "0.0") + f"%e = tensor.empty() : {c.type}\n"
    body += generic(
        "%r", [("%0", a, "d0, d2"), ("%1", b, "d2, d1")], ("%f", c, "d0, d1"), "ppr", MULTIPLY_ADD, root=True
    )
    body += _unary("%s", "%r", c, "%t = arith.addf %a0, %a1 : f32\nyield %t", [("%2", row, "d1")])
    body += _unary("%g", "%s", c, GELU)
    body += _unary("%y", "%g", c, "%t = arith.addf %a0, %a1 : f32\nyield %t", [("%3", c, "d0, d1")])
    x, w, bias, residual = numbers(m, k), numbers(k, n), numbers(n), numbers(m, n, seed=5)
    text = module([a, b, row, c], [c], body + f"return %y : {c.type}", how, "contraction")
    s = x.astype(np.float64) @ w.astype(np.float64) + bias
    close(run(text, x, w, bias, residual)[0], s * 0.5 * (1 + np.vectorize(erf)(s / np.sqrt(2))) + residual)


def test_two_results() -> None:
    m, n, k = 9, 33, 12
    a, b, c = Tensor((m, k)), Tensor((k, n), constant=True), Tensor((m, n))
    body = filled("%f", c, "0.0") + f"%e = tensor.empty() : {c.type}\n"
    body += generic(
        "%r", [("%0", a, "d0, d2"), ("%1", b, "d2, d1")], ("%f", c, "d0, d1"), "ppr", MULTIPLY_ADD, root=True
    )
    body += _unary("%t", "%r", c, "%u = math.tanh %a0 : f32\nyield %u")
    turned = Tensor((m, n), strides=(1, m))
    text = module(
        [a, b], [c, turned], body + f"return %r, %t : {c.type}, {c.type}", schedule(vector=8, rows=4), "contraction"
    )
    x, w = numbers(m, k), numbers(k, n)
    want = x.astype(np.float64) @ w.astype(np.float64)
    plain, tanh = run(text, x, w)
    close(plain, want)
    close(tanh, np.tanh(want))


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize(("h", "t", "d"), [(4, 21, 16), (3, 8, 5)])
def test_attention_over_permuted_views(h: int, t: int, d: int, pack: bool) -> None:
    """Q K^T and P V where Q, K, V are [T, H, D] in memory, the product written as [T, H, D] too."""
    heads = Tensor((h, t, d), strides=(d, h * d, 1))
    scores = Tensor((h, t, t))
    how = schedule(vector=8, vectors=1, rows=6, pack=pack)
    body = filled("%f", scores, "0.0") + generic(
        "%r",
        [("%0", heads, "d0, d1, d3"), ("%1", heads, "d0, d2, d3")],
        ("%f", scores, "d0, d1, d2"),
        "pppr",
        MULTIPLY_ADD,
        True,
    )
    q, k = numbers(h, t, d), numbers(h, t, d, seed=1)
    text = module([heads, heads], [scores], body + f"return %r : {scores.type}", how, "contraction")
    close(run(text, q, k)[0], np.einsum("htd,hsd->hts", q.astype(np.float64), k))
    out = Tensor((h, t, d), strides=(d, h * d, 1))
    body = filled("%f", out, "0.0") + generic(
        "%r",
        [("%0", scores, "d0, d1, d3"), ("%1", heads, "d0, d3, d2")],
        ("%f", out, "d0, d1, d2"),
        "pppr",
        MULTIPLY_ADD,
        True,
    )
    p = numbers(h, t, t, seed=2)
    text = module([scores, heads], [out], body + f"return %r : {out.type}", how, "contraction")
    close(run(text, p, k)[0], np.einsum("hts,hsd->htd", p.astype(np.float64), k))


def test_scaled_and_masked_scores() -> None:
    """The epilogue reads an i1 mask that is broadcast over the heads."""
    h, t, d = 2, 19, 8
    heads, scores, mask = Tensor((h, t, d)), Tensor((h, t, t)), Tensor((t, t), "i1")
    body = (
        filled("%f", scores, "0.0") + f"%e = tensor.empty() : {scores.type}\n%low = arith.constant 0xFF800000 : f32\n"
    )
    body += generic(
        "%r",
        [("%0", heads, "d0, d1, d3"), ("%1", heads, "d0, d2, d3")],
        ("%f", scores, "d0, d1, d2"),
        "pppr",
        MULTIPLY_ADD,
        True,
    )
    body += generic(
        "%y",
        [("%r", scores, "d0, d1, d2"), ("%2", mask, "d1, d2")],
        ("%e", scores, "d0, d1, d2"),
        "ppp",
        "%s = arith.select %a1, %a0, %low : f32\nyield %s",
    )
    text = module([heads, heads, mask], [scores], body + f"return %y : {scores.type}", schedule(rows=4), "contraction")
    q, k, keep = numbers(h, t, d), numbers(h, t, d, seed=1), np.tril(np.ones((t, t), bool))
    want = np.where(keep, np.einsum("htd,hsd->hts", q.astype(np.float64), k), -np.inf)
    close(run(text, q, k, keep)[0], want)


def test_matrix_times_vector() -> None:
    m, k = 37, 50
    a, b, c = Tensor((m, k), constant=True), Tensor((k,)), Tensor((m,))
    body = filled("%f", c, "0.0") + generic(
        "%r", [("%0", a, "d0, d1"), ("%1", b, "d1")], ("%f", c, "d0"), "pr", MULTIPLY_ADD, root=True
    )
    x, y = numbers(m, k), numbers(k)
    for how in (schedule(vector=8, vectors=2), schedule(vector=8, pack=False, rows=4)):
        text = module([a, b], [c], body + f"return %r : {c.type}", how, "contraction")
        close(run(text, x, y)[0], x.astype(np.float64) @ y)


def test_integer_product() -> None:
    m, n, k = 5, 18, 7
    a, b, c = Tensor((m, k), "i32"), Tensor((k, n), "i32", constant=True), Tensor((m, n), "i32")
    update = "%m = arith.muli %a0, %a1 : i32\n%s = arith.addi %o, %m : i32\nyield %s"
    body = filled("%f", c, "0") + generic(
        "%r", [("%0", a, "d0, d2"), ("%1", b, "d2, d1")], ("%f", c, "d0, d1"), "ppr", update, root=True
    )
    rng = np.random.default_rng(0)
    x, y = rng.integers(-9, 9, (m, k)), rng.integers(-9, 9, (k, n))
    text = module([a, b], [c], body + f"return %r : {c.type}", schedule(vector=8, rows=3), "contraction")
    assert np.array_equal(run(text, x, y)[0], x @ y)


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 70), st.integers(1, 40)),
    tile=st.tuples(st.sampled_from([1, 4, 8, 16]), st.integers(1, 3), st.integers(1, 8), st.integers(1, 4)),
    row_tile=st.integers(0, 24),
    switches=st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans()),
)
def test_any_schedule(
    sizes: tuple[int, int, int], tile: tuple[int, int, int, int], row_tile: int, switches: tuple[bool, ...]
) -> None:
    constant, transposed, pack, parallel, by_rows = switches
    vector, vectors, rows, unroll = tile
    order = "rows-columns" if by_rows else "columns-rows"
    how = schedule(
        vector=vector,
        vectors=vectors,
        rows=rows,
        unroll=unroll,
        row_tile=row_tile,
        pack=pack,
        parallel=parallel,
        order=order,
    )
    check_product(*sizes, how, constant, transposed)

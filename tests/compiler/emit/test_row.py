"""Reductions along the lanes: softmax, norms, several results, special values, types, layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.emit.candidate import emit_candidate
from passes.region.structure import UnsupportedRegion
from passes.tiling.schedule import Schedule
from tests.compiler.emit.harness import Tensor, close, filled, generic, module, run, schedule

Array = np.ndarray[Any, Any]
LOW = "0xFF800000"
SCHEDULES = [
    schedule("row", vector=8, vectors=2),
    schedule("row", vector=16, vectors=4, rows=2),
    schedule("row", vector=16, vectors=1, rows=3, parallel=False),
    schedule("row", vector=1),
]
SIZES = [(1, 1), (3, 5), (4, 16), (7, 33), (5, 64), (2, 197)]


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


class Rows:
    """Text of a region over [rows..., n]: full tensors x, row values v."""

    def __init__(self, shape: tuple[int, ...], strides: tuple[int, ...] | None = None, kind: str = "f32") -> None:
        self.x, self.v = Tensor(shape, kind, strides), Tensor(shape[:-1], kind)
        rank = len(shape)
        self.full, self.row = ", ".join(f"d{i}" for i in range(rank)), ", ".join(f"d{i}" for i in range(rank - 1))
        self.text = f"%e = tensor.empty() : {self.x.type}\n%ve = tensor.empty() : {self.v.type}\n"
        self.rank, self.rooted = rank, False

    def reduce(self, result: str, operands: list[tuple[str, Tensor, str]], init: str, body: str) -> None:
        self.text += filled(f"{result}_i", self.v, init)
        loops = "p" * (self.rank - 1) + "r"
        self.text += generic(result, operands, (f"{result}_i", self.v, self.row), loops, body, root=not self.rooted)
        self.rooted = True

    def each(self, result: str, operands: list[tuple[str, Tensor, str]], body: str) -> None:
        self.text += generic(result, operands, ("%e", self.x, self.full), "p" * self.rank, body)

    def once(self, result: str, operands: list[tuple[str, Tensor, str]], body: str) -> None:
        self.text += generic(result, operands, ("%ve", self.v, self.row), "p" * (self.rank - 1), body)

    def whole(self, name: str) -> tuple[str, Tensor, str]:
        return name, self.x, self.full

    def per_row(self, name: str) -> tuple[str, Tensor, str]:
        return name, self.v, self.row

    def along(self, name: str) -> tuple[str, Tensor, str]:
        return name, Tensor(self.x.shape[-1:]), f"d{self.rank - 1}"

    def candidate(self, inputs: list[Tensor], results: list[tuple[str, Tensor]], how: Schedule) -> str:
        names, types = ", ".join(n for n, _ in results), ", ".join(t.type for _, t in results)
        return module(inputs, [t for _, t in results], self.text + f"return {names} : {types}", how, "row")


def unary(op: str) -> str:
    return f"%s = {op} %a0 : f32\nyield %s"


def binary(op: str) -> str:
    return f"%s = {op} %a0, %a1 : f32\nyield %s"


def accumulate(op: str, kind: str = "f32") -> str:
    return f"%s = {op} %a0, %o : {kind}\nyield %s"


def softmax(
    shape: tuple[int, ...],
    how: Schedule,
    strides: tuple[int, ...] | None = None,
    out: tuple[int, ...] | None = None,
    log: bool = False,
) -> str:
    r = Rows(shape, strides)
    r.reduce("%m", [r.whole("%0")], LOW, accumulate("arith.maximumf"))
    r.each("%s", [r.whole("%0"), r.per_row("%m")], binary("arith.subf"))
    r.each("%x", [r.whole("%s")], unary("math.exp"))
    r.reduce("%t", [r.whole("%x")], "0.0", accumulate("arith.addf"))
    if log:
        r.once("%l", [r.per_row("%t")], unary("math.log"))
        r.each("%y", [r.whole("%s"), r.per_row("%l")], binary("arith.subf"))
    else:
        r.each("%y", [r.whole("%x"), r.per_row("%t")], binary("arith.divf"))
    return r.candidate([r.x], [("%y", Tensor(shape, strides=out))], how)


def softmax_reference(x: Array) -> Array:
    with np.errstate(all="ignore"):
        e = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("how", SCHEDULES)
@pytest.mark.parametrize("shape", SIZES)
def test_softmax(shape: tuple[int, int], how: Schedule) -> None:
    x = numbers(*shape) * 5
    close(run(softmax(shape, how), x)[0], softmax_reference(x), 1e-6)


@pytest.mark.parametrize("how", SCHEDULES)
def test_softmax_of_infinities_and_nan(how: Schedule) -> None:
    """As PyTorch: masked entries give 0; a row of -inf, with +inf or with NaN gives NaN."""
    x = numbers(6, 37)
    x[0, 3:30], x[1], x[2, 36], x[3, 5], x[4, :36] = -np.inf, -np.inf, np.nan, np.inf, -np.inf
    got = run(softmax(x.shape, how), x)[0]
    assert (got[0, 3:30] == 0).all()
    assert np.isnan(got[1:4]).all()
    close(got, softmax_reference(x), 1e-6)


@pytest.mark.parametrize("how", SCHEDULES[:2])
@pytest.mark.parametrize("shape", [(4, 19), (3, 130)])
def test_log_softmax(shape: tuple[int, int], how: Schedule) -> None:
    x = numbers(*shape) * 5
    close(run(softmax(shape, how, log=True), x)[0], np.log(softmax_reference(x)), 1e-6)


@pytest.mark.parametrize("how", SCHEDULES[:3])
@pytest.mark.parametrize(
    ("strides", "out"),
    [
        ((2 * 70, 70, 1), (70, 210, 1)),
        ((1, 3, 6), (140, 70, 1)),
        ((210, 70, 1), (1, 3, 6)),
        ((0, 80, 1), (300, 100, 1)),
    ],
)
def test_softmax_over_strided_views(strides: tuple[int, ...], out: tuple[int, ...], how: Schedule) -> None:
    shape = (3, 2, 70)
    x = numbers(*shape)
    x = np.broadcast_to(x[:1], shape) if strides[0] == 0 else x
    close(run(softmax(shape, how, strides, out), x)[0], softmax_reference(x), 1e-6)


def test_exponentials_are_kept_in_scratch_when_the_result_is_strided() -> None:
    how = schedule("row", vector=8, vectors=1)
    assert emit_candidate(softmax((3, 70), how)).scratch_bytes == 0
    assert emit_candidate(softmax((3, 70), how, None, (1, 3))).scratch_bytes >= 3 * 70 * 4


@pytest.mark.parametrize("how", SCHEDULES)
@pytest.mark.parametrize("shape", [(3, 5), (5, 64), (4, 197)])
def test_layer_norm_of_a_residual_sum(shape: tuple[int, int], how: Schedule) -> None:
    """Two results: the sum and its normalised value."""
    r = Rows(shape)
    n = shape[1]
    r.text += f"%n = arith.constant {float(n)} : f32\n%eps = arith.constant 1.0e-5 : f32\n"
    mean, inverse = (
        "%s = arith.divf %a0, %n : f32\n",
        "%t = arith.addf %s, %eps : f32\n%u = math.rsqrt %t : f32\nyield %u",
    )
    r.each("%h", [r.whole("%0"), r.whole("%1")], binary("arith.addf"))
    r.reduce("%s", [r.whole("%h")], "0.0", accumulate("arith.addf"))
    r.once("%m", [r.per_row("%s")], mean + "yield %s")
    r.each("%c", [r.whole("%h"), r.per_row("%m")], binary("arith.subf"))
    r.reduce("%q", [r.whole("%c")], "0.0", "%s = arith.mulf %a0, %a0 : f32\n%t = arith.addf %s, %o : f32\nyield %t")
    r.once("%i", [r.per_row("%q")], mean + inverse)
    scale = "%s = arith.mulf %a0, %a1 : f32\n%t = arith.mulf %s, %a2 : f32\n%u = arith.addf %t, %a3 : f32\nyield %u"
    r.each("%y", [r.whole("%c"), r.per_row("%i"), r.along("%2"), r.along("%3")], scale)
    vector = Tensor((n,), constant=True)
    x, residual, w, b = numbers(*shape), numbers(*shape, seed=1), numbers(n), numbers(n, seed=2)
    text = r.candidate([r.x, r.x, vector, vector], [("%h", r.x), ("%y", r.x)], how)
    total, got = run(text, x, residual, w, b)
    h = x.astype(np.float64) + residual
    close(total, h, 1e-6)
    c = h - h.mean(-1, keepdims=True)
    close(got, c / np.sqrt((c * c).mean(-1, keepdims=True) + 1e-5) * w + b, 1e-5)


@pytest.mark.parametrize("how", SCHEDULES)
def test_sum_and_sum_of_squares_share_a_sweep(how: Schedule) -> None:
    """Two results a row, one loop: mean and mean of squares."""
    r = Rows((5, 150))
    r.reduce("%s", [r.whole("%0")], "0.0", accumulate("arith.addf"))
    r.reduce("%q", [r.whole("%0")], "1.5", "%s = arith.mulf %a0, %a0 : f32\n%t = arith.addf %o, %s : f32\nyield %t")
    text = r.candidate([r.x], [("%s", r.v), ("%q", r.v)], how)
    x = numbers(5, 150)
    total, squares = run(text, x)
    close(total, x.astype(np.float64).sum(-1), 1e-5)
    close(squares, (x.astype(np.float64) ** 2).sum(-1) + 1.5, 1e-5)
    if how.rows == 1:
        assert str(emit_candidate(text).module).count("scf.for") == 1


@pytest.mark.parametrize(
    ("kind", "op", "init", "reference"),
    [
        ("f32", "arith.mulf", "1.0", np.prod),
        ("f32", "arith.minimumf", "0x7F800000", np.min),
        ("f32", "arith.maxnumf", LOW, np.nanmax),
        ("f64", "arith.addf", "0.0", np.sum),
        ("i64", "arith.addi", "7", lambda x, axis: x.sum(axis) + 7),
        ("i32", "arith.muli", "1", np.prod),
        ("i64", "arith.maxsi", "-9223372036854775808", np.max),
        ("i32", "arith.minsi", "2147483647", np.min),
        ("i1", "arith.ori", "false", np.any),
        ("i1", "arith.andi", "true", np.all),
    ],
)
@pytest.mark.parametrize("n", [5, 45])
def test_reductions(kind: str, op: str, init: str, reference: Any, n: int) -> None:
    r = Rows((6, n), kind=kind)
    r.reduce("%r", [r.whole("%0")], init, accumulate(op, kind))
    x = numbers(6, n)
    values = x > -2 + 4 * (op == "arith.ori") if kind == "i1" else (x * 3).astype(int) if kind[0] == "i" else x
    if kind == "i32" and op == "arith.muli":
        values = np.where(values == 0, 1, np.sign(values))
    if op in ("arith.maxnumf", "arith.minimumf"):
        values[2, 3] = np.nan
    got = run(r.candidate([r.x], [("%r", r.v)], schedule("row", vector=8, vectors=2, rows=4)), values)[0]
    want = reference(values, axis=-1)
    close(got, want, 1e-5)


@pytest.mark.parametrize("strides", [None, (105, 1, 21, 3), (1, 2, 42, 6)])
@pytest.mark.parametrize("how", SCHEDULES)
def test_norm_over_two_dimensions(strides: tuple[int, ...] | None, how: Schedule) -> None:
    """Instance norm without its mean: x / sqrt(sum of squares) over the last two dimensions."""
    shape = (2, 3, 5, 7)
    x, v = Tensor(shape, strides=strides), Tensor(shape[:2])
    text = filled("%z", v, "0.0") + f"%e = tensor.empty() : {x.type}\n"
    update = "%s = arith.mulf %a0, %a0 : f32\n%t = arith.addf %s, %o : f32\nyield %t"
    text += generic("%q", [("%0", x, "d0, d1, d2, d3")], ("%z", v, "d0, d1"), "pprr", update, root=True)
    text += generic("%l", [("%q", v, "d0, d1")], ("%z_e", v, "d0, d1"), "pp", unary("math.sqrt"))
    text += generic(
        "%y",
        [("%0", x, "d0, d1, d2, d3"), ("%l", v, "d0, d1")],
        ("%e", x, "d0, d1, d2, d3"),
        "pppp",
        binary("arith.divf"),
    )
    values = numbers(*shape)
    got = run(module([x], [x], text + f"return %y : {x.type}", how, "row"), values)[0]
    wide = values.astype(np.float64)
    close(got, wide / np.sqrt((wide**2).sum((2, 3), keepdims=True)), 1e-6)


def test_vector_without_rows() -> None:
    """Everything is one row; the norm has rank 0."""
    x, v = Tensor((50,)), Tensor(())
    text = filled("%z", v, "0.0") + f"%e = tensor.empty() : {x.type}\n"
    update = "%s = arith.mulf %a0, %a0 : f32\n%t = arith.addf %s, %o : f32\nyield %t"
    text += generic("%q", [("%0", x, "d0")], ("%z", v, ""), "r", update, root=True)
    text += generic("%l", [("%q", v, "")], ("%z_e", v, ""), "", unary("math.sqrt"))
    text += generic("%y", [("%0", x, "d0"), ("%l", v, "")], ("%e", x, "d0"), "p", binary("arith.divf"))
    values = numbers(50)
    got, norm = run(module([x], [x, v], text + f"return %y, %l : {x.type}, {v.type}", SCHEDULES[0], "row"), values)
    length = np.sqrt((values.astype(np.float64) ** 2).sum())
    close(got, values / length, 1e-6)
    close(norm, np.array(length), 1e-6)


def test_division_by_a_subnormal_sum() -> None:
    """Its reciprocal would be infinite."""
    r = Rows((3, 40))
    r.reduce("%t", [r.whole("%0")], "0.0", accumulate("arith.addf"))
    r.each("%y", [r.whole("%0"), r.per_row("%t")], binary("arith.divf"))
    x = np.abs(numbers(3, 40)) * np.float32(1e-41)
    close(
        run(r.candidate([r.x], [("%y", r.x)], SCHEDULES[0]), x)[0], x / x.astype(np.float64).sum(1, keepdims=True), 1e-3
    )


def test_masked_softmax_reads_types_and_indices() -> None:
    """An i1 key mask and a causal condition before the softmax."""
    r = Rows((4, 37))
    r.text += f"%low = arith.constant {LOW} : f32\n"
    keep = Tensor((37,), "i1")
    body = """%i = linalg.index 0 : index
%j = linalg.index 1 : index
%c = arith.cmpi sle, %j, %i : index
%k = arith.ori %c, %a1 : i1
%s = arith.select %k, %a0, %low : f32
yield %s"""
    r.each("%h", [r.whole("%0"), ("%1", keep, "d1")], body)
    r.reduce("%m", [r.whole("%h")], LOW, accumulate("arith.maximumf"))
    r.each("%x", [r.whole("%h"), r.per_row("%m")], "%s = arith.subf %a0, %a1 : f32\n%t = math.exp %s : f32\nyield %t")
    r.reduce("%t", [r.whole("%x")], "0.0", accumulate("arith.addf"))
    r.each("%y", [r.whole("%x"), r.per_row("%t")], binary("arith.divf"))
    x, mask = numbers(4, 37), numbers(37) > 0.5
    allowed = np.tril(np.ones((4, 37), bool)) | mask
    for how in SCHEDULES:
        got = run(r.candidate([r.x, keep], [("%y", r.x)], how), x, mask)[0]
        close(got, softmax_reference(np.where(allowed, x, -np.inf).astype(np.float32)), 1e-6)


def test_updates_that_cannot_be_split_are_refused() -> None:
    r = Rows((4, 8))
    r.reduce("%m", [r.whole("%0")], "0.0", "%s = arith.subf %a0, %o : f32\nyield %s")
    with pytest.raises(UnsupportedRegion, match=r"arith\.subf"):
        emit_candidate(r.candidate([r.x], [("%m", r.v)], SCHEDULES[0]))


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(
    shape=st.lists(st.integers(1, 9), min_size=0, max_size=2),
    n=st.integers(1, 140),
    tile=st.tuples(st.sampled_from([1, 4, 8, 16]), st.integers(1, 9), st.integers(1, 5)),
    parallel=st.booleans(),
)
def test_any_softmax(shape: list[int], n: int, tile: tuple[int, int, int], parallel: bool) -> None:
    how = schedule("row", vector=tile[0], vectors=tile[1], rows=tile[2], parallel=parallel)
    x = numbers(*shape, n)
    close(run(softmax((*shape, n), how), x)[0], softmax_reference(x), 1e-6)

"""Elementwise regions of the `direct` emitter: broadcasts, layouts, types, masks, indices, gathers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passes.tiling.schedule import Schedule
from tests.compiler.emit.harness import Tensor, close, filled, generic, module, run, schedule

Array = np.ndarray[Any, Any]
SCHEDULES = [schedule(vector=8, vectors=2, rows=3), schedule(vector=16, parallel=False), schedule(vector=1, rows=2)]


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def dims(count: int) -> str:
    return ", ".join(f"d{i}" for i in range(count))


def elementwise(ins: list[tuple[Tensor, str]], out: Tensor, how: Schedule, body: str) -> str:
    """One op over the dimensions of `out`; `ins` are the inputs with their maps."""
    rank = len(out.shape)
    text = f"%e = tensor.empty() : {out.type}\n"
    operands = [(f"%{i}", t, m) for i, (t, m) in enumerate(ins)]
    text += generic("%r", operands, ("%e", out, dims(rank)), "p" * rank, body, root=True)
    return module([t for t, _ in ins], [out], text + f"return %r : {out.type}", how)


ADD = "%s = arith.addf %a0, %a1 : f32\nyield %s"


@pytest.mark.parametrize("how", SCHEDULES)
@pytest.mark.parametrize(
    ("shapes", "maps"),
    [
        (((5, 19), (5, 19)), ("d0, d1", "d0, d1")),
        (((5, 19), (19,)), ("d0, d1", "d1")),
        (((5, 19), (5,)), ("d0, d1", "d0")),
        (((5, 19), ()), ("d0, d1", "")),
        (((5, 19), (1, 19)), ("d0, d1", "0, d1")),
    ],
)
def test_broadcasts(shapes: Any, maps: Any, how: Schedule) -> None:
    left, right = (Tensor(s) for s in shapes)
    text = elementwise([(left, maps[0]), (right, maps[1])], Tensor((5, 19)), how, ADD)
    x, y = numbers(*shapes[0]), numbers(*shapes[1], seed=3)
    wide = y[:, None] if shapes[1] == (5,) else y
    close(run(text, x, y)[0], x.astype(np.float64) + wide, 1e-7)


@pytest.mark.parametrize("how", SCHEDULES)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 7, 1), (3, 1, 5), (2, 3, 4, 5)])
def test_degenerate_sizes(shape: tuple[int, ...], how: Schedule) -> None:
    tensor, index = Tensor(shape), dims(len(shape))
    text = elementwise([(tensor, index), (tensor, index)], tensor, how, ADD)
    x, y = numbers(*shape), numbers(*shape, seed=1)
    close(run(text, x, y)[0], x.astype(np.float64) + y, 1e-7)


@pytest.mark.parametrize("how", SCHEDULES)
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((1, 21), (33, 1)),
        ((33, 1), (1, 21)),
        ((40, 1), (2, 50)),
        ((0, 1), (33, 1)),
        ((5, 200), (33, 1)),
    ],
)
def test_copies_between_layouts(source: tuple[int, int], target: tuple[int, int], how: Schedule) -> None:
    text = elementwise(
        [(Tensor((21, 33), strides=source), "d0, d1")], Tensor((21, 33), strides=target), how, "yield %a0"
    )
    x = numbers(21, 33)
    x = np.broadcast_to(x[:1], x.shape) if source[0] == 0 else x
    close(run(text, x)[0], x, 0)


def test_transposed_read() -> None:
    text = elementwise([(Tensor((33, 7, 21)), "d2, d1, d0")], Tensor((21, 7, 33)), schedule(rows=2), "yield %a0")
    x = numbers(33, 7, 21)
    close(run(text, x)[0], x.transpose(2, 1, 0), 0)


def test_slice_and_flip_of_a_larger_buffer() -> None:
    text = elementwise([(Tensor((4, 10)), "d0, d1 * 2 + 1")], Tensor((4, 5)), schedule(), "yield %a0")
    x = numbers(4, 10)
    close(run(text, x)[0], x[:, 1::2], 0)


@pytest.mark.parametrize("how", SCHEDULES)
@pytest.mark.parametrize(
    ("source", "target", "op"),
    [
        ("i64", "f32", "arith.sitofp"),
        ("i32", "f32", "arith.sitofp"),
        ("f32", "i64", "arith.fptosi"),
        ("f32", "f64", "arith.extf"),
        ("f64", "f32", "arith.truncf"),
        ("i64", "i32", "arith.trunci"),
        ("i32", "i64", "arith.extsi"),
        ("i1", "f32", "arith.uitofp"),
        ("i1", "i64", "arith.extui"),
    ],
)
def test_casts(source: str, target: str, op: str, how: Schedule) -> None:
    body = f"%s = {op} %a0 : {source} to {target}\nyield %s"
    text = elementwise([(Tensor((3, 21), source), "d0, d1")], Tensor((3, 21), target), how, body)
    x = (numbers(3, 21) * 9).astype(np.float64)
    values = x > 0 if source == "i1" else x.astype(np.int64) if source.startswith("i") else x.astype(np.float32)
    want = np.trunc(values) if target.startswith("i") and source != "i1" else values
    close(run(text, values)[0], want, 1e-7)


@pytest.mark.parametrize("how", SCHEDULES)
@pytest.mark.parametrize("kind", ["i64", "i32"])
def test_integer_division_in_a_partial_vector(kind: str, how: Schedule) -> None:
    """Lanes beyond the end must not divide by zero."""
    x = Tensor((3, 5), kind)
    body = f"%q = arith.divsi %a0, %a1 : {kind}\n%r = arith.remsi %a0, %a1 : {kind}\n"
    body += f"%s = arith.muli %q, %a1 : {kind}\n%t = arith.subi %a0, %s : {kind}\n"
    body += f"%u = arith.floordivsi %t, %a1 : {kind}\n%v = arith.addi %r, %u : {kind}\nyield %v"
    text = elementwise([(x, "d0, d1"), (x, "d0, d1")], x, how, body)
    left, right = np.arange(15).reshape(3, 5), np.arange(15).reshape(3, 5) % 4 + 1
    assert np.array_equal(run(text, left, right)[0], left % right)


@pytest.mark.parametrize("how", SCHEDULES)
def test_masks(how: Schedule) -> None:
    """i1 is read, combined, selected by, and written, one byte an element."""
    shape = (5, 27)
    x, m = Tensor(shape), Tensor(shape, "i1", strides=(1, 5))
    text = f"%e = tensor.empty() : {x.type}\n%me = tensor.empty() : {m.type}\n%z = arith.constant 0.25 : f32\n"
    text += generic(
        "%c", [("%0", x, "d0, d1"), ("%1", m, "d0, d1")], ("%me", m, "d0, d1"), "pp",
        "%g = arith.cmpf ogt, %a0, %z : f32\n%b = arith.xori %g, %a1 : i1\nyield %b", root=True,
    )  # fmt: skip
    text += generic(
        "%r", [("%0", x, "d0, d1"), ("%c", m, "d0, d1")], ("%e", x, "d0, d1"), "pp",
        "%s = arith.select %a1, %a0, %z : f32\nyield %s",
    )  # fmt: skip
    values, mask = numbers(*shape), numbers(*shape, seed=2) > 0
    values[1, 3] = np.nan
    source = module([x, m], [x, m], text + f"return %r, %c : {x.type}, {m.type}", how)
    got, bits = run(source, values, mask)
    want = (values > 0.25) ^ mask
    assert np.array_equal(bits, want)
    close(got, np.where(want, values, 0.25), 0)


def test_several_results_of_one_op() -> None:
    x = Tensor((4, 19))
    text = f"""%e = tensor.empty() : {x.type}
%r:2 = linalg.generic {{indexing_maps = [{", ".join(["affine_map<(d0, d1) -> (d0, d1)>"] * 3)}],
  iterator_types = ["parallel", "parallel"]}} ins(%0 : {x.type}) outs(%e, %e : {x.type}, {x.type}) ROOT {{
^bb0(%a: f32, %o: f32, %p: f32):
  %s = math.sin %a : f32
  %c = math.cos %a : f32
  linalg.yield %s, %c : f32, f32
}} -> ({x.type}, {x.type})
return %r#0, %r#1 : {x.type}, {x.type}"""
    values = numbers(4, 19)
    sine, cosine = run(module([x], [x, Tensor((4, 19), strides=(1, 4))], text, schedule(rows=2)), values)
    close(sine, np.sin(values.astype(np.float64)), 1e-6)
    close(cosine, np.cos(values.astype(np.float64)), 1e-6)


@pytest.mark.parametrize("how", SCHEDULES)
def test_embedding_clamps_ids(how: Schedule) -> None:
    rows, width, count = 11, 21, 9
    ids, table, out = Tensor((count,), "i64"), Tensor((rows, width), constant=True), Tensor((count, width))
    body = "%i = arith.index_cast %a0 : i64 to index\n%j = linalg.index 1 : index\n"
    body += f"%v = tensor.extract %1[%i, %j] : {table.type}\nyield %v"
    text = f"%e = tensor.empty() : {out.type}\n"
    text += generic("%r", [("%0", ids, "d0")], ("%e", out, "d0, d1"), "pp", body, root=True)
    source = module([ids, table], [out], text + f"return %r : {out.type}", how)
    number, weight = np.array([0, 10, 3, 3, -1, 11, 1 << 40, -(1 << 40), 7]), numbers(rows, width)
    close(run(source, number, weight)[0], weight[np.clip(number, 0, rows - 1)], 0)


@pytest.mark.parametrize("how", SCHEDULES)
def test_gather_along_the_lanes(how: Schedule) -> None:
    """Each lane looks up its own index."""
    ids, table, out = Tensor((3, 21), "i64"), Tensor((40,)), Tensor((3, 21))
    body = f"%i = arith.index_cast %a0 : i64 to index\n%v = tensor.extract %1[%i] : {table.type}\nyield %v"
    text = f"%e = tensor.empty() : {out.type}\n"
    text += generic("%r", [("%0", ids, "d0, d1")], ("%e", out, "d0, d1"), "pp", body, root=True)
    source = module([ids, table], [out], text + f"return %r : {out.type}", how)
    number = np.random.default_rng(0).integers(-3, 45, (3, 21))
    values = numbers(40)
    close(run(source, number, values)[0], values[np.clip(number, 0, 39)], 0)


@pytest.mark.parametrize("how", SCHEDULES)
def test_index_values(how: Schedule) -> None:
    """A causal mask: column <= row."""
    out = Tensor((6, 21))
    body = """%i = linalg.index 0 : index
%j = linalg.index 1 : index
%c = arith.cmpi sle, %j, %i : index
%one = arith.constant 1.0 : f32
%low = arith.constant 0xFF800000 : f32
%k = arith.index_cast %j : index to i64
%f = arith.sitofp %k : i64 to f32
%s = arith.select %c, %f, %low : f32
yield %s"""
    row, column = np.indices((6, 21))
    close(run(elementwise([], out, how, body))[0], np.where(column <= row, column.astype(np.float64), -np.inf), 0)


def test_reshapes_of_unit_dimensions() -> None:
    x, y = Tensor((4, 1, 19)), Tensor((4, 19))
    text = f"%e = tensor.empty() : {y.type}\n%xe = tensor.empty() : {x.type}\n"
    text += f"%f = tensor.collapse_shape %0 [[0, 1], [2]] : {x.type} into {y.type}\n"
    text += generic("%s", [("%f", y, "d0, d1"), ("%1", y, "d0, d1")], ("%e", y, "d0, d1"), "pp", ADD, root=True)
    text += f"%g = tensor.expand_shape %s [[0, 1], [2]] output_shape [4, 1, 19] : {y.type} into {x.type}\n"
    text += generic(
        "%r", [("%g", x, "d0, d1, d2"), ("%0", x, "d0, d1, d2")], ("%xe", x, "d0, d1, d2"), "ppp",
        "%s = arith.mulf %a0, %a1 : f32\nyield %s",
    )  # fmt: skip
    values, other = numbers(4, 1, 19), numbers(4, 19)
    got = run(module([x, y], [x], text + f"return %r : {x.type}", schedule(rows=2)), values, other)[0]
    close(got, (values[:, 0].astype(np.float64) + other)[:, None] * values, 1e-6)


@pytest.mark.parametrize(
    ("op", "reference"),
    [
        ("math.exp", np.exp),
        ("math.tanh", np.tanh),
        ("math.rsqrt", lambda x: 1 / np.sqrt(x)),
        ("math.log", np.log),
        ("math.sqrt", np.sqrt),
        ("math.absf", np.abs),
    ],
)
def test_functions_at_special_values(op: str, reference: Any) -> None:
    values = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 0.5, 87.0, -87.0, 3.0], np.float32)
    text = elementwise([(Tensor((11,)), "d0")], Tensor((11,)), schedule(), f"%s = {op} %a0 : f32\nyield %s")
    with np.errstate(all="ignore"):
        close(run(text, values)[0], reference(values.astype(np.float64)), 1e-6)


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(
    shape=st.lists(st.integers(1, 19), min_size=1, max_size=4),
    order=st.permutations(range(4)),
    gap=st.integers(1, 2),
    tile=st.tuples(st.sampled_from([1, 8, 16]), st.integers(1, 3), st.integers(1, 5)),
    parallel=st.booleans(),
)
def test_any_layout(shape: list[int], order: list[int], gap: int, tile: tuple[int, int, int], parallel: bool) -> None:
    rank = len(shape)
    strides, step = [0] * rank, gap
    for dim in [d for d in order if d < rank]:
        strides[dim] = step
        step *= shape[dim] + gap - 1
    x, out = Tensor(tuple(shape), strides=tuple(strides)), Tensor(tuple(shape))
    how = schedule(vector=tile[0], vectors=tile[1], rows=tile[2], parallel=parallel)
    y = Tensor((shape[-1],))
    text = elementwise([(x, dims(rank)), (y, f"d{rank - 1}")], out, how, ADD)
    a, b = numbers(*shape), numbers(shape[-1], seed=1)
    close(run(text, a, b)[0], a.astype(np.float64) + b, 1e-6)


def test_reads_of_the_output_operand_are_constants() -> None:
    """An elementwise op that adds to its filled output."""
    x = Tensor((3, 9))
    text = filled("%f", x, "2.5")
    text += generic(
        "%r", [("%0", x, "d0, d1")], ("%f", x, "d0, d1"), "pp", "%s = arith.addf %a0, %o : f32\nyield %s", True
    )
    values = numbers(3, 9)
    close(run(module([x], [x], text + f"return %r : {x.type}", schedule()), values)[0], values + 2.5, 1e-6)

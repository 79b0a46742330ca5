"""Convolutions and pooling of the `direct` emitter: strides, dilations, groups, layouts, sizes that no tile divides."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from passes.tiling.schedule import Schedule
from tests.compiler.emit.harness import Tensor, close, filled, generic, module, run, schedule

Array = np.ndarray[Any, Any]
MULTIPLY_ADD = "%m = arith.mulf %a0, %a1 : f32\n%s = arith.addf %o, %m : f32\nyield %s"


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def channels_last(n: int, c: int, h: int, w: int) -> Tensor:
    """[N, C, H, W] with the channels innermost in memory."""
    return Tensor((n, c, h, w), strides=(c * h * w, 1, w * c, c))


def windows(x: Array, kernel: tuple[int, int], stride: int, dilation: int) -> Array:
    """[N, C, OH, OW, KH, KW] of x [N, C, H, W]."""
    n, c, h, w = x.shape
    oh, ow = [(s - dilation * (k - 1) - 1) // stride + 1 for s, k in zip((h, w), kernel, strict=True)]
    out = np.zeros((n, c, oh, ow, *kernel))
    for i, j in product(range(kernel[0]), range(kernel[1])):
        rows = slice(i * dilation, i * dilation + (oh - 1) * stride + 1, stride)
        columns = slice(j * dilation, j * dilation + (ow - 1) * stride + 1, stride)
        out[..., i, j] = x[:, :, rows, columns]
    return out


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(
    ("c", "f", "size", "kernel", "stride", "dilation", "how"),
    [
        (5, 19, (9, 11), (3, 3), 1, 1, schedule(vector=8, vectors=2, rows=4)),
        (3, 16, (13, 12), (3, 3), 2, 1, schedule(vector=16, vectors=1, rows=3)),
        (4, 9, (14, 15), (3, 2), 1, 2, schedule(vector=8, vectors=1, rows=5, unroll=2, parallel=False)),
        (8, 24, (7, 7), (1, 1), 1, 1, schedule(vector=8, vectors=3, rows=6)),
        (6, 10, (8, 8), (1, 1), 2, 1, schedule(vector=8, vectors=1, rows=4, pack=False)),
        (2, 33, (6, 5), (5, 5), 1, 1, schedule(vector=16, vectors=2, rows=7, order="rows-columns")),
    ],
)
def test_convolution(
    c: int,
    f: int,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: int,
    dilation: int,
    how: Schedule,
    constant: bool,
    last: bool,
) -> None:
    x, w = numbers(2, c, *size), numbers(f, c, *kernel)
    want = np.einsum("nchwij,fcij->nfhw", windows(x, kernel, stride, dilation), w)
    oh, ow = want.shape[2:]
    image = channels_last(2, c, *size) if last else Tensor((2, c, *size))
    result = channels_last(2, f, oh, ow) if last else Tensor((2, f, oh, ow))
    weight, bias = Tensor((f, c, *kernel), constant=constant), Tensor((f,))
    index = f"d0, d4, d2 * {stride} + d5 * {dilation}, d3 * {stride} + d6 * {dilation}"
    body = filled("%f", result, "0.0") + generic(
        "%r",
        [("%0", image, index), ("%1", weight, "d1, d4, d5, d6")],
        ("%f", result, "d0, d1, d2, d3"),
        "pppprrr",
        MULTIPLY_ADD,
        True,
    )
    body += generic(
        "%y",
        [("%r", result, "d0, d1, d2, d3"), ("%2", bias, "d1")],
        ("%f_e", result, "d0, d1, d2, d3"),
        "pppp",
        "%z = arith.constant 0.0 : f32\n%s = arith.addf %a0, %a1 : f32\n%t = arith.maximumf %s, %z : f32\nyield %t",
    )
    shift = numbers(f)
    text = module([image, weight, bias], [result], body + f"return %y : {result.type}", how, "contraction")
    close(run(text, x, w, shift)[0], np.maximum(want + shift[:, None, None], 0))


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("constant", [True, False])
def test_grouped_convolution(constant: bool, last: bool) -> None:
    groups, c, f, size = 3, 4, 10, (7, 6)
    x, w = numbers(1, groups * c, *size), numbers(groups, f, c, 3, 3)
    grouped = windows(x, (3, 3), 1, 1).reshape(1, groups, c, 5, 4, 3, 3)
    want = np.einsum("ngchwij,gfcij->ngfhw", grouped, w)
    total, out = groups * c, groups * f
    strides = (total * 42, c, 1, 6 * total, total) if last else None
    outs = (out * 20, f, 1, 4 * out, out) if last else None
    image, weight = Tensor((1, groups, c, *size), strides=strides), Tensor(w.shape, constant=constant)
    result = Tensor((1, groups, f, 5, 4), strides=outs)
    ins = [("%0", image, "d0, d1, d5, d3 + d6, d4 + d7"), ("%1", weight, "d1, d2, d5, d6, d7")]
    body = filled("%f", result, "0.0") + generic(
        "%r", ins, ("%f", result, "d0, d1, d2, d3, d4"), "ppppprrr", MULTIPLY_ADD, True
    )
    text = module([image, weight], [result], body + f"return %r : {result.type}", schedule(rows=4), "contraction")
    close(run(text, x.reshape(1, groups, c, *size), w)[0], want)


@pytest.mark.parametrize("constant", [True, False])
def test_convolution_in_one_dimension(constant: bool) -> None:
    c, f, length, k, stride = 6, 21, 50, 5, 3
    x, w = numbers(2, c, length), numbers(f, c, k)
    want = np.einsum("nchwij,fcij->nfhw", windows(x[:, :, None], (1, k), stride, 1), w[:, :, None])[:, :, 0]
    image, weight, result = Tensor(x.shape), Tensor(w.shape, constant=constant), Tensor(want.shape)
    ins = [("%0", image, f"d0, d3, d2 * {stride} + d4"), ("%1", weight, "d1, d3, d4")]
    body = filled("%f", result, "0.0") + generic("%r", ins, ("%f", result, "d0, d1, d2"), "ppprr", MULTIPLY_ADD, True)
    text = module(
        [image, weight], [result], body + f"return %r : {result.type}", schedule(vectors=2, rows=3), "contraction"
    )
    close(run(text, x, w)[0], want)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("how", [schedule(vector=8, rows=3), schedule(vector=16, vectors=2, rows=2, unroll=3)])
def test_depthwise_convolution(how: Schedule, last: bool) -> None:
    c, size, stride = 21, (9, 8), 2
    x, w = numbers(1, c, *size), numbers(c, 3, 3)
    want = np.einsum("nchwij,cij->nchw", windows(x, (3, 3), stride, 1), w)
    image = channels_last(1, c, *size) if last else Tensor(x.shape)
    result = channels_last(*want.shape) if last else Tensor(want.shape)
    weight = Tensor(w.shape, constant=True, strides=(1, 3 * c, c) if last else None)
    ins = [("%0", image, "d0, d1, d2 * 2 + d4, d3 * 2 + d5"), ("%1", weight, "d1, d4, d5")]
    body = filled("%f", result, "0.0") + generic(
        "%r", ins, ("%f", result, "d0, d1, d2, d3"), "pppprr", MULTIPLY_ADD, True
    )
    text = module([image, weight], [result], body + f"return %r : {result.type}", how, "reduction")
    close(run(text, x, w)[0], want)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(("combine", "init"), [("maximumf", "0xFF800000"), ("addf", "0.0")])
def test_pooling(combine: str, init: str, last: bool) -> None:
    c, size = 11, (9, 10)
    x = numbers(2, c, *size)
    x[0, 0, 4, 4] = np.nan
    seen = windows(x, (3, 2), 2, 1)
    want = seen.max((-1, -2)) if combine == "maximumf" else seen.sum((-1, -2))
    image = channels_last(2, c, *size) if last else Tensor(x.shape)
    result = channels_last(*want.shape) if last else Tensor(want.shape)
    window = Tensor((3, 2))
    body = filled("%f", result, init) + f"%w = tensor.empty() : {window.type}\n"
    ins = [("%0", image, "d0, d1, d2 * 2 + d4, d3 * 2 + d5"), ("%w", window, "d4, d5")]
    body += generic(
        "%r", ins, ("%f", result, "d0, d1, d2, d3"), "pppprr", f"%s = arith.{combine} %o, %a0 : f32\nyield %s", True
    )
    text = module([image], [result], body + f"return %r : {result.type}", schedule(vector=8, rows=2), "reduction")
    close(run(text, x)[0], want)


@pytest.mark.parametrize("algorithm", ["direct", "row"])
@pytest.mark.parametrize("last", [True, False])
def test_global_average_pooling(last: bool, algorithm: str) -> None:
    n, c, size = 2, 19, (7, 5)
    x = numbers(n, c, *size)
    image, result = channels_last(n, c, *size) if last else Tensor(x.shape), Tensor((n, c))
    body = filled("%f", result, "0.0") + f"%d = arith.constant {float(size[0] * size[1])} : f32\n"
    body += generic(
        "%r",
        [("%0", image, "d0, d1, d2, d3")],
        ("%f", result, "d0, d1"),
        "pprr",
        "%s = arith.addf %o, %a0 : f32\nyield %s",
        True,
    )
    body += generic(
        "%y", [("%r", result, "d0, d1")], ("%f_e", result, "d0, d1"), "pp", "%s = arith.divf %a0, %d : f32\nyield %s"
    )
    how = schedule(algorithm, vector=8, vectors=2, rows=2)
    text = module([image], [result], body + f"return %y : {result.type}", how, "reduction")
    close(run(text, x)[0], x.astype(np.float64).mean((2, 3)))

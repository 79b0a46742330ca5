"""The layers that ops and graphs are made of, written as torch-mlir writes them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from compiler.workloads.writer import Value, Writer

ACTIVATIONS = {
    "relu": "p = ugt a 0.0; r = select p a 0.0",
    "relu6": "p = ugt a 0.0; q = select p a 0.0; u = ult q 6.0; r = select u q 6.0",
    "gelu": "s = divf a 1.41421354; f = erf s; p = addf f 1.0; h = mulf p 0.5; r = mulf a h",
    "gelu_tanh": (
        "q = mulf a a; t = mulf q a; u = mulf t 0.044715; s = addf a u; v = mulf s 0.797884583; w = tanh v;"
        " p = addf w 1.0; h = mulf p 0.5; r = mulf a h"
    ),
    "silu": "n = negf a; x = exp n; p = addf x 1.0; s = divf 1.0 p; r = mulf a s",
    "sigmoid": "n = negf a; x = exp n; p = addf x 1.0; r = divf 1.0 p",
    "tanh": "r = tanh a",
    "hardswish": "p = addf a 3.0; q = maximumf p 0.0; u = minimumf q 6.0; d = divf u 6.0; r = mulf a d",
    "leaky_relu": "s = mulf a 0.01; p = ugt a 0.0; r = select p a s",
    "squared_relu": "m = maximumf a 0.0; r = mulf m m",
}
"""Bodies of one operand."""
_LETTERS = "ijklmn"


def each(w: Writer, x: Value, body: str) -> Value:
    """The body on every element."""
    letters = _LETTERS[: len(x.shape)]
    return w.apply(f"{letters} -> {letters}", [x], body)


def both(w: Writer, op: str, x: Value, y: Value) -> Value:
    """`op` on two values of one shape."""
    letters = _LETTERS[: len(x.shape)]
    return w.apply(f"{letters}, {letters} -> {letters}", [x, y], f"r = {op} a b")


def along(w: Writer, op: str, x: Value, vector: Value, dim: int) -> Value:
    """`op` with a vector along one dimension: a bias, a scale."""
    letters = _LETTERS[: len(x.shape)]
    return w.apply(f"{letters}, {letters[dim]} -> {letters}", [x, vector], f"r = {op} a b")


def activate(w: Writer, x: Value, rng: random.Random) -> Value:
    """A random activation."""
    return each(w, x, ACTIVATIONS[rng.choice(sorted(ACTIVATIONS))])


def linear(w: Writer, x: Value, columns: int, *, bias: bool = True, turned: bool = True) -> Value:
    """[M, K] -> [M, columns]."""
    rows, inner = x.shape
    y = w.named("matmul", [x, w.weight(inner, columns, turned=turned)], w.fill("0.0", rows, columns), inner)
    return along(w, "addf", y, w.weight(columns), 1) if bias else y


def batch_matmul(w: Writer, x: Value, y: Value) -> Value:
    """[B, M, K] and [B, K, N] -> [B, M, N]."""
    batch, rows, inner = x.shape
    return w.named("batch_matmul", [x, y], w.fill("0.0", batch, rows, y.shape[2]), inner)


def softmax(w: Writer, x: Value) -> Value:
    """Over the last dimension."""
    full = _LETTERS[: len(x.shape)]
    rows = full[:-1]
    top = w.reduce(f"{full} -> {rows}", [x], "", "maximumf")
    exp = each(w, w.apply(f"{full}, {rows} -> {full}", [x, top], "r = subf a b"), "r = exp a")
    return w.apply(f"{full}, {rows} -> {full}", [exp, w.reduce(f"{full} -> {rows}", [exp], "")], "r = divf a b")


def layer_norm(w: Writer, x: Value) -> Value:
    """Over the last dimension, with scale and bias."""
    full = _LETTERS[: len(x.shape)]
    rows, last = full[:-1], full[-1]
    size = f"{x.shape[-1]}.0"
    mean = each(w, w.reduce(f"{full} -> {rows}", [x], ""), f"r = divf a {size}")
    centred = w.apply(f"{full}, {rows} -> {full}", [x, mean], "r = subf a b")
    total = w.reduce(f"{full} -> {rows}", [both(w, "mulf", centred, centred)], "")
    spread = each(w, total, f"v = divf a {size}; s = addf v 1.0e-5; r = rsqrt s")
    normal = w.apply(f"{full}, {rows} -> {full}", [centred, spread], "r = mulf a b")
    scaled = w.apply(f"{full}, {last} -> {full}", [normal, w.weight(x.shape[-1])], "r = mulf a b")
    return w.apply(f"{full}, {last} -> {full}", [scaled, w.weight(x.shape[-1])], "r = addf a b")


def rms_norm(w: Writer, x: Value) -> Value:
    """Over the last dimension, with scale."""
    full = _LETTERS[: len(x.shape)]
    rows, last = full[:-1], full[-1]
    total = w.reduce(f"{full} -> {rows}", [both(w, "mulf", x, x)], "")
    spread = each(w, total, f"v = divf a {x.shape[-1]}.0; s = addf v 1.0e-6; r = rsqrt s")
    normal = w.apply(f"{full}, {rows} -> {full}", [x, spread], "r = mulf a b")
    return w.apply(f"{full}, {last} -> {full}", [normal, w.weight(x.shape[-1])], "r = mulf a b")


def heads(w: Writer, x: Value, batch: int, count: int, *, turned: bool = False) -> Value:
    """[B T, H D] -> [B H, T, D], or [B H, D, T] if `turned`."""
    rows, width = x.shape
    length, size = rows // batch, width // count
    split = w.reshape(x, batch, length, count, size)
    moved = w.transpose(split, 0, 2, 3, 1) if turned else w.transpose(split, 0, 2, 1, 3)
    return w.reshape(moved, batch * count, *moved.shape[2:])


def attention(w: Writer, x: Value, batch: int, count: int, *, masked: bool = False) -> Value:
    """Self-attention of [B T, C] with `count` heads of C / count."""
    rows, width = x.shape
    q, k, v = (linear(w, x, width) for _ in range(3))
    scores = batch_matmul(w, heads(w, q, batch, count), heads(w, k, batch, count, turned=True))
    scores = each(w, scores, f"r = mulf a {(width // count) ** -0.5:.8f}")
    if masked:
        length = rows // batch
        scores = w.apply("hij, ij -> hij", [scores, w.input(length, length)], "r = addf a b")
    mixed = batch_matmul(w, softmax(w, scores), heads(w, v, batch, count))
    back = w.transpose(w.reshape(mixed, batch, count, rows // batch, width // count), 0, 2, 1, 3)
    return linear(w, w.reshape(back, rows, width), width)


def channels_last(w: Writer, *shape: int) -> Value:
    """An input image [N, C, H, W] whose channels lie next to each other."""
    batch, channels, height, width = shape
    return w.transpose(w.input(batch, height, width, channels), 0, 3, 1, 2)


def conv(w: Writer, x: Value, channels: int, window: int, stride: int = 1, *, padded: bool = True) -> Value:
    """Square convolution [N, C, H, W] -> [N, channels, ...] with bias as the initial value."""
    x = pad_image(w, x, window // 2) if padded and window > 1 else x
    batch, inner, *_ = x.shape
    init = w.line(
        f"linalg.broadcast ins({(b := w.weight(channels)).name} : {b.type}) outs("
        f"{(e := w.empty(batch, channels, *_slid(x, window, stride))).name} : TYPE) dimensions = [0, 2, 3]",
        e.shape,
    )
    kernel = w.weight(channels, inner, window, window)
    return w.named("conv_2d_nchw_fchw", [x, kernel], init, inner * window**2, _strides(stride))


def grouped_conv(w: Writer, x: Value, channels: int, groups: int, window: int, stride: int = 1) -> Value:
    """Square convolution in groups of channels."""
    x = pad_image(w, x, window // 2)
    batch, inner, height, width = x.shape
    split = w.reshape(x, batch, groups, inner // groups, height, width)
    kernel = w.weight(groups, channels // groups, inner // groups, window, window)
    out = w.fill("0.0", batch, groups, channels // groups, *_slid(x, window, stride))
    taps = inner // groups * window**2
    y = w.named("conv_2d_ngchw_gfchw", [split, kernel], out, taps, _strides(stride))
    return along(w, "addf", w.reshape(y, batch, channels, *y.shape[3:]), w.weight(channels), 1)


def depthwise(w: Writer, x: Value, window: int, stride: int = 1) -> Value:
    """Depthwise convolution with bias."""
    x = pad_image(w, x, window // 2)
    batch, channels, *_ = x.shape
    out = w.fill("0.0", batch, channels, *_slid(x, window, stride))
    kernel = w.weight(channels, window, window)
    y = w.named("depthwise_conv_2d_nchw_chw", [x, kernel], out, window**2, _strides(stride))
    return along(w, "addf", y, w.weight(channels), 1)


def pool(w: Writer, x: Value, window: int, stride: int, kind: str) -> Value:
    """`max` or `avg` pooling; the maximum has a border of one element before if the window is odd."""
    if kind == "max" and window % 2:
        x = pad_image(w, x, window // 2, "0xFF800000")
    batch, channels, *_ = x.shape
    start = "0xFF800000" if kind == "max" else "0.0"
    out = w.fill(start, batch, channels, *_slid(x, window, stride))
    name = "pooling_nchw_max" if kind == "max" else "pooling_nchw_sum"
    y = w.named(name, [x, w.empty(window, window)], out, window**2, _strides(stride))
    return y if kind == "max" else each(w, y, f"r = divf a {window**2}.0")


def pad_image(w: Writer, x: Value, border: int, literal: str = "0.0") -> Value:
    """The same border on all four sides."""
    return w.pad(x, (0, 0, border, border), (0, 0, border, border), literal) if border else x


def gather(w: Writer, table: Value, ids: Value) -> Value:
    """Rows of an embedding table [V, C] for ids [T] -> [T, C]."""
    body = (
        "      %i = arith.index_cast %a : i64 to index\n      %j = linalg.index 1 : index\n"
        f"      %r = tensor.extract {table.name}[%i, %j] : {table.type}\n      linalg.yield %r : f32"
    )
    init = w.empty(ids.shape[0], table.shape[1])
    return w.structured("ij", "ij", [(ids, "i")], "ij", init, body)


def _slid(x: Value, window: int, stride: int) -> Sequence[int]:
    return [(n - window) // stride + 1 for n in x.shape[2:]]


def _strides(stride: int) -> str:
    return f"{{dilations = dense<1> : vector<2xi64>, strides = dense<{stride}> : vector<2xi64>}}"

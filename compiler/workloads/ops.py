"""`ops:COUNT#SEED`: single ops of many shapes, with an epilogue or without, as networks `op-FAMILY`."""

from __future__ import annotations

import random
from collections.abc import Callable

from compiler.frontend.model import ImportedModel
from compiler.workloads import blocks
from compiler.workloads.draw import chance, extent, multiple
from compiler.workloads.writer import Value, Writer

MOST_WORK = 5e8
"""Floating-point operations of one op, at most (a multiply-add is two)."""
BYTES = (16 << 10, 32 << 20)
"""Least and most bytes of one model's arguments."""
Family = Callable[[random.Random, Writer], Value]


def op_model(number: int, seed: int) -> ImportedModel:
    """The `number`-th op of a seed; the families take turns."""
    name = sorted(FAMILIES)[number % len(FAMILIES)]
    return fitting(f"op-{name}", f"{seed}/{number}", FAMILIES[name])


def fitting(name: str, seed: str, family: Family, least_work: float = 0.0) -> ImportedModel:
    """The first draw whose largest op is within `least_work` and MOST_WORK, and whose arguments are within BYTES."""
    rng = random.Random(seed)
    while True:
        w = Writer(name)
        result = family(rng, w)
        if least_work <= w.largest <= MOST_WORK and BYTES[0] <= w.bytes() <= BYTES[1]:
            return w.model([result])


def _epilogue(rng: random.Random, w: Writer, y: Value, channel: int) -> Value:
    """None, or some of: scale, bias, activation, residual."""
    if chance(rng, 0.35):
        return y
    if chance(rng, 0.2):
        y = blocks.along(w, "mulf", y, w.weight(y.shape[channel]), channel)
    if chance(rng, 0.6):
        y = blocks.along(w, "addf", y, w.weight(y.shape[channel]), channel)
    if chance(rng, 0.5):
        y = blocks.activate(w, y, rng)
    return blocks.both(w, "addf", y, w.input(*y.shape)) if chance(rng, 0.4) else y


def _matmul(rng: random.Random, w: Writer) -> Value:
    x = w.input(extent(rng, 8, 1024), extent(rng, 16, 4096))
    y = blocks.linear(w, x, extent(rng, 16, 4096), bias=False, turned=chance(rng, 0.8))
    return _epilogue(rng, w, y, 1)


def _feed_forward(rng: random.Random, w: Writer) -> Value:
    """The wide layers of a transformer: several times as many columns as inner elements, or the other way round."""
    width, times = multiple(rng, 16, 64, 1024), rng.choice([2, 3, 4])
    inner, columns = rng.choice([(width, width * times), (width * times, width)])
    y = blocks.linear(w, w.input(extent(rng, 16, 512), inner), columns)
    return _epilogue(rng, w, y, 1)


def _skinny(rng: random.Random, w: Writer) -> Value:
    """As in decoding: very few rows."""
    x = w.input(rng.choice([1, 1, 2, 4, 8]), extent(rng, 64, 4096))
    y = blocks.linear(w, x, extent(rng, 32, 8192), bias=False, turned=chance(rng, 0.8))
    return _epilogue(rng, w, y, 1)


def _matmul_turned(rng: random.Random, w: Writer) -> Value:
    """Both operands computed, one or both of them read along the other dimension."""
    m, n, k = extent(rng, 16, 768), extent(rng, 16, 768), extent(rng, 16, 1024)
    x = w.transpose(w.input(k, m), 1, 0) if chance(rng, 0.4) else w.input(m, k)
    y = w.named("matmul", [x, w.transpose(w.input(n, k), 1, 0)], w.fill("0.0", m, n), k)
    return _epilogue(rng, w, y, 1)


def _batch_matmul(rng: random.Random, w: Writer) -> Value:
    batch, m, n = extent(rng, 2, 64), extent(rng, 4, 512), extent(rng, 8, 512)
    k = multiple(rng, 8, 16, 256)
    y = w.transpose(w.input(batch, n, k), 0, 2, 1) if chance(rng, 0.5) else w.input(batch, k, n)
    out = blocks.batch_matmul(w, w.input(batch, m, k), y)
    return blocks.each(w, out, f"r = mulf a {k**-0.5:.8f}") if chance(rng, 0.4) else out


def _scores(rng: random.Random, w: Writer) -> Value:
    """Attention scores of queries and keys that lie as projections leave them: [T, H, D]."""
    count, size, length = rng.choice([2, 4, 6, 8, 12]), rng.choice([32, 48, 64, 80, 128]), extent(rng, 8, 512)
    q, k = (w.input(length, count * size) for _ in range(2))
    out = blocks.batch_matmul(w, blocks.heads(w, q, 1, count), blocks.heads(w, k, 1, count, turned=True))
    out = blocks.each(w, out, f"r = mulf a {size**-0.5:.8f}")
    return blocks.softmax(w, out) if chance(rng, 0.5) else out


def _image(rng: random.Random, w: Writer, low: int, high: int, most: int = 128) -> Value:
    """Mostly channels-last, as between the layers of a network."""
    side = extent(rng, 7, most)
    shape = (
        rng.choice([1, 1, 1, 2, 4]),
        extent(rng, low, high),
        side,
        side if chance(rng, 0.8) else extent(rng, 7, most),
    )
    return blocks.channels_last(w, *shape) if chance(rng, 0.8) else w.input(*shape)


def _conv_of(window: tuple[int, ...], strides: tuple[int, ...], high: int) -> Family:
    def family(rng: random.Random, w: Writer) -> Value:
        x = _image(rng, w, 4, high)
        size = rng.choice(window)
        y = blocks.conv(w, x, extent(rng, 8, high), size, rng.choice(strides), padded=chance(rng, 0.8))
        return _epilogue(rng, w, y, 1)

    return family


def _patches(rng: random.Random, w: Writer) -> Value:
    """A window that is as large as its stride, on few channels."""
    size = rng.choice([4, 7, 8, 14, 16])
    side = size * extent(rng, 4, 32)
    return blocks.conv(
        w, w.input(1, rng.choice([1, 3, 3, 4]), side, side), extent(rng, 32, 768), size, size, padded=False
    )


def _conv_1d(rng: random.Random, w: Writer) -> Value:
    window, stride = rng.choice([3, 5, 8, 10]), rng.choice([1, 1, 2, 4])
    batch, inner, length, channels = (
        rng.choice([1, 1, 2]),
        extent(rng, 1, 256),
        extent(rng, 64, 4000),
        extent(rng, 16, 512),
    )
    x, kernel = w.input(batch, inner, length), w.weight(channels, inner, window)
    out = w.fill("0.0", batch, channels, (length - window) // stride + 1)
    attributes = f"{{dilations = dense<1> : vector<1xi64>, strides = dense<{stride}> : vector<1xi64>}}"
    return _epilogue(rng, w, w.named("conv_1d_ncw_fcw", [x, kernel], out, inner * window, attributes), 1)


def _grouped(rng: random.Random, w: Writer) -> Value:
    groups, inner = rng.choice([2, 4, 8, 16]), rng.choice([8, 16, 24, 32, 64])
    side = extent(rng, 7, 64)
    x = blocks.channels_last(w, 1, groups * inner, side, side)
    return _epilogue(rng, w, blocks.grouped_conv(w, x, groups * inner, groups, 3, rng.choice([1, 2])), 1)


def _depthwise(rng: random.Random, w: Writer) -> Value:
    x = _image(rng, w, 8, 768)
    y = blocks.depthwise(w, x, rng.choice([3, 3, 5, 7]), rng.choice([1, 1, 2]))
    return blocks.activate(w, y, rng) if chance(rng, 0.5) else y


def _pool(rng: random.Random, w: Writer) -> Value:
    x = _image(rng, w, 8, 512)
    return blocks.pool(w, x, rng.choice([2, 3]), rng.choice([1, 2, 2]), rng.choice(["max", "avg"]))


def _global_pool(rng: random.Random, w: Writer) -> Value:
    x = _image(rng, w, 32, 2048, 56)
    total = w.reduce("nchw -> nc", [x], "")
    return blocks.each(w, total, f"r = divf a {x.shape[2] * x.shape[3]}.0")


def _rows(rng: random.Random, w: Writer) -> Value:
    if chance(rng, 0.3):
        return w.input(extent(rng, 1, 16), extent(rng, 4, 512), extent(rng, 16, 1024))
    return w.input(extent(rng, 4, 4096), extent(rng, 16, 4096))


def _softmax(rng: random.Random, w: Writer) -> Value:
    x = _rows(rng, w)
    if chance(rng, 0.5):
        x = blocks.each(w, x, "r = mulf a 0.125")
    if chance(rng, 0.3):
        x = blocks.both(w, "addf", x, w.input(*x.shape))
    return blocks.softmax(w, x)


def _norm_of(norm: Callable[[Writer, Value], Value]) -> Family:
    def family(rng: random.Random, w: Writer) -> Value:
        x = _rows(rng, w)
        if chance(rng, 0.4):
            x = blocks.both(w, "addf", x, w.input(*x.shape))
        return norm(w, x)

    return family


def _reduction(rng: random.Random, w: Writer) -> Value:
    """Sum, maximum, minimum, mean or mean square over any of three dimensions."""
    x = w.input(extent(rng, 2, 256), extent(rng, 4, 512), extent(rng, 8, 1024))
    kept = rng.choice(["ij", "ik", "jk", "i", "j", "k"])
    by, body = rng.choice(
        [("addf", ""), ("maximumf", ""), ("minimumf", ""), ("addf", "q = mulf a a"), ("addf", "q = absf a")]
    )
    y = w.reduce(f"ijk -> {kept}", [x], body, by)
    return blocks.each(w, y, "m = mulf a 0.01; r = sqrt m") if body and chance(rng, 0.5) else y


_STEPS = (
    "addf IT 0.5", "mulf IT 1.7", "divf IT 3.0", "exp IT", "tanh IT", "erf IT", "sqrt IT", "absf IT", "maximumf IT 0.0",
    "minimumf IT 4.0", "mulf IT IT", "subf IT a", "negf IT", "addf IT a", "mulf IT a",
)  # fmt: skip


def _chain(rng: random.Random, w: Writer) -> Value:
    """Elementwise ops one after the other, on one to three operands."""
    letters = "ijk"[: rng.choice([2, 2, 3])]
    shape = [extent(rng, 4, 1024) for _ in letters]
    operands = [w.input(*shape) for _ in range(rng.choice([1, 1, 2, 3]))]
    body = [f"s0 = {'absf a' if len(operands) == 1 else 'mulf a b'}"]
    body += ["s1 = addf s0 c"] if len(operands) == 3 else []
    for _ in range(rng.randint(1, 7)):
        it = f"s{len(body) - 1}"
        body.append(f"s{len(body)} = {rng.choice(_STEPS).replace('IT', it)}")
    if chance(rng, 0.3):
        body += [f"p = ugt a 0.0; s{len(body)} = select p s{len(body) - 1} 0.25"]
    return w.apply(", ".join([letters] * len(operands)) + f" -> {letters}", operands, "; ".join(body))


def _activation(rng: random.Random, w: Writer) -> Value:
    x = blocks.activate(w, _rows(rng, w), rng)
    return blocks.both(w, "mulf", x, w.input(*x.shape)) if chance(rng, 0.4) else x


def _broadcast(rng: random.Random, w: Writer) -> Value:
    """Two or three operands, some of which lack dimensions."""
    sizes = dict(zip("ijk", (extent(rng, 2, 256), extent(rng, 4, 512), extent(rng, 8, 1024)), strict=True))
    some = ["ijk", rng.choice(["i", "j", "k", "ij", "jk", "ik"]), rng.choice(["ijk", "k", "jk", "j"])][
        : rng.choice([2, 3])
    ]
    operands = [w.input(*(sizes[d] for d in letters)) for letters in some]
    first = rng.choice(["addf", "mulf", "subf", "divf", "maximumf"])
    body = f"s = {first} a b" + ("; r = addf s c" if len(some) == 3 else "")
    return w.apply(f"{', '.join(some)} -> ijk", operands, body)


def _turned(rng: random.Random, w: Writer) -> Value:
    """Elementwise on operands that lie in different orders."""
    sizes = dict(zip("ijk", (extent(rng, 2, 128), extent(rng, 4, 512), extent(rng, 4, 512)), strict=True))
    other = rng.choice(["ikj", "jik", "kij", "jki", "kji"])
    operands = [w.input(*(sizes[d] for d in letters)) for letters in ("ijk", other)]
    return w.apply(
        f"ijk, {other} -> ijk", operands, rng.choice(["r = addf a b", "s = mulf a b; r = tanh s", "r = maximumf a b"])
    )


def _gather(rng: random.Random, w: Writer) -> Value:
    table = w.weight(extent(rng, 64, 8192), extent(rng, 32, 1024))
    y = blocks.gather(w, table, w.input(extent(rng, 8, 1024), kind="i64"))
    return blocks.both(w, "addf", y, w.input(*y.shape)) if chance(rng, 0.5) else y


FAMILIES: dict[str, Family] = {
    "matmul": _matmul,
    "feed-forward": _feed_forward,
    "skinny": _skinny,
    "matmul-turned": _matmul_turned,
    "batch-matmul": _batch_matmul,
    "scores": _scores,
    "conv1x1": _conv_of((1,), (1, 1, 1, 2), 768),
    "conv3x3": _conv_of((3,), (1, 1, 1, 2), 384),
    "conv-large": _conv_of((5, 7), (1, 2), 128),
    "conv-1d": _conv_1d,
    "patches": _patches,
    "grouped": _grouped,
    "depthwise": _depthwise,
    "pool": _pool,
    "global-pool": _global_pool,
    "softmax": _softmax,
    "layernorm": _norm_of(blocks.layer_norm),
    "rmsnorm": _norm_of(blocks.rms_norm),
    "reduction": _reduction,
    "chain": _chain,
    "activation": _activation,
    "broadcast": _broadcast,
    "turned": _turned,
    "gather": _gather,
}  # fmt: skip
"""By name; `op-NAME` is the network of their workloads."""

"""`graphs:COUNT#SEED`: random graphs of layers, as networks `graph-NUMBER`: what real networks are made of, rearranged.

A graph works on tokens or on images. It is a chain of blocks with residuals, gates and branches to earlier values.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from compiler.frontend.model import ImportedModel
from compiler.workloads import blocks
from compiler.workloads.draw import chance, extent, multiple
from compiler.workloads.ops import fitting
from compiler.workloads.writer import Value, Writer

LEAST_WORK = 2e6
"""Floating-point operations of a graph's largest op, at least: below, calls are all that is measured."""
Block = Callable[[random.Random, Writer, list[Value]], Value]
"""Appends ops that read the last value so far, perhaps earlier ones too."""


def graph_model(number: int, seed: int) -> ImportedModel:
    """The `number`-th graph of a seed."""
    kind = _tokens if number % 2 else _images
    return fitting(
        f"graph-{number}" if seed == 0 else f"graph-{number}-{seed}", f"graph {seed}/{number}", kind, LEAST_WORK
    )


def _tokens(rng: random.Random, w: Writer) -> Value:
    """Blocks on [rows, width]."""
    heads, size = rng.choice([2, 3, 4, 6, 8]), rng.choice([16, 24, 32, 48, 64])
    batch = rng.choice([1, 1, 2, 4])
    rows, width = batch * extent(rng, 8, 384), heads * size

    def attend(_: random.Random, w: Writer, values: list[Value]) -> Value:
        return blocks.attention(w, values[-1], batch, heads, masked=chance(rng, 0.4))

    ids = chance(rng, 0.3)
    table = w.weight(extent(rng, 64, 4096), width) if ids else None
    first = blocks.gather(w, table, w.input(rows, kind="i64")) if table else w.input(rows, width)
    return _chain(rng, w, first, [attend, _mlp, _mlp, _gated, _dense, _norm, _elementwise])


def _images(rng: random.Random, w: Writer) -> Value:
    """Blocks on [N, C, H, W], closed by global pooling and a classifier or not."""
    channels, side = multiple(rng, 8, 8, 192), extent(rng, 8, 96)
    first = blocks.channels_last(w, rng.choice([1, 1, 2]), channels, side, side)
    if chance(rng, 0.4):
        size = rng.choice([32, 64, 96, 128, 160])
        first = blocks.conv(w, w.input(1, 3, size, size), channels, rng.choice([3, 5, 7]), 2)
    y = _chain(rng, w, first, [_conv, _conv, _separable, _inverted, _squeeze, _pool, _branches, _elementwise])
    if chance(rng, 0.4):
        mean = blocks.each(w, w.reduce("nchw -> nc", [y], ""), f"r = divf a {y.shape[2] * y.shape[3]}.0")
        y = blocks.linear(w, mean, extent(rng, 10, 1000))
    return y


def _chain(rng: random.Random, w: Writer, first: Value, choices: list[Block]) -> Value:
    """One to four blocks; most are followed by a residual where the shape allows it, some of them normalised first."""
    values = [first]
    for _ in range(rng.randint(1, 4)):
        y = rng.choice(choices)(rng, w, values)
        same = [v for v in values if v.shape == y.shape and v.kind == y.kind]
        if same and chance(rng, 0.6):
            y = blocks.both(
                w, rng.choice(["addf", "addf", "mulf"]), y, same[-1] if chance(rng, 0.8) else rng.choice(same)
            )
        values.append(y)
    return values[-1]


def _mlp(rng: random.Random, w: Writer, values: list[Value]) -> Value:
    x = _norm(rng, w, values) if chance(rng, 0.6) else values[-1]
    hidden = blocks.activate(w, blocks.linear(w, x, multiple(rng, 8, x.shape[1], 4 * x.shape[1])), rng)
    return blocks.linear(w, hidden, x.shape[1])


def _gated(rng: random.Random, w: Writer, values: list[Value]) -> Value:
    x, inner = values[-1], multiple(rng, 8, values[-1].shape[1], 3 * values[-1].shape[1])
    gate = blocks.activate(w, blocks.linear(w, x, inner, bias=False), rng)
    return blocks.linear(
        w, blocks.both(w, "mulf", gate, blocks.linear(w, x, inner, bias=False)), x.shape[1], bias=False
    )


def _dense(rng: random.Random, w: Writer, values: list[Value]) -> Value:
    y = blocks.linear(w, values[-1], values[-1].shape[1], bias=chance(rng, 0.7))
    return blocks.activate(w, y, rng) if chance(rng, 0.6) else y


def _norm(rng: random.Random, w: Writer, values: list[Value]) -> Value:
    return rng.choice([blocks.layer_norm, blocks.rms_norm])(w, values[-1])


def _elementwise(rng: random.Random, w: Writer, values: list[Value]) -> Value:
    y = blocks.activate(w, values[-1], rng)
    return blocks.along(w, rng.choice(["addf", "mulf"]), y, w.weight(y.shape[1]), 1) if chance(rng, 0.6) else y


def _scaled(rng: random.Random, w: Writer, y: Value) -> Value:
    """A batch norm that was not folded, then an activation; either may be missing."""
    if chance(rng, 0.4):
        y = blocks.along(w, "addf", blocks.along(w, "mulf", y, w.weight(y.shape[1]), 1), w.weight(y.shape[1]), 1)
    return blocks.activate(w, y, rng) if chance(rng, 0.8) else y


def _conv(rng: random.Random, w: Writer, values: list[Value]) -> Value:
    x = values[-1]
    channels = x.shape[1] if chance(rng, 0.6) else multiple(rng, 8, 8, 2 * x.shape[1])
    stride = 2 if x.shape[2] >= 14 and chance(rng, 0.3) else 1
    return _scaled(rng, w, blocks.conv(w, x, channels, rng.choice([1, 1, 3, 3, 3, 5]), stride))


def _separable(rng: random.Random, w: Writer, values: list[Value]) -> Value:
    x = values[-1]
    y = blocks.depthwise(w, x, rng.choice([3, 5, 7]), 2 if x.shape[2] >= 14 and chance(rng, 0.3) else 1)
    return _scaled(rng, w, blocks.conv(w, _scaled(rng, w, y), x.shape[1], 1))


def _inverted(rng: random.Random, w: Writer, values: list[Value]) -> Value:
    """Widened, depthwise, narrowed again."""
    x = values[-1]
    y = _scaled(rng, w, blocks.conv(w, x, rng.choice([2, 4, 6]) * x.shape[1], 1))
    y = _scaled(rng, w, blocks.depthwise(w, y, rng.choice([3, 5])))
    return blocks.conv(w, y, x.shape[1], 1)


def _squeeze(rng: random.Random, w: Writer, values: list[Value]) -> Value:
    """Channels scaled by a gate that is computed from their means."""
    x = values[-1]
    mean = blocks.each(w, w.reduce("nchw -> nc", [x], ""), f"r = divf a {x.shape[2] * x.shape[3]}.0")
    low = blocks.each(w, blocks.linear(w, mean, max(8, x.shape[1] // 4)), blocks.ACTIVATIONS["relu"])
    gate = blocks.each(w, blocks.linear(w, low, x.shape[1]), blocks.ACTIVATIONS["sigmoid"])
    return w.apply("nchw, nc -> nchw", [x, gate], "r = mulf a b")


def _pool(rng: random.Random, w: Writer, values: list[Value]) -> Value:
    x = values[-1]
    return (
        blocks.pool(w, x, rng.choice([2, 3]), 2, rng.choice(["max", "avg"]))
        if x.shape[2] >= 8
        else _conv(rng, w, values)
    )


def _branches(rng: random.Random, w: Writer, values: list[Value]) -> Value:
    """Two convolutions of one value, side by side along the channels."""
    x = values[-1]
    left, right = (_scaled(rng, w, blocks.conv(w, x, multiple(rng, 8, 8, 128), size)) for size in (1, 3))
    shape = (left.shape[0], left.shape[1] + right.shape[1], *left.shape[2:])
    return w.line(f"tensor.concat dim(1) {left.name}, {right.name} : ({left.type}, {right.type}) -> TYPE", shape)

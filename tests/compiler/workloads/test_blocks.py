"""The layers as text compute what PyTorch's layers compute."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from compiler.workloads import blocks
from compiler.workloads.writer import Value, Writer
from tests.passes.fusion.fusion_evaluate import evaluate

Made = Callable[[Writer], Value]


def ids(table: Tensor, ids: Tensor) -> Tensor:
    return table[ids]


def attention(*tensors: Tensor) -> Tensor:
    """Two sequences of 3 tokens, 2 heads of 4; tensors are weight and bias of q, k, v and o, then the tokens."""
    *weights, x = tensors
    q, k, v = (
        (x @ w + b).reshape(2, 3, 2, 4).transpose(1, 2) for w, b in zip(weights[0:6:2], weights[1:6:2], strict=True)
    )
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(6, 8)
    return mixed @ weights[6] + weights[7]


CASES: dict[str, tuple[Made, Callable[..., Tensor]]] = {
    "linear": (lambda w: blocks.linear(w, w.input(3, 5), 7), lambda m, b, x: x @ m + b),
    "softmax": (lambda w: blocks.softmax(w, w.input(2, 3, 9)), lambda x: x.softmax(-1)),
    "layer norm": (
        lambda w: blocks.layer_norm(w, w.input(2, 3, 9)),
        lambda scale, bias, x: F.layer_norm(x, (9,), scale, bias),
    ),
    "rms norm": (lambda w: blocks.rms_norm(w, w.input(4, 9)), lambda scale, x: F.rms_norm(x, (9,), scale, 1e-6)),
    "attention": (lambda w: blocks.attention(w, w.input(6, 8), 2, 2), attention),
    "strided convolution": (
        lambda w: blocks.conv(w, blocks.channels_last(w, 1, 3, 9, 8), 4, 3, 2),
        lambda bias, kernel, x: F.conv2d(x.permute(0, 3, 1, 2), kernel, bias, stride=2, padding=1),
    ),
    "grouped convolution": (
        lambda w: blocks.grouped_conv(w, w.input(1, 4, 6, 6), 6, 2, 3),
        lambda kernel, bias, x: F.conv2d(x, kernel.reshape(6, 2, 3, 3), bias, padding=1, groups=2),
    ),
    "depthwise convolution": (
        lambda w: blocks.depthwise(w, w.input(2, 4, 9, 9), 5, 2),
        lambda kernel, bias, x: F.conv2d(x, kernel[:, None], bias, stride=2, padding=2, groups=4),
    ),
    "maximum": (lambda w: blocks.pool(w, w.input(1, 2, 9, 9), 3, 2, "max"), lambda x: F.max_pool2d(x, 3, 2, 1)),
    "average": (lambda w: blocks.pool(w, w.input(1, 2, 8, 8), 2, 2, "avg"), lambda x: F.avg_pool2d(x, 2)),
    "gather": (lambda w: blocks.gather(w, w.weight(9, 5), w.input(4, kind="i64")), ids),
    "reduction": (lambda w: w.reduce("ijk -> ik", [w.input(3, 4, 5)], "q = mulf a a"), lambda x: (x * x).sum(1)),
    "turned operand": (
        lambda w: w.apply("ij, ji -> ij", [w.input(3, 4), w.input(4, 3)], "s = subf a b; r = mulf s 2.0"),
        lambda x, y: (x - y.T) * 2,
    ),
}
TORCH = {
    "relu": F.relu,
    "relu6": F.relu6,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardswish": F.hardswish,
    "leaky_relu": F.leaky_relu,
    "squared_relu": lambda x: F.relu(x) ** 2,
}


def check(made: Made, reference: Callable[..., Tensor]) -> None:
    w = Writer("block")
    model = w.model([made(w)])
    rng = np.random.default_rng(0)
    values = [v for v, _ in w.weights] + w.inputs
    arrays = [
        rng.standard_normal(v.shape, np.float32) if v.kind == "f32" else rng.integers(0, 5, v.shape) for v in values
    ]
    [ours] = evaluate(model.text, arrays)
    theirs = reference(*map(torch.from_numpy, arrays)).numpy()
    assert np.ptp(theirs) > 0
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", CASES)
def test_layer(name: str) -> None:
    check(*CASES[name])


@pytest.mark.parametrize("name", blocks.ACTIVATIONS)
def test_activation(name: str) -> None:
    check(lambda w: blocks.each(w, w.input(5, 7), blocks.ACTIVATIONS[name]), TORCH[name])

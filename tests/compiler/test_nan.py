"""NaN, infinity, signed zero, subnormal and huge numbers in inputs and weights give what PyTorch gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import seerc

INF, NAN = float("inf"), float("nan")


class Functions(torch.nn.Module):
    """Names of functions to results, for rows of numbers and images.

    PyTorch's own gelu of infinity is NaN or infinity, as the library it calls has it: left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = torch.nn.Linear(16, 8), torch.nn.LayerNorm(16)
        self.conv, self.batch_norm = torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.BatchNorm2d(4)
        with torch.no_grad():
            self.linear.weight[3, 4], self.linear.weight[5, 15], self.linear.bias[7] = INF, NAN, -INF

    def forward(self, x: torch.Tensor, image: torch.Tensor) -> dict[str, torch.Tensor]:
        flipped = x.flip(1)
        return {
            **{"relu": F.relu(x), "silu": F.silu(x), "tanh": x.tanh(), "sigmoid": x.sigmoid(), "elu": F.elu(x)},
            **{"hardswish": F.hardswish(x), "hardtanh": F.hardtanh(x), "relu6": F.relu6(x), "leaky": F.leaky_relu(x)},
            **{"clamp": x.clamp(-1, 1), "clamp_min": x.clamp_min(0.5), "exp": x.exp(), "log": x.log(), "erf": x.erf()},
            **{"sqrt": x.sqrt(), "rsqrt": x.rsqrt(), "abs": x.abs(), "floor": x.floor(), "pow": x.pow(3)},
            **{"gelu": F.gelu(x.clamp(max=1e30)), "gelu_tanh": F.gelu(x, approximate="tanh")},
            **{"maximum": torch.maximum(x, flipped), "minimum": torch.minimum(x, flipped), "div": x / flipped},
            **{"gt": x > 0, "le": x <= 1, "eq": x == x, "ne": x != x, "isnan": x.isnan(), "ge": x >= flipped},
            **{"where": torch.where(x > 0, x, 0.0), "softmax": x.softmax(-1), "log_softmax": x.log_softmax(-1)},
            **{"layer_norm": self.norm(x), "sum": x.sum(-1), "mean": x.mean(-1), "var": x.var(-1), "sum0": x.sum(0)},
            **{"amax": x.amax(-1), "amin": x.amin(-1), "amax0": x.amax(0), "argmax": x.argmax(-1)},
            **{"argmin": x.argmin(-1), "argmax0": x.argmax(0), "linear": self.linear(x), "product": x @ x.T},
            **{"max_pool": F.max_pool2d(image, 3, 2, 1), "avg_pool": F.avg_pool2d(image, 2)},
            **{"conv": self.conv(image), "batch_norm": F.relu(self.batch_norm(image))},
        }


def examples() -> tuple[torch.Tensor, torch.Tensor]:
    x, image = torch.randn(9, 16), torch.randn(2, 4, 10, 10)
    x[0, 3], x[1, 4], x[2, 5] = NAN, INF, -INF
    x[3], x[4, 1:] = -INF, -INF  # a softmax over nothing, and over one
    x[5, 0], x[5, 1] = INF, -INF
    x[6, :6] = torch.tensor([0.0, -0.0, 1e-40, -1e-40, 1e30, 3e38])
    x[7, :6] = torch.tensor([88.0, 89.0, -88.0, -104.0, 200.0, -200.0])
    image[0, 0, 3, 3], image[0, 1, 4, 4], image[1, 2, 5, 5], image[1, 3] = NAN, INF, -INF, -INF
    return x, image


@pytest.fixture(scope="module")
def results() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name to what the program gives and what PyTorch gives."""
    torch.manual_seed(0)
    model, inputs = Functions().eval(), examples()
    program = seerc.compile(model, inputs, cost_model="analytic", jobs=2)
    with torch.no_grad():
        wanted = model(*inputs)
    got = dict(zip((spec.name for spec in program.outputs), program(*inputs), strict=True))
    return {name: (got[name].numpy(), ref.numpy()) for name, ref in wanted.items()}


def test_every_function_gives_what_pytorch_gives(results: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    assert len(results) > 40
    for name, (y, ref) in results.items():
        np.testing.assert_allclose(y, ref, rtol=1e-4, atol=1e-5, equal_nan=True, err_msg=name)


def test_the_numbers_are_what_they_should_be(results: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """PyTorch's own results hold what this file is about."""
    assert np.isnan(results["softmax"][0][3]).all()
    assert results["softmax"][0][4, 0] == 1
    assert results["argmax"][0][0] == 3
    assert np.isnan(results["relu"][0][0, 3])
    assert not results["eq"][0][0, 3]
    assert np.isnan(results["max_pool"][0]).sum() == 4

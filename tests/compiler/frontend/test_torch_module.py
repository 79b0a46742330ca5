"""Modules through the FX passes and torch-mlir: same numbers, and the linalg that a fusing compiler wants."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compiler.frontend.load import from_module
from compiler.frontend.model import FrontendError
from compiler.frontend.torch_module import folded_graph, import_module, run_graph
from tests.compiler.frontend.plain import run

aten = torch.ops.aten


class Wrapped(nn.Module):
    """A function as a module, with whatever parameters it is given."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part, persistent=False)
            else:
                setattr(self, name, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def masked(m: Wrapped, q: Tensor, mask: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, q, q, attn_mask=mask)


CASES: dict[str, tuple[nn.Module, tuple[Tensor, ...]]] = {
    "linear over three dims": (nn.Linear(8, 5), (normal(2, 3, 8),)),
    "layer norm": (nn.LayerNorm(16), (normal(2, 3, 16) * 4 + 2,)),
    "group norm": (nn.GroupNorm(2, 8), (normal(1, 8, 3, 3),)),
    "rms norm": (nn.RMSNorm(16), (normal(3, 16),)),
    "gelu": (nn.GELU(), (normal(4, 9),)),
    "gelu tanh": (nn.GELU("tanh"), (normal(4, 9),)),
    "softmax": (nn.Softmax(-1), (normal(3, 7) * 20,)),
    "log softmax": (nn.LogSoftmax(1), (normal(3, 7),)),
    "variance": (Wrapped(lambda m, x: x.var(1)), (normal(3, 7),)),
    "powers": (Wrapped(lambda m, x: x**2 + x**3 + (x * x + 1) ** -0.5), (normal(3, 7),)),
    "conv, norm, relu": (nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()), (normal(1, 3, 9, 9),)),
    "max pool": (nn.MaxPool2d(3, 2, 1), (normal(1, 2, 9, 9),)),
    "attention": (nn.MultiheadAttention(16, 4, batch_first=True), (normal(1, 5, 16),) * 3),
    "causal grouped attention": (
        Wrapped(lambda m, q, k: F.scaled_dot_product_attention(q, k, k, is_causal=True, enable_gqa=True)),
        (normal(1, 4, 5, 8), normal(1, 2, 5, 8)),
    ),
    "constant mask": (Wrapped(lambda m, q: masked(m, q, m.mask), mask=torch.eye(5) > 0), (normal(1, 2, 5, 8),)),
    "fully masked row": (Wrapped(masked), (normal(1, 2, 3, 8), torch.tensor([[True], [False], [True]]).expand(3, 3))),
    "clamp keeps nan": (nn.ReLU6(), (torch.tensor([[float("nan"), -1.0, 3.0, 9.0, float("inf"), -float("inf")]]),)),
    "maximum keeps nan": (Wrapped(lambda m, x: torch.maximum(x, x.flip(1))), (normal(1, 4).log(),)),
    "reflecting pad": (nn.ReflectionPad1d(2), (normal(1, 2, 6),)),
    "lstm": (nn.LSTM(6, 8, 2, batch_first=True, bidirectional=True), (normal(2, 5, 6),)),
    "lstm without bias": (nn.LSTM(6, 8, bias=False), (normal(5, 2, 6),)),
    "lstm cell": (nn.LSTMCell(6, 8), (normal(2, 6),)),
    "batch of rows": (
        nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 4), nn.Softmax(-1)), (normal(2, 3, 8),)
    ),
    "embedding": (nn.Embedding(10, 4), (torch.tensor([[1, 9, 0]]),)),
    "constant cumsum": (Wrapped(lambda m, x: x + torch.ones(4).cumsum(0)), (normal(2, 4),)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_text_is_plain_f32_linalg_that_computes_what_the_module_does(name: str) -> None:
    module, inputs = CASES[name]
    loaded = from_module(module.eval(), inputs, "case")
    assert loaded.eager is not None
    expected = loaded.eager(*loaded.example_inputs)
    assert not re.search(r"\b(torch|tm_tensor)\.|f64|cf\.assert|arith\.constant dense", loaded.imported.text)
    computed = run(loaded.imported, loaded.example_inputs)
    assert [s.shape for s in loaded.imported.outputs] == [e.shape for e in expected]
    for got, want in zip(computed, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def nodes_of(module: nn.Module, *inputs: Tensor) -> list[Any]:
    program = torch.export.export(module.eval(), inputs, strict=False)
    return [n.target for n in folded_graph(program).graph.nodes if n.op == "call_function"]


def test_batch_norm_disappears_into_the_convolution() -> None:
    module, inputs = CASES["conv, norm, relu"]
    assert nodes_of(module, *inputs) == [aten.convolution.default, aten.relu.default]


def test_batch_norm_stays_where_the_convolution_has_another_user() -> None:
    conv, norm = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)
    conv.weight.data.normal_()
    module = Wrapped(lambda m, x: (m.conv(x), m.norm(m.conv(x)))[1] + m.conv(x), conv=conv, norm=norm)
    assert aten.convolution.default in nodes_of(module, normal(1, 3, 4, 4))
    shared = Wrapped(lambda m, x: (lambda y: m.norm(y) + y)(m.conv(x)), conv=conv, norm=norm)
    assert nodes_of(shared, normal(1, 3, 4, 4)).count(aten.mul.Tensor) == 1


def test_a_transposed_weight_is_a_view_of_the_original() -> None:
    linear = nn.Linear(8, 5)
    (weight,) = [w for w in import_module(linear, (normal(2, 8),), "m").weights.values() if w.ndim == 2]
    assert weight.shape == (8, 5)
    assert weight.strides == (4, 32)
    assert np.shares_memory(weight, linear.weight.detach().numpy())


def test_a_constant_mask_is_one_weight_however_often_it_is_used() -> None:
    def twice(m: Wrapped, q: Tensor) -> Tensor:
        for _ in range(2):
            q = F.scaled_dot_product_attention(q, q, q, is_causal=True)
        return q

    weights = import_module(Wrapped(twice), (normal(1, 2, 5, 8),), "m").weights
    assert [w.shape for w in weights.values()] == [(5, 5)]


def test_batch_one_runs_on_rows() -> None:
    module, _ = CASES["batch of rows"]
    text = import_module(module, (normal(1, 3, 8),), "m").text
    assert "tensor<3x8xf32>" in text
    assert "tensor<1x3x8xf32>, tensor<" not in text.split("{", 2)[2]


def test_untrained_zero_weights_stay_arguments() -> None:
    linear = nn.Linear(3, 3)
    nn.init.zeros_(linear.bias)
    assert len(import_module(linear, (normal(2, 3),), "m").weights) == 2


def test_lstm_keeps_its_loop_and_shares_it_between_layers() -> None:
    text = import_module(nn.LSTM(8, 8, 3), (normal(40, 1, 8),), "m").text
    assert text.count("scf.for") == 1
    assert text.count("call @lstm_0") == 3
    assert text.count("linalg.matmul") == 4


def test_folded_graph_runs_in_torch() -> None:
    module, inputs = CASES["batch of rows"]
    graph = folded_graph(torch.export.export(module.eval(), inputs, strict=False))
    torch.testing.assert_close(run_graph(graph, inputs)[0], module(*inputs), rtol=1e-5, atol=1e-6)


def test_an_op_without_lowering_is_named_with_its_place_and_a_reproducer() -> None:
    with pytest.raises(FrontendError, match=r"(?s)test_torch_module\.py.*linalg_svd.*with: seerc opt .*mlir"):
        import_module(Wrapped(lambda m, x: torch.linalg.svd(x)[1]), (normal(4, 4),), "svd")


def test_a_branch_on_data_is_refused_in_one_line() -> None:
    with pytest.raises(FrontendError, match=r"^branch: torch.export cannot trace the model: [^\n]*$"):
        import_module(Wrapped(lambda m, x: x if x.sum() > 0 else -x), (normal(4),), "branch")

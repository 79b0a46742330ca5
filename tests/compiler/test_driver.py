"""The main job on small models: right answers, plans that say why, fallbacks, the cache, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compiler.driver import CompileOptions, compile_model, relative_error
from compiler.frontend.load import from_module
from compiler.native.program import Program
from costmodel.errors import SeercError

TOLERANCE = 1e-4


class Attention(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.MultiheadAttention(32, 4, batch_first=True)
        self.norm = torch.nn.LayerNorm(32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x + self.inner(x, x, x, need_weights=False)[0])


class Convolutions(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 16, 7, stride=2, padding=3)
        self.norm = torch.nn.BatchNorm2d(16)
        self.pool = torch.nn.MaxPool2d(3, 2, 1)
        self.second = torch.nn.Conv2d(16, 16, 3, padding=1)
        self.depthwise = torch.nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.head = torch.nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.norm(self.first(x))))
        x = x + torch.relu(self.depthwise(torch.relu(self.second(x))))
        return self.head(x.mean(dim=(2, 3)))


class TwoResults(torch.nn.Module):
    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.where(mask, ids, ids * 2), torch.cat([ids, ids + 1], dim=1)


class Recurrent(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(8, 16, num_layers=2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x)[0]


def compiled(module: torch.nn.Module, *inputs: torch.Tensor, cost_model: str = "none"):
    torch.manual_seed(0)
    module = module.eval()
    loaded = from_module(module, inputs, "test")
    program = compile_model(loaded.imported, CompileOptions(cost_model=cost_model, jobs=2))
    with torch.no_grad():
        reference = module(*inputs)
    reference = reference if isinstance(reference, tuple) else (reference,)
    return program, [r.numpy() for r in reference]


@pytest.mark.parametrize("cost_model", ["none", "analytic"])
def test_attention_agrees_with_pytorch(cost_model):
    x = torch.randn(2, 10, 32)
    program, reference = compiled(Attention(), x, cost_model=cost_model)
    assert relative_error(program(x.numpy()), reference) < TOLERANCE
    assert program.plan["fallbacks"] == 0


def test_convolutions_agree_with_pytorch():
    x = torch.randn(2, 3, 37, 41)
    program, reference = compiled(Convolutions(), x)
    assert relative_error(program(x.numpy()), reference) < TOLERANCE
    assert relative_error(program(x.numpy(), threads=2), reference) < TOLERANCE
    assert program.plan["fallbacks"] == 0


def test_integers_masks_and_several_results():
    ids, mask = torch.arange(12).reshape(3, 4), torch.tensor([[True, False, True, False]] * 3)
    program, reference = compiled(TwoResults(), ids, mask)
    outputs = program(ids.numpy(), mask.numpy())
    assert [o.dtype for o in outputs] == [np.int64, np.int64]
    for got, wanted in zip(outputs, reference, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_recurrent_layers_stay_loops():
    x = torch.randn(1, 12, 8)
    program, reference = compiled(Recurrent(), x)
    assert relative_error(program(x.numpy()), reference) < TOLERANCE
    assert len(program.plan["kernels"]) < 30


def test_nan_and_infinity_give_what_pytorch_gives():
    x = torch.randn(1, 10, 32)
    x[0, 3, 5], x[0, 4, 6] = float("nan"), float("inf")
    program, (reference,) = compiled(Attention(), x)
    (output,) = program(x.numpy())
    np.testing.assert_array_equal(np.isnan(output), np.isnan(reference))


def test_the_same_model_gives_the_same_plan():
    x = torch.randn(4, 32)
    module = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.GELU())
    plans = [compiled(module, x, cost_model="analytic")[0].plan["kernels"] for _ in range(2)]
    assert plans[0] == plans[1]
    assert plans[0][0]["predicted"]["latency_ns"][0] > 0


def test_a_saved_program_gives_the_same_bits(tmp_path):
    x = torch.randn(4, 32)
    program, _ = compiled(torch.nn.Linear(32, 8), x)
    program.save(tmp_path / "p")
    np.testing.assert_array_equal(Program.load(tmp_path / "p")(x.numpy())[0], program(x.numpy())[0])


def test_wrong_shapes_and_types_at_a_call():
    x = torch.randn(4, 32)
    program, _ = compiled(torch.nn.Linear(32, 8), x)
    with pytest.raises(SeercError, match=r"4, 32"):
        program(np.zeros((4, 31), np.float32))
    with pytest.raises(SeercError, match="float"):
        program(np.zeros((4, 32), np.float64))
    with pytest.raises(SeercError, match=r"1 input|expects 1|1 argument"):
        program(x.numpy(), x.numpy())


def test_relative_error_counts_nan_on_one_side_only():
    assert relative_error([np.array([1.0, np.nan])], [np.array([1.0, np.nan])]) == 0
    assert not relative_error([np.array([1.0, np.nan])], [np.array([1.0, 2.0])]) < 1
    assert relative_error([np.array([1.0, 2.0])], [np.array([1.0, 4.0])]) == 0.5

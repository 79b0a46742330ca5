"""seerc-lazy-select: the same numbers, and no matrix product where nobody takes its result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compiler.decode.export import lazy
from compiler.driver import CompileOptions, compile_model, lower_model
from compiler.frontend.load import from_module
from compiler.frontend.model import ImportedModel
from compiler.plan.steps import IfStep, calls

WIDTH = 16


class Gated(nn.Module):
    """x' = select(x . w > 3, x + f(x), x) twice; the hidden values of the second f are a result, too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.routers = nn.Parameter(torch.randn(2, WIDTH))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gates = [(x @ self.routers[0] > 3)[:, None]]
        x = torch.where(gates[0], x + self.first(x).tanh(), x)
        gates.append((x @ self.routers[1] > 3)[:, None])
        hidden = self.second(x).tanh()
        return torch.where(gates[1], x + hidden, x), hidden * 2, torch.cat(gates, 1)


@pytest.fixture(scope="module")
def model() -> Gated:
    torch.manual_seed(0)
    return Gated().eval()


def imported(module: nn.Module, rows: int) -> ImportedModel:
    return from_module(module, (torch.zeros(rows, WIDTH),), "gated").imported


@pytest.mark.parametrize("rows", [1, 3])
def test_results_stay_the_same(model: Gated, rows: int) -> None:
    step = lazy(imported(model, rows))
    assert step.text.count("scf.if") == 2
    program = compile_model(step, CompileOptions(cost_model="none"))
    seen = set[tuple[bool, ...]]()
    for seed in range(12):
        x = torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            want: Any = model(x)
        got = program(x.numpy())
        ran = want[2].any(0).tolist()
        seen.add(tuple(ran))
        np.testing.assert_allclose(got[0], want[0].numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(got[2], want[2].numpy())
        np.testing.assert_allclose(got[1], want[1].numpy() if ran[1] else 0, rtol=1e-5, atol=1e-6)
    assert len(seen) > 1


def test_products_stand_behind_the_branch_and_scores_do_not(model: Gated) -> None:
    planned = lower_model(lazy(imported(model, 1)), CompileOptions(cost_model="none")).planned
    branches = [step for step in planned.steps if isinstance(step, IfStep)]
    assert len(branches) == 2
    wide = f"{WIDTH}x{WIDTH}xf32"
    for branch in branches:
        assert sum(wide in planned.workloads[call.workload] for call in calls(branch.then)) == 1
        assert not any(wide in planned.workloads[call.workload] for call in calls(branch.otherwise))
    outside = [step for step in planned.steps if not isinstance(step, IfStep)]
    assert not any(wide in planned.workloads[call.workload] for call in calls(outside))


def test_selects_without_a_product_stay() -> None:
    class Clamped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x > 0, x * 2, x)

    step = imported(Clamped(), 2)
    assert "scf.if" not in lazy(step).text

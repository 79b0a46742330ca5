"""Lossy programs under a budget: what is chosen, what it really loses, and that weights are left as they were."""

from __future__ import annotations

import pytest
import torch

from compiler.adapt.costs import Costs, StepCosts
from compiler.adapt.low_rank import FfnFactors
from compiler.adapt.oracle import Oracle
from compiler.adapt.static import decide_static
from compiler.adapt.stream import ResidualStream
from tests.compiler.adapt.conftest import build


def flat(width: int) -> StepCosts:
    return StepCosts((1.0, 2.0) * 6, 3.0)


COSTS: Costs = flat


def test_a_budget_of_nothing_skips_what_adds_nothing(grown: tuple[Oracle, Oracle]) -> None:
    found = decide_static(*grown, COSTS, budget=1e-5)
    assert found.change.skipped == {3, 4, 7, 8}
    assert found.ranks == ()
    assert found.held_out_kl < 1e-5
    assert found.held_out_agreement == 1.0
    assert found.predicted_speedup == pytest.approx(21 / (21 - 6))


def test_a_larger_budget_is_faster_and_keeps_to_the_sum(grown: tuple[Oracle, Oracle]) -> None:
    some, more = (decide_static(*grown, COSTS, budget) for budget in (0.05, 1.0))
    assert more.predicted_speedup > some.predicted_speedup
    assert more.selection.loss <= 1.0
    assert more.selection.gap <= 0.02
    assert more.measured_kl > 0
    assert not set(dict(more.ranks)) & more.change.skipped


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt"])
def test_truncation_is_the_best_of_its_rank_and_is_undone(kind: str) -> None:
    stream = ResidualStream(build(kind))
    factors = FfnFactors(stream, (0.5, 0.25))
    before = [weight.clone() for weight in stream.ffn_weights(3)]
    assert before
    with factors.truncated({3: 0.25}):
        for weight, original in zip(stream.ffn_weights(3), before, strict=True):
            values = torch.linalg.svdvals(original)
            rank = round(min(original.shape) * 0.25)
            assert torch.linalg.matrix_rank(weight, rtol=1e-4) == rank
            error = torch.linalg.norm(weight - original)
            torch.testing.assert_close(error, values[rank:].norm(), rtol=1e-3, atol=1e-5)  # Eckart & Young
    for weight, original in zip(stream.ffn_weights(3), before, strict=True):
        assert torch.equal(weight, original)
    assert factors.bytes_share(3, 0.25) < factors.bytes_share(3, 0.5)
    assert factors.rank(3, 0.25) == 8

"""Lossy programs under a budget: what is chosen, what it really loses, and that weights are left as they were."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch

from compiler.adapt.alternatives import (
    KINDS,
    Alternative,
    LowRank,
    RSparse,
    SmallFfn,
    all_applied,
    alternatives,
    rounded,
)
from compiler.adapt.costs import Costs, StepCosts
from compiler.adapt.layers import matrix_of
from compiler.adapt.lossy_model import apply_to_model, silenced
from compiler.adapt.neurons import Activity, activity_of
from compiler.adapt.oracle import Oracle
from compiler.adapt.plan import Plan
from compiler.adapt.static import Change, Choices, StaticDecision, decide_static, measure, measure_choices
from compiler.adapt.stream import ResidualStream
from compiler.adapt.variant_times import times_by_bytes
from seerc.cli.adapt import VARIANTS
from tests.compiler.adapt.conftest import VOCABULARY, build, random_texts


def flat(width: int) -> StepCosts:
    return StepCosts((1.0, 2.0) * 6, 3.0)


COSTS: Costs = flat


def ways_of(oracle: Oracle, kinds: Sequence[str]) -> list[Alternative]:
    return alternatives(oracle.stream, lambda: activity_of(oracle), kinds)


@pytest.fixture(scope="module")
def choices(grown: tuple[Oracle, Oracle]) -> Choices:
    return measure_choices(grown[0], COSTS, ways_of(grown[0], ("low-rank", "small-ffn")), times_by_bytes(COSTS))


def decided(choices: Choices, grown: tuple[Oracle, Oracle], budget: float) -> StaticDecision:
    return decide_static(choices, *grown, COSTS, budget)


def test_a_budget_of_nothing_skips_what_adds_nothing(choices: Choices, grown: tuple[Oracle, Oracle]) -> None:
    found = decided(choices, grown, 1e-5)
    assert found.change.skipped == {3, 4, 7, 8}
    assert not found.change.ways
    assert found.held_out_kl < 1e-5
    assert found.held_out_agreement == 1.0
    assert found.predicted_speedup == pytest.approx(21 / (21 - 6))


def test_a_larger_budget_is_faster_and_is_kept_by_the_combination(
    choices: Choices, grown: tuple[Oracle, Oracle]
) -> None:
    some, more = (decided(choices, grown, budget) for budget in (0.05, 1.0))
    assert more.predicted_speedup > some.predicted_speedup
    for found, budget in ((some, 0.05), (more, 1.0)):
        assert 0 < found.measured_kl <= budget
        assert found.selection.loss <= budget
        assert found.measured_kl == pytest.approx(measure(grown[0], found.change)[0], rel=1e-4)
    assert more.selection.gap <= 0.02
    assert more.change.ways
    assert not more.change.skipped & more.change.ways.keys()


def test_streams_that_were_kept_change_nothing(grown: tuple[Oracle, Oracle]) -> None:
    oracle = grown[0]
    oracle.keep_streams()
    for skipped in ((5,), (6, 9), (2,)):
        assert oracle.lossy(skipped, min(skipped) // 2) == pytest.approx(oracle.lossy(skipped), rel=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt", "gpt_neox"])
def test_every_way_is_undone(kind: str) -> None:
    stream = ResidualStream(build(kind))
    oracle = Oracle(stream, random_texts())
    before = [parameter.clone() for parameter in stream.model.parameters()]
    full = oracle.lossy(())
    for way in ways_of(oracle, KINDS):
        for block in (2, 3):
            if way.fits(block):
                assert measure(oracle, Change(frozenset(), {block: way}))[0] > 0, way.name
    assert oracle.lossy(()) == full
    for parameter, original in zip(stream.model.parameters(), before, strict=True):
        assert torch.equal(parameter, original)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt"])
def test_truncation_is_the_best_of_its_rank(kind: str) -> None:
    stream = ResidualStream(build(kind))
    half, quarter = (LowRank(stream, share, {}) for share in (0.5, 0.25))
    before = [matrix_of(linear).clone() for linear in stream.linears(3)]
    assert quarter.rank(3) == 8
    with quarter.applied(3):
        for linear, original in zip(stream.linears(3), before, strict=True):
            matrix, values = matrix_of(linear), torch.linalg.svdvals(original)
            assert torch.linalg.matrix_rank(matrix, rtol=1e-4) == 8
            error = torch.linalg.norm(matrix - original)
            torch.testing.assert_close(error, values[8:].norm(), rtol=1e-3, atol=1e-5)  # Eckart & Young
    assert quarter.bytes_share(3) < half.bytes_share(3)
    assert not half.fits(2)


def test_small_ffns_keep_the_neurons_that_say_most() -> None:
    stream = ResidualStream(build("llama"))
    with torch.no_grad():
        matrix_of(stream.linears(3)[-1])[:, ::2] *= 1e-3  # what the even neurons add is little
    oracle = Oracle(stream, random_texts())
    activity = activity_of(oracle)
    assert activity.most(3, 0.5) == tuple(range(1, 48, 2))
    way = SmallFfn(stream, 0.5, activity)
    assert way.bytes_share(3) == 0.5
    assert measure(oracle, Change(frozenset(), {3: way}))[0] < measure(oracle, Change(frozenset({3}), {}))[0] / 100


def test_rounding_to_8_bits() -> None:
    matrix = torch.randn(5, 64)
    scale = matrix.abs().amax(1, keepdim=True) / 127
    assert bool(((rounded(matrix) - matrix).abs() <= scale / 2 + 1e-6).all())
    assert all(len(row.unique()) <= 255 for row in rounded(matrix))


def test_r_sparse_is_exact_with_all_channels_and_near_with_those_that_count() -> None:
    stream = ResidualStream(build("llama"))
    linear, x = stream.linears(2)[0], torch.randn(4, 32)
    expected = linear(x)
    with RSparse(stream, {}, 1.0, 0.05).applied(2):
        torch.testing.assert_close(linear(x), expected, rtol=1e-4, atol=1e-4)
    few = torch.where(torch.arange(32) < 12, x, x * 1e-4)
    expected = linear(few)
    with RSparse(stream, {}, 0.4, 0.05).applied(2):
        torch.testing.assert_close(linear(few), expected, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(linear(x), stream.linears(2)[0](x))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt", "gpt_neox"])
def test_the_model_of_a_plan_is_what_was_measured(kind: str) -> None:
    """Modules with factored and with fewer weights give the logits of the weights that stood in for them."""
    model, tokens = build(kind), random_texts().tokens
    changed = copy.deepcopy(model)
    stream = ResidualStream(model)
    neurons = matrix_of(stream.linears(5)[-1]).shape[1]
    rank, small = LowRank(stream, 0.5, {}), SmallFfn(stream, 0.5, Activity({5: torch.arange(float(neurons)) % 7}))
    change = Change(frozenset({4}), {3: rank, 5: small})
    plan = Plan("static", "apply", "", 1, 8, (4,), 0, None, None, 1, 1, change.ranks, None, change.neurons)
    apply_to_model(changed, plan)
    state = stream.attention
    with torch.no_grad(), silenced(changed, plan.skipped):
        found = changed(tokens).logits
        state.seen = None
        inputs = stream.inputs(tokens, torch.arange(tokens.shape[1]).expand_as(tokens))
        with all_applied(change.ways):
            expected = stream.logits(stream.run(inputs.hidden, inputs, 0, plan.skipped), inputs)
    assert found.shape[-1] == VOCABULARY
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_the_command_line_knows_every_kind() -> None:
    assert VARIANTS == ("full", "skip", *KINDS)

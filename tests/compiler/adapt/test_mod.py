"""Routed layers: what they compute, which are chosen, beside which others, and that batches take the gain away."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from compiler.adapt.costs import StepCosts
from compiler.adapt.depth_times import DepthTimes, tabled_times
from compiler.adapt.fit_routers import fit_ridge, fit_routers, routed_by
from compiler.adapt.layer_ranks import layer_ranks
from compiler.adapt.mod import ModDecision, decide_mod, step_time
from compiler.adapt.mod_rivals import by_rank, every_other
from compiler.adapt.oracle import Oracle
from compiler.adapt.routed import RoutedRuns
from compiler.adapt.stream import ResidualStream
from compiler.mod.arank import arank
from tests.compiler.adapt.conftest import build, random_texts, silence

LAYERS = 6


@pytest.fixture(scope="module")
def halves() -> tuple[Oracle, Oracle]:
    """(calibration, held out) oracles of a Llama of six layers of which layers 1 and 3 add nothing."""
    stream = ResidualStream(silence(build("llama", LAYERS, 0.3), {2, 3, 6, 7}))
    return Oracle(stream, random_texts(8, seed=1)), Oracle(stream, random_texts(8, seed=2))


def times(batch: int) -> DepthTimes:
    """Memory-bound: a step of any width costs the same."""
    return tabled_times(lambda _: StepCosts((1e6, 2e6) * LAYERS, 3e6), LAYERS, batch)


def gathered(model: object, tokens: Tensor, chosen: dict[int, Tensor]) -> Tensor:
    """The last stream [1, T, d] of one text through the model's own layers, each run on the chosen tokens alone."""
    inner = model.model  # type: ignore[attr-defined]
    hidden = inner.embed_tokens(tokens)
    for number, layer in enumerate(inner.layers):
        places = chosen[number].nonzero().flatten() if number in chosen else torch.arange(tokens.shape[1])
        taken = hidden[:, places]
        tables = inner.rotary_emb(taken, places.unsqueeze(0))
        mask = torch.full((len(places), len(places)), float("-inf")).triu(1).view(1, 1, len(places), -1)
        out = layer(taken, attention_mask=mask, position_embeddings=tables, position_ids=places.unsqueeze(0))
        hidden = hidden.clone()
        hidden[:, places] = out[0] if isinstance(out, tuple) else out
    return hidden


def test_tokens_pass_by_and_leave_no_key() -> None:
    model = build("llama", LAYERS, 0.3)
    reference = copy.deepcopy(model)
    oracle = Oracle(ResidualStream(model), random_texts(3))
    runs = RoutedRuns(oracle)
    chosen = runs.at_random({1: 0.5, 4: 0.3})
    assert all(0.2 < runs.share(taken) < 0.8 and taken[:, 0].all() for taken in chosen.values())
    streams: list[Tensor] = []
    keep, oracle.quality = oracle.quality, lambda hidden: (streams.append(hidden), keep(hidden))[1]
    kl, agreement = runs.quality(chosen)
    assert kl > 0.01
    assert 0 <= agreement < 1
    for text in range(3):
        end = int(oracle.texts.ends[text])
        with torch.no_grad():
            part = {layer: taken[text, :end] for layer, taken in chosen.items()}
            expected = gathered(reference, oracle.texts.tokens[text : text + 1, :end], part)
        torch.testing.assert_close(streams[0][text : text + 1, :end], expected, rtol=1e-4, atol=1e-4)


def test_nothing_routed_and_silent_layers_lose_nothing(halves: tuple[Oracle, Oracle]) -> None:
    runs = RoutedRuns(halves[0])
    assert runs.quality({})[0] < 1e-6
    everyone = torch.ones_like(runs.valid)
    assert runs.quality({2: everyone})[0] < 1e-6
    assert runs.quality(runs.at_random({1: 0.25, 3: 0.25})) == pytest.approx((0.0, 1.0), abs=1e-6)
    assert runs.quality(runs.at_random({2: 0.25}))[0] > 1e-3
    assert halves[0].measure(()).mean_kl < 1e-6  # the oracle is left as it was
    assert halves[0].lossy(())[0] < 1e-6


def test_thresholds_let_the_share_take_part(halves: tuple[Oracle, Oracle]) -> None:
    runs = RoutedRuns(halves[0])
    levels = runs.thresholds((0.25, 0.5))
    for capacity in (0.25, 0.5):
        taken = runs.above({2: levels[2][capacity]})[2]
        first = float((torch.arange(taken.shape[1]) == 0).expand_as(taken)[runs.valid].float().mean())
        assert capacity - 0.02 <= runs.share(taken) <= capacity + first + 0.02


def decide(halves: tuple[Oracle, Oracle], batch: int, budget: float) -> ModDecision:
    return decide_mod(*halves, times(batch), budget)


def test_layers_that_add_nothing_are_routed_and_beat_other_placements(halves: tuple[Oracle, Oracle]) -> None:
    found = decide(halves, 1, 1e-5)
    assert found.chosen.capacities == {1: 0.125, 3: 0.125}
    assert found.chosen.kl < 1e-5
    assert found.chosen.speedup == pytest.approx(21e6 / (21e6 - 6e6 * 0.875 + 2e3), rel=1e-3)
    assert [len(rival.capacities) for rival in found.rivals] == [2, 2, 2]
    assert {tuple(rival.capacities) for rival in found.rivals[1:]} != {(1, 3)}
    assert max(rival.kl for rival in found.rivals) > 1e-3


def test_a_budget_is_kept_by_the_combination_on_calibration_texts(halves: tuple[Oracle, Oracle]) -> None:
    found = decide(halves, 1, 0.3)
    assert set(found.chosen.capacities) > {1, 3}
    assert 0 < found.measured_kl <= 0.3
    assert found.selection.loss <= found.limit + 1e-9
    assert decide(halves, 1, 1e-5).chosen.speedup < found.chosen.speedup


def test_batches_take_the_gain_away(halves: tuple[Oracle, Oracle]) -> None:
    one, eight = (decide(halves, batch, 1e-5) for batch in (1, 8))
    assert eight.chosen.speedup < 1 + (one.chosen.speedup - 1) * 0.5
    assert eight.runs(8)[1] == pytest.approx(1 - 0.875**8)
    half = {1: 0.5, 3: 0.5}
    assert times(8).whole() / step_time(times(8), half) < 1.002
    assert times(1).whole() / step_time(times(1), half) > 1.15


def test_rivals_leave_out_as_many_tokens() -> None:
    ours = {1: 0.125, 2: 0.125, 4: 0.5}
    saved = sum(1 - k for k in ours.values())
    for theirs in (every_other(ours, 8), by_rank(ours, [9, 8, 7, 6, 5, 4, 3, 2])):
        assert sum(1 - k for k in theirs.values()) == pytest.approx(saved)
        assert not {0, 7} & set(theirs)
    assert list(by_rank(ours, [9, 8, 7, 6, 5, 4, 3, 2])) == [4, 5, 6]
    assert list(every_other({1: 0.5}, 8)) == [1, 3, 5]
    assert list(every_other(dict.fromkeys(range(1, 6), 0.125), 8)) == [1, 2, 3, 4, 5]


def test_layer_ranks_are_of_the_models_own_attention(halves: tuple[Oracle, Oracle]) -> None:
    model = build("llama", 3, 0.3)
    reference = copy.deepcopy(model)
    reference.set_attn_implementation("eager")
    oracle = Oracle(ResidualStream(model), random_texts(2))
    found = layer_ranks(oracle)
    sums = [0.0] * 3
    for text in range(2):
        with torch.no_grad():
            maps = reference(oracle.texts.tokens[text : text + 1, : oracle.texts.ends[text]], output_attentions=True)
        for layer, attention in enumerate(maps.attentions):
            sums[layer] += arank(attention) / 2
    assert found == pytest.approx(sums)


def test_routers_find_the_tokens_that_layers_change_most() -> None:
    """On texts that they have not seen: those that take a layer are changed more by it than those that pass by."""
    stream = ResidualStream(build("llama", LAYERS, 0.3))
    seen, fresh = (RoutedRuns(Oracle(stream, random_texts(24, seed=seed))) for seed in (1, 2))
    routers = fit_routers(seen, {2: 0.5, 4: 0.5})
    assert [router.layer for router in routers] == [2, 4]
    assert all(0.4 < seen.share(taken) < 0.7 for taken in routed_by(seen, routers).values())
    later = fresh.valid & (torch.arange(fresh.valid.shape[1]) > 0)  # the first token takes every layer
    for layer, taken in routed_by(fresh, routers).items():
        influence = fresh.influence[layer]
        assert influence[taken & later].mean() > 1.15 * influence[~taken & later].mean()
    everyone = {layer: torch.ones_like(fresh.valid) for layer in (2, 4)}
    assert fresh.quality(everyone)[0] < 1e-6  # the stream is left as it was


def test_ridge_regression_finds_a_line_and_ignores_noise() -> None:
    draw = np.random.default_rng(0)
    x, noise = draw.standard_normal((200, 10)) * 3 + 1, draw.standard_normal(200)
    line = x @ np.arange(10.0) + 2
    exact = fit_ridge(x, line)
    np.testing.assert_allclose(exact.weights, np.arange(10.0), atol=0.05)
    np.testing.assert_allclose(x @ exact.weights + exact.bias, line, atol=0.5)
    assert np.abs(fit_ridge(x, noise).weights).max() < 0.05
    left_out = fit_ridge(x, noise, (10.0,)).left_out
    for i in (0, 7):
        without = fit_ridge(np.delete(x, i, 0), np.delete(noise, i), (10.0,))
        assert left_out[i] == pytest.approx(x[i] @ without.weights + without.bias, abs=0.01)

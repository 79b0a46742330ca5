"""Routers fitted to a dense model: what its layers need is found, predicted and kept."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from compiler.mod.depth_decoder import DecoderShape, DepthDecoder
from compiler.mod.depths import MixtureOfDepths
from compiler.mod.mqar import IGNORED, RecallTask
from compiler.mod.recall import RecallOptions, route_recall, score_recall, train_recall
from compiler.mod.router_fit import fit_routers, log_odds, needs
from compiler.mod.transformer import Block, BlockShape

TASK = RecallTask(vocabulary=30, tokens=16, pairs=2, noise=False)
BLOCK = BlockShape(16, 2)
DENSE = DecoderShape(30, 16, (1.0, 1.0), BLOCK)


def dense(seed: int = 0) -> DepthDecoder:
    torch.manual_seed(seed)
    return DepthDecoder(DENSE).eval()


def test_needs_are_derivatives_by_gates() -> None:
    """One draw, one gate: against a difference quotient of the answers' log-odds."""
    model, place, change = dense(), (1, 4), 1e-2
    ids, labels = TASK.batch(2, torch.Generator().manual_seed(0))
    torch.manual_seed(3)
    needed = needs(model, ids, labels, draws=1)
    torch.manual_seed(3)
    gates = [1 - torch.rand(ids.shape) for _ in range(2)]
    with torch.no_grad():
        values: list[float] = []
        for sign in (1, -1):
            moved = gates[0].clone()
            moved[place] += sign * change
            values.append(float(log_odds(model, ids, labels, [moved, gates[1]])))
    slope = (values[0] - values[1]) / (2 * change)
    assert abs(slope) > 1e-3
    assert float(needed[0][place]) == pytest.approx(abs(slope), rel=0.05)


def test_open_gates_are_the_model() -> None:
    model = dense()
    ids, labels = TASK.batch(2, torch.Generator().manual_seed(0))
    with torch.no_grad():
        chances = model(ids).softmax(-1)
        own = chances.gather(2, labels.clamp(min=0).unsqueeze(2)).squeeze(2)[labels != IGNORED]
        found = log_odds(model, ids, labels, [torch.ones(ids.shape)] * 2)
    torch.testing.assert_close(found, (own / (1 - own)).log().sum())


def test_a_token_after_the_last_question_is_not_needed() -> None:
    ids, labels = TASK.batch(8, torch.Generator().manual_seed(0))
    last = (labels != IGNORED).int().cumsum(1).argmax(1)
    for need in needs(dense(), ids, labels):
        for row in range(8):
            assert float(need[row, last[row] + 1 :].sum()) == 0
            assert float(need[row, last[row]]) > 0


def test_fitted_routers_choose_what_is_needed() -> None:
    model, routed = dense(), DepthDecoder(dataclasses.replace(DENSE, capacities=(1.0, 0.25))).eval()
    ids, labels = TASK.batch(64, torch.Generator().manual_seed(0))
    fit_routers(routed, model, ids, labels)
    need = needs(model, ids, labels)[1]
    layer, original, first = routed.layers[1], model.layers[1], model.layers[0]
    assert isinstance(layer, MixtureOfDepths)
    assert isinstance(original, Block)
    assert isinstance(first, Block)
    x, positions = model.start(ids)
    chosen = layer.routed(x + first(x, positions), positions)[1]
    assert float(need[chosen].sum() / need.sum()) > 0.6  # a quarter of the tokens
    torch.testing.assert_close(layer.block.up.weight, original.up.weight)


@pytest.mark.slow
def test_half_of_the_tokens_are_enough_for_recall() -> None:
    task = RecallTask(vocabulary=80, tokens=64, pairs=4, noise=False)  # of tools/train_mqar.py
    options = RecallOptions(task, test_batches=8)
    shape = DecoderShape(80, 64, (1.0, 1.0), BlockShape(64, 1, theta=100.0))
    full, _ = train_recall(shape, options)
    routed = route_recall(dataclasses.replace(shape, capacities=(0.5, 0.5)), full, options)
    random = route_recall(dataclasses.replace(shape, capacities=(0.5, 0.5), random=True), full, options)
    whole, half, control = (score_recall(model, options) for model in (full, routed, random))
    assert whole.accuracy > 0.97
    assert half.accuracy > whole.accuracy - 0.02
    assert half.causal_accuracy > whole.accuracy - 0.02
    assert control.accuracy < 0.8

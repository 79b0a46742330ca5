"""Predicted step times: three layers stand for many, and what a nearer cache does to a repeated draft."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig

from compiler.adapt import predict
from compiler.adapt.bandwidth import interpolated
from compiler.adapt.costs import StepCosts
from compiler.adapt.predict import PlacedUse, Predictor, repeat_middle, three_layers
from compiler.adapt.speculation import pessimistic, speculate
from compiler.decode.step_module import StepShape
from compiler.driver import CompileOptions
from costmodel.in_place import InPlace, KernelUse

SMALL: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


def flat(footprint: float, rows: float) -> float:
    return 10.0


def test_three_layers_predict_what_all_layers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    model = AutoModelForCausalLM.from_config(LlamaConfig(num_hidden_layers=5, **SMALL)).eval()
    predictor = Predictor(InPlace(), flat, CompileOptions("analytic", cache=False))
    short = predictor.step_costs(model, StepShape(1, 2, 64))
    monkeypatch.setattr(predict, "three_layers", lambda _: None)
    whole = predictor.step_costs(model, StepShape(1, 2, 64))
    assert len(short.blocks) == 10
    np.testing.assert_allclose(short.blocks, whole.blocks, rtol=1e-9)
    assert short.rest == pytest.approx(whole.rest)


def test_layers_that_differ_are_all_taken() -> None:
    mixed = AutoModelForCausalLM.from_config(Gemma2Config(num_hidden_layers=4, **SMALL))
    assert three_layers(mixed) is None
    torch.manual_seed(0)
    uneven = AutoModelForCausalLM.from_config(LlamaConfig(num_hidden_layers=4, **SMALL))
    uneven.model.layers[2].mlp.up_proj = torch.nn.Linear(32, 48, bias=False)
    assert three_layers(uneven) is None


def test_the_middle_layer_is_repeated_in_order() -> None:
    use = KernelUse(1.0, 0.0, False)
    placed = [PlacedUse(use, block) for block in (None, 0, 1, 2, 2, 3, 4, 5, None)]
    blocks = [one.block for one in repeat_middle(placed, 5)]
    assert [b for b in blocks if b is None] == [None, None]
    assert sorted(b for b in blocks if b is not None) == [0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8, 9]


def test_a_repeated_draft_reads_from_where_its_weights_fit() -> None:
    def bandwidth(footprint: float, rows: float) -> float:
        return 40.0 if footprint <= 2e6 else 10.0

    fit = InPlace(read=1.0, alone=0.0, call_ns=0.0)
    weight = KernelUse(0.0, 1e6, True)
    costs = Predictor(fit, bandwidth, CompileOptions()).placed_costs([PlacedUse(weight, block) for block in range(8)])
    assert costs.blocks[0] == pytest.approx(1e5)  # 1 MB at 10 bytes a nanosecond
    assert costs.again is not None
    assert costs.again(frozenset(range(2, 8))) == pytest.approx(predict.HOST_NS + 2 * 1e6 / 40)
    assert costs.again(frozenset({7})) == pytest.approx(predict.HOST_NS + 7e5)


def test_drafts_behind_the_first_cost_what_repeating_costs() -> None:
    costs = StepCosts((10.0, 10.0), 5.0, spread=0.2, again=lambda skipped: 3.0)
    point = speculate(lambda _: costs, {1}, 0.5, 3)
    assert point.round_ns == pytest.approx(15.0 + 2 * 3.0 + 25.0)
    worst = pessimistic(lambda _: costs, {1})(1)
    assert worst.again is not None
    assert worst.again(frozenset({1})) == pytest.approx(3.6)


def test_bandwidth_is_interpolated_along_bytes_and_rows() -> None:
    points = [(1 << 20, 1, 40.0), (1 << 24, 1, 10.0), (1 << 20, 16, 8.0), (1 << 24, 16, 8.0)]
    bandwidth = interpolated(points)
    assert bandwidth(1 << 20, 1) == pytest.approx(40.0)
    assert bandwidth(1 << 22, 1) == pytest.approx(20.0)
    assert bandwidth(1 << 24, 4) == pytest.approx((10.0 * 8.0) ** 0.5)
    assert bandwidth(1 << 30, 64) == pytest.approx(8.0)

"""Predicted times of other ways to compute a sub-block: fewer bytes take less time, and only there."""

from __future__ import annotations

import pytest
from transformers import AutoModelForCausalLM, LlamaConfig

from compiler.adapt.alternatives import alternatives
from compiler.adapt.costs import StepCosts
from compiler.adapt.neurons import activity_of
from compiler.adapt.oracle import Oracle
from compiler.adapt.predict import Predictor
from compiler.adapt.stream import ResidualStream
from compiler.adapt.variant_times import predicted_times, times_by_bytes
from compiler.decode.step_module import StepShape
from compiler.driver import CompileOptions
from costmodel.in_place import InPlace
from tests.compiler.adapt.conftest import VOCABULARY, random_texts


def test_times_follow_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    config = LlamaConfig(
        hidden_size=128, intermediate_size=512, num_attention_heads=4, num_hidden_layers=4, vocab_size=VOCABULARY,
        max_position_embeddings=64,
    )  # fmt: skip
    slow_memory = Predictor(InPlace(alone=0.0), lambda *_: 1e-3, CompileOptions("analytic"))
    monkeypatch.setattr(Predictor, "here", lambda *_: slow_memory)
    model, shape = AutoModelForCausalLM.from_config(config), StepShape(1, 1, 8)
    plain = slow_memory.step_costs(model, shape)
    stream = ResidualStream(AutoModelForCausalLM.from_config(config).eval())
    oracle = Oracle(stream, random_texts())
    ways = alternatives(stream, lambda: activity_of(oracle), ("low-rank", "small-ffn", "int8"))
    times = predicted_times(model, stream, shape, ways, lambda _: None)
    for way in ways:
        for block in (3, 5):
            assert times(block, way) == pytest.approx(plain.blocks[block] * way.bytes_share(block), rel=0.1)
    for block in (2, 4):  # caches, here an eighth of what an attention reads, take their time as before
        assert 0.25 < times(block, ways[-1]) / plain.blocks[block] < 0.5
    by_bytes = times_by_bytes(lambda _: StepCosts((1.0, 2.0) * 4, 0.0))
    assert by_bytes(3, ways[0]) == 2 * ways[0].bytes_share(3)

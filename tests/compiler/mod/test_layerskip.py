"""LayerSkip training and growth, on a tiny Llama."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from compiler.mod.decoder import DecoderOptions, shallow_model, stages, train_stage, write_folder
from compiler.mod.growth import grow
from compiler.mod.layerskip import (
    LayerSkipOptions,
    dropout_rates,
    exit_logits,
    exit_weights,
    hidden_states,
    layerskip_loss,
    report_exits,
)
from compiler.mod.tokens import TokenData, token_data, train_tokenizer
from costmodel.errors import SeercError

TINY = DecoderOptions(
    hidden=16, ffn=32, heads=2, base_layers=2, growth=3, vocabulary=300, context=32, length=12, batch=2
)


def model(seed: int = 0) -> Any:
    return shallow_model(DecoderOptions(**{**TINY.__dict__, "seed": seed})).eval()


def ids(rows: int = 2) -> torch.Tensor:
    return torch.randint(300, (rows, 13), generator=torch.Generator().manual_seed(0))


def test_our_streams_are_those_of_transformers() -> None:
    llama, tokens = grow(model(), 2).eval(), ids()
    with torch.no_grad():
        expected = llama(tokens, output_hidden_states=True)
        streams = hidden_states(llama, tokens)
        torch.testing.assert_close(exit_logits(llama, streams[-1]), expected.logits)
        torch.testing.assert_close(streams[0], expected.hidden_states[1])


def test_attention_that_needs_a_mask_is_refused() -> None:
    llama = model()
    llama.set_attn_implementation("eager")
    with pytest.raises(ValueError, match="sdpa"):
        hidden_states(llama, ids())


def test_a_grown_model_is_the_shallow_one_at_every_exit() -> None:
    shallow, tokens = model(), ids()
    grown = grow(shallow, 3).eval()
    assert len(grown.model.layers) == grown.config.num_hidden_layers == 6
    with torch.no_grad():
        expected = shallow(tokens).logits
        assert torch.equal(grown(tokens).logits, expected)
        for stream in hidden_states(grown, tokens)[1:]:
            assert torch.equal(exit_logits(grown, stream), expected)
    copy, original = grown.model.layers[4].self_attn.q_proj.weight, shallow.model.layers[0].self_attn.q_proj.weight
    assert torch.equal(copy, original)  # G_stack: layer i is layer i mod 2
    assert grown.lm_head.weight is grown.model.embed_tokens.weight


def test_silent_layers_learn_and_dropped_ones_do_not() -> None:
    grown, tokens = grow(model(), 3), ids()
    layerskip_loss(grown, tokens, 0, LayerSkipOptions(dropout=0.0)).backward()
    assert float(grown.model.layers[5].mlp.down_proj.weight.grad.abs().max()) > 0
    grown.zero_grad()
    streams = hidden_states(grown, tokens, [0.0] * 5 + [1.0])
    assert torch.equal(streams[5], streams[4])


def test_dropout_skips_sequences_of_a_batch_apart() -> None:
    llama, tokens = model(), ids(64)
    with torch.no_grad():
        first, dropped = hidden_states(llama, tokens)[0], hidden_states(llama, tokens, [0.0, 0.5])
    kept = (dropped[1] != first).flatten(1).any(1)
    assert 10 < int(kept.sum()) < 54
    with torch.no_grad():
        torch.testing.assert_close(dropped[1][kept], hidden_states(llama, tokens)[1][kept])


def test_dropout_rises_from_nothing_to_the_rate() -> None:
    rates = dropout_rates(16, 0.2)
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(0.2)
    assert rates == sorted(rates)
    assert rates[5] == pytest.approx(0.2 * (2 ** (5 / 15) - 1))


def test_exit_weights_rotate_and_sum_to_one() -> None:
    options = LayerSkipOptions(every=4)
    active = [{i for i, w in enumerate(exit_weights(16, s, options)) if w} for s in range(4)]
    assert active == [{3, 7, 11, 15}, {0, 4, 8, 12, 15} - {0}, {1, 5, 9, 13, 15}, {2, 6, 10, 14, 15}]
    weights = exit_weights(16, 0, options)
    assert sum(weights) == pytest.approx(1)
    assert weights[3] / weights[7] == pytest.approx(6 / 28)  # e_l = e_scale (0 + 1 + ... + l)
    assert weights[3] / weights[15] == pytest.approx(6 / (15 + 105))


def test_report_of_a_grown_model() -> None:
    report = report_exits(grow(model(), 2).eval(), ids(3))
    assert [e.layer for e in report] == [1, 2, 3, 4]
    assert [e.agreement for e in report[1:]] == [1.0, 1.0, 1.0]
    assert report[1].loss == pytest.approx(report[3].loss)


def test_training_learns_stops_and_goes_on(tmp_path: Path) -> None:
    data = TokenData(torch.arange(5, 45).repeat(20).int(), torch.arange(5, 45).int())
    tokenizer = train_tokenizer(["a text of words, words of a text"], 300)
    stage = stages(TINY, 0.05, 0.5)[0]
    llama = model()
    train_stage(llama, data, stage, TINY, tmp_path / "run", lambda m: write_folder(m, tokenizer, tmp_path / "out"))
    lines = [json.loads(line) for line in (tmp_path / "run" / "train.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"]
    again = model(1)
    train_stage(again, data, stage, TINY, tmp_path / "run", lambda m: None)  # finished: only reads the checkpoint
    assert torch.equal(again.model.embed_tokens.weight, llama.model.embed_tokens.weight)
    assert again.lm_head.weight is again.model.embed_tokens.weight

    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(loaded.model.layers[1].mlp.up_proj.weight, llama.model.layers[1].mlp.up_proj.weight)
    read: Any = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert read.decode(read("of words").input_ids) == "of words"
    with pytest.raises(SeercError, match="other options"):
        train_stage(model(), data, stage, DecoderOptions(**{**TINY.__dict__, "batch": 3}), tmp_path / "run", print)


def test_token_data_is_kept(tmp_path: Path) -> None:
    from compiler.mod.installed_text import Corpus

    corpus = Corpus(("one two", "three"), ("four",), ())
    tokenizer = train_tokenizer(corpus.train, 300)
    data = token_data(corpus, tokenizer, tmp_path)
    text = tokenizer.decode(data.train.tolist())
    assert text == "one two<|end|>three<|end|>"
    kept = token_data(Corpus((), (), ()), None, tmp_path)
    assert torch.equal(kept.train, data.train)
    windows = TokenData(torch.arange(50).int(), torch.arange(50).int()).held_out_windows(3, 4)
    assert windows[:, 0].tolist() == [0, 22, 45]

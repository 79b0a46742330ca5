"""The oracle against what decoding really does: caches of the full model, steps of a model with silenced sub-blocks."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from compiler.adapt.alternatives import Int8, all_applied
from compiler.adapt.int8_drafts import Int8Drafts
from compiler.adapt.oracle import Measured, Oracle
from compiler.adapt.rounds import rates_of
from compiler.adapt.speculation import expected_tokens
from compiler.adapt.stream import ResidualStream
from costmodel.errors import SeercError
from tests.compiler.adapt.conftest import CONFIGS, build, random_texts, silence

SKIPPED = (2, 5)


def full_cache(model: Any, tokens: Tensor) -> DynamicCache:
    cache = DynamicCache(config=model.config)
    if tokens.shape[1]:
        model(tokens, past_key_values=cache, use_cache=True)
    return cache


@pytest.mark.parametrize("kind", CONFIGS)
def test_nothing_skipped_is_the_model(kind: str) -> None:
    model, texts = build(kind), random_texts()
    with torch.no_grad():
        expected = model(texts.tokens).logits
        stream = ResidualStream(model)
        oracle = Oracle(stream, texts)
        found = stream.logits(oracle.rows.hidden[-1], oracle.rows.inputs)
    at = oracle.rows.inputs.positions
    for text in range(len(at)):
        torch.testing.assert_close(found[text], expected[text, at[text]], rtol=1e-4, atol=1e-4)
    assert oracle.measure(()).acceptance == 1.0
    assert oracle.measure(()).mean_kl < 1e-6


@pytest.mark.parametrize("kind", CONFIGS)
def test_draft_equals_one_decode_step_on_the_full_cache(kind: str) -> None:
    model, texts = build(kind), random_texts()
    draft = silence(copy.deepcopy(model), set(SKIPPED))
    steps: dict[tuple[int, int], Tensor] = {}
    with torch.no_grad():
        for text in range(len(texts.starts)):
            for slot in range(int(texts.ends[text] - texts.starts[text])):
                at = int(texts.starts[text]) - 1 + slot
                tokens = texts.tokens[text : text + 1]
                cache = full_cache(model, tokens[:, :at])
                steps[text, slot] = draft(tokens[:, at : at + 1], past_key_values=cache, use_cache=True).logits[0, 0]
        stream = ResidualStream(model)
        oracle = Oracle(stream, texts)
        oracle.attend_to(oracle.rows)
        hidden = stream.run(oracle.rows.hidden[0], oracle.rows.inputs, 0, SKIPPED)
        found = stream.logits(hidden, oracle.rows.inputs)
    for (text, slot), expected in steps.items():
        torch.testing.assert_close(found[text, slot], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "opt"])
def test_steps_compose_to_the_run(kind: str) -> None:
    stream = ResidualStream(build(kind))
    oracle = Oracle(stream, random_texts())
    oracle.attend_to(oracle.rows)
    rows = oracle.rows
    with torch.no_grad():
        hidden = entry = rows.hidden[0]
        for block in range(stream.blocks):
            entry = hidden if block % 2 == 0 else entry
            hidden = hidden if block in SKIPPED else stream.step(block, hidden, entry, rows.inputs)
        torch.testing.assert_close(hidden, stream.run(rows.hidden[0], rows.inputs, 0, SKIPPED), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_matchness_reads_the_drafts_own_keys_inside_the_window(kind: str) -> None:
    model, texts = build(kind), random_texts()
    draft = silence(copy.deepcopy(model), set(SKIPPED))
    window, hits, count = 4, 0, 0
    with torch.no_grad():
        for text in range(len(texts.starts)):
            start, tokens = int(texts.starts[text]) - 1, texts.tokens[text : text + 1]
            made = tokens[:, start : start + window]
            logits = draft(made, past_key_values=full_cache(model, tokens[:, :start]), use_cache=True).logits
            target = model(tokens).logits[:, start : start + window]
            hits += int((logits.argmax(-1) == target.argmax(-1)).sum())
            count += window
    assert Oracle(ResidualStream(model), texts).matchness(SKIPPED, window) == pytest.approx(hits / count)


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "opt"])
def test_lossy_is_the_silenced_model(kind: str) -> None:
    model, texts = build(kind), random_texts()
    changed = silence(copy.deepcopy(model), set(SKIPPED))
    with torch.no_grad():
        full, lossy = (torch.log_softmax(m(texts.tokens).logits, -1) for m in (model, changed))
        kl = (full.exp() * (full - lossy)).sum(-1)
    oracle = Oracle(ResidualStream(model), texts)
    at, valid = oracle.rows.inputs.positions, oracle.rows.valid
    assert oracle.lossy(SKIPPED)[0] == pytest.approx(float(kl.gather(1, at)[valid].mean()), rel=1e-3)


def test_two_oracles_of_one_stream_do_not_disturb_each_other() -> None:
    stream = ResidualStream(build("llama"))
    first, second = Oracle(stream, random_texts(seed=1)), Oracle(stream, random_texts(4, seed=2))
    alone = Oracle(ResidualStream(build("llama")), random_texts(seed=1)).measure(SKIPPED).mean_kl
    second.measure((3,))
    second.lossy((3,))
    assert first.measure(SKIPPED).mean_kl == pytest.approx(alone, rel=1e-5)


def test_fewer_positions_are_spread_over_each_continuation() -> None:
    oracle = Oracle(ResidualStream(build("llama")), random_texts())
    rows = oracle.select(3)
    assert rows.valid.all()
    first = oracle.texts.starts - 1
    assert torch.equal(rows.inputs.positions[:, 0], first)
    assert bool((rows.inputs.positions.diff(dim=1) > 0).all())
    assert bool((rows.inputs.positions[:, -1] < oracle.texts.ends - 1).all())


def test_acceptance_by_position_follows_runs() -> None:
    agrees = np.array([[True, True, False, True, True, True]])
    measured = Measured(frozenset(), agrees, agrees * 1.0, agrees * 0.0, np.ones_like(agrees), agrees * 1.0, 1 - agrees)
    # starts 0 to 5 agree at 5 of 6; of the agreeing ones with a next position, 0, 1, 3, 4: three agree again.
    assert measured.by_position(2) == pytest.approx((5 / 6, 3 / 4))
    assert measured.acceptance == pytest.approx(5 / 6)


def test_other_models_are_refused() -> None:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=9)
    with pytest.raises(SeercError, match="BertLayer has no FFN"):
        ResidualStream(BertForMaskedLM(config))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_drafts_with_rounded_weights(kind: str) -> None:
    """Measured as a model whose weights are rounded in place, over the exact model's keys and values."""
    stream = ResidualStream(build(kind))
    texts, before = random_texts(), {n: p.detach().clone() for n, p in stream.model.named_parameters()}
    exact, drafts = Oracle(stream, texts), Oracle(stream, texts, Int8Drafts(stream))
    way, blocks = Int8(stream), range(stream.blocks + 1)
    for skipped in ((), (4,), (2, 5)):
        found = drafts.measure(skipped)
        assert found.mean_kl > 0
        assert found.mean_kl != exact.measure(skipped).mean_kl
        with all_applied({block: way for block in blocks}):
            rows = drafts.rows
            drafts.attend_to(rows)
            with torch.no_grad():
                logits = stream.logits(stream.run(rows.hidden[0], rows.inputs, 0, skipped), rows.inputs)
        agrees = (logits.argmax(-1) == exact._next).numpy()
        assert (found.agrees == agrees)[found.valid].all()
    assert all(torch.equal(p, before[n]) for n, p in stream.model.named_parameters() if n in before)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("length", [1, 3])
def test_rounds_are_those_of_decoding(kind: str, length: int) -> None:
    """Tokens a round of drafts that go on from the full model's cache, round after round."""
    longest, model, texts = 3, build(kind), random_texts(16, made=14)
    draft = silence(copy.deepcopy(model), set(SKIPPED))
    found: list[int] = []
    with torch.no_grad():
        full = model(texts.tokens).logits.argmax(-1)
        for text in range(len(texts.starts)):
            tokens, at = texts.tokens[text : text + 1], int(texts.starts[text]) - 1
            while at <= int(texts.ends[text]) - 1 - longest:
                cache, accepted = full_cache(model, tokens[:, :at]), 0
                for place in range(at, at + length):
                    logits = draft(tokens[:, place : place + 1], past_key_values=cache, use_cache=True).logits
                    if logits[0, 0].argmax() != full[text, place]:
                        break
                    accepted += 1
                found.append(accepted + 1)
                at += accepted + 1
        rates = Oracle(ResidualStream(model), texts).run_acceptance(SKIPPED, longest)
    assert expected_tokens(rates, length) == pytest.approx(np.mean(found))
    assert 0 < rates[0] < 1


def test_rates_give_the_tokens_back() -> None:
    tokens = [1.8, 2.4, 2.9, 3.0]
    assert [expected_tokens(rates_of(tokens), k) for k in range(1, 5)] == pytest.approx(tokens)
    assert rates_of([1.5, 1.4])[1] == pytest.approx(0, abs=1e-6)  # longer rounds are not better


def test_rounds_longer_than_the_texts_fall_back_to_the_mean() -> None:
    oracle = Oracle(ResidualStream(build("llama")), random_texts(3))
    assert oracle.run_acceptance(SKIPPED, 20) == (oracle.measure(SKIPPED).acceptance,)

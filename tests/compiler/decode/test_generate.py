"""Generation step by step: order of the tokens, ends, ragged acceptance, the end of the cache, errors."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.decode.decoder import Decoder
from compiler.decode.export import DecoderOptions
from compiler.decode.generate import Draft, Request, Statistics, generate, planned_draft
from costmodel.errors import SeercError
from tests.compiler.decode.decode_models import (
    PROMPTS,
    MarkovDecoder,
    build,
    eager_decoder,
    generated,
    reference,
)

NEXT = np.eye(5)[[1, 2, 3, 4, 0]]
"""After token t comes t + 1."""
DRAFT = np.eye(5)[[1, 2, 0, 4, 0]]
"""Wrong after 2."""


def chain(batch: int, context: int = 64) -> MarkovDecoder:
    decoder = MarkovDecoder(NEXT, DRAFT, batch, (1, 3))
    decoder.context = context
    return decoder


def test_tokens_come_one_by_one_without_a_draft() -> None:
    parts = list(generate(chain(2), [[0], [3]], Request(3)))  # type: ignore[arg-type]
    assert parts == [[[1], [4]], [[2], [0]], [[3], [1]]]


def test_tokens_come_round_by_round_with_a_draft() -> None:
    statistics = Statistics()
    parts = list(generate(chain(2), [[0], [2]], Request(6), Draft((0,), 2), statistics))  # type: ignore[arg-type]
    assert parts == [[[1, 2, 3], [3]], [[4, 0, 1], [4, 0, 1]], [[], [2, 3]]]
    # the last round wants two tokens, one of them the full model's: it drafts one
    assert (statistics.rounds, statistics.drafted, statistics.accepted) == (3, 9, 7)
    assert statistics.acceptance == pytest.approx(7 / 9)


SURE = np.log([[0.01, 0.97, 0.01, 0.01], [0.01, 0.01, 0.97, 0.01], [0.2, 0.2, 0.2, 0.4], [0.97, 0.01, 0.01, 0.01]])
"""The draft is right, but not sure of what comes after 2."""


def test_a_draft_ends_with_the_token_that_it_is_not_sure_of() -> None:
    decoder, statistics = MarkovDecoder(np.eye(4)[[1, 2, 3, 0]], SURE, 1, (1, 2, 4, 8)), Statistics()
    parts = list(generate(decoder, [[0]], Request(9), Draft((0,), 7, 0.8), statistics))  # type: ignore[arg-type]
    assert parts == [[[1, 2, 3, 0]], [[1, 2, 3, 0]], [[1]]]  # 3 is drafted, 0 is the full model's
    assert (statistics.rounds, statistics.drafted, statistics.accepted) == (2, 6, 6)  # the last token is a plain step's


def test_a_batch_drafts_while_one_sequence_is_sure() -> None:
    decoder, statistics = MarkovDecoder(np.eye(4)[[1, 2, 3, 0]], SURE, 2, (1, 2, 4, 8)), Statistics()
    parts = list(generate(decoder, [[2], [3]], Request(5), Draft((0,), 7, 0.8), statistics))  # type: ignore[arg-type]
    assert parts == [[[3, 0, 1, 2, 3], [0, 1, 2, 3, 0]]]
    assert (statistics.rounds, statistics.drafted) == (1, 8)


def test_widths_that_verify() -> None:
    assert Draft((0,), 5).widths == (6,)
    assert Draft((0,), 25, 0.8).widths == (2, 4, 8, 16, 26)
    assert Draft((0,), 1, 0.8).widths == (2,)
    assert Draft((0,), 7, 0.8).widths == (2, 4, 8)


@pytest.mark.parametrize("draft", [None, Draft((0,), 2)])
def test_an_end_token_ends_its_sequence_only(draft: Draft | None) -> None:
    decoder = chain(3)
    prompts = [[0], [3], [4]]
    assert generated(decoder, prompts, Request(4, (3, 1)), draft) == [[1], [4, 0, 1], [0, 1]]


@pytest.mark.parametrize("draft", [None, Draft((1,), 2)])
def test_end_tokens_as_in_transformers(draft: Draft | None) -> None:
    model = build("qwen2")
    decoder = eager_decoder(model, DecoderOptions(2, 32, (1, 3), 4, skippable=True))
    free = [reference(model, prompt, 12) for prompt in PROMPTS]
    end = (free[0][3], free[1][7])
    expected = [reference(model, prompt, 12, end) for prompt in PROMPTS]
    assert len(expected[0]) <= 4
    assert len(expected[1]) <= 8
    assert generated(decoder, PROMPTS, Request(12, end), draft) == expected


@pytest.mark.parametrize("draft", [None, Draft((0, 1), 2)])
def test_the_cache_may_be_filled_to_its_end(draft: Draft | None) -> None:
    model = build("llama")
    decoder = eager_decoder(model, DecoderOptions(1, 16, (1, 3), 4, skippable=True))
    count = 16 - len(PROMPTS[0]) + 1
    assert generated(decoder, PROMPTS[:1], Request(count), draft) == [reference(model, PROMPTS[0], count)]
    with pytest.raises(SeercError, match="holds 16 tokens and is full"):
        generated(decoder, PROMPTS[:1], Request(count + 1), draft)


def test_a_full_but_ended_sequence_does_not_stop_the_others() -> None:
    model = build("llama")
    decoder = eager_decoder(model, DecoderOptions(2, len(PROMPTS[0]), (1,), 4))
    end = (reference(model, PROMPTS[0], 1)[0],)
    expected = [reference(model, prompt, 6, end) for prompt in PROMPTS]
    assert list(map(len, expected)) == [1, 6]
    assert generated(decoder, PROMPTS, Request(6, end)) == expected


def test_a_decoder_starts_anew() -> None:
    decoder = eager_decoder(build("llama"), DecoderOptions(2, 32, (1,), 4))
    first = generated(decoder, PROMPTS, Request(5))
    generated(decoder, PROMPTS[::-1], Request(5))
    assert generated(decoder, PROMPTS, Request(5)) == first


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return eager_decoder(build("llama"), DecoderOptions(1, 16, (1, 3), 4, skippable=True))


@pytest.mark.parametrize(
    ("prompts", "draft", "message"),
    [
        ([[1]], Draft((1,), 3), "need a step of width 4"),
        ([[1]], Draft((4,), 2), "no sub-block 4 to skip: this decoder has 0 to 3"),
        ([[1]], Draft((-1,), 2), "no sub-block -1"),
        ([[1], [2]], None, "takes 1 prompts of at least one token, got 2"),
        ([[]], None, "at least one token"),
        ([[1] * 17], None, "17 tokens, the cache holds 16"),
        ([[1, 260]], None, "token 260 of a prompt is not among the 260"),
        ([[-1]], None, "token -1"),
    ],
)
def test_what_cannot_be_generated(
    decoder: Decoder, prompts: list[list[int]], draft: Draft | None, message: str
) -> None:
    with pytest.raises(SeercError, match=message):
        next(generate(decoder, prompts, Request(1), draft))


def test_steps_that_the_decoder_lacks(decoder: Decoder) -> None:
    with pytest.raises(SeercError, match="no step of width 2: this decoder has 1, 3"):
        decoder.step(np.zeros((1, 2), np.int64))
    decoder.rewind(0)
    with pytest.raises(SeercError, match="run all sub-blocks"):
        decoder.step(np.zeros((1, 3), np.int64), np.zeros(4, np.bool_))


def test_drafts_of_plans() -> None:
    plan = {"decision": "apply", "method": "skip", "skipped": [3, 5], "draft_length": 2}
    assert planned_draft(plan) == Draft((3, 5), 2)
    assert planned_draft({**plan, "decision": "refuse"}) is None
    assert planned_draft({**plan, "stop_below": 0.8}) == Draft((3, 5), 2, 0.8)
    assert planned_draft({**plan, "method": "static"}) is None
    assert planned_draft(None) is None
    for wrong, message in (
        ({**plan, "method": "other"}, "method other"),
        ({**plan, "stop_below": 1.5}, "stops below a probability"),
        ({**plan, "stop_below": "x"}, "damaged"),
        ({**plan, "draft_length": 0}, "at least one token"),
        ({**plan, "draft_length": "x"}, "damaged"),
        ({**plan, "skipped": None}, "damaged"),
        ({"decision": "apply"}, "damaged"),
    ):
        with pytest.raises(SeercError, match=message):
            planned_draft(wrong)

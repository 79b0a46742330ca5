"""Greedy tokens are those of transformers' `generate`, architecture by architecture, plain and with drafts."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.decode.build import compile_decoder
from compiler.decode.decoder import Decoder
from compiler.decode.export import DecoderOptions
from compiler.decode.generate import Draft, Request, Statistics
from compiler.decode.source import Source, load_source
from compiler.driver import CompileOptions
from tests.compiler.decode.decode_models import MODELS, PROMPTS, build, eager_decoder, generated, reference

COUNT = 16
CONTEXT = 32
DRAFTS = (None, Draft((1,), 2), Draft((0, 3), 2), Draft((1,), 2, 0.5))


def check(model: Any, decoder: Decoder, prompts: tuple[list[int], ...]) -> None:
    """All drafts give the tokens of transformers."""
    expected = [reference(model, prompt, COUNT) for prompt in prompts]
    assert len(set(expected[0])) > 2  # one token repeated would prove little
    for draft in DRAFTS:
        statistics = Statistics()
        assert generated(decoder, prompts, Request(COUNT), draft, statistics) == expected
        assert (statistics.rounds > 0) == (draft is not None)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_steps_that_pytorch_runs(name: str, batch: int) -> None:
    model = build(name)
    check(model, eager_decoder(model, DecoderOptions(batch, CONTEXT, (1, 3), 4, skippable=True)), PROMPTS[:batch])


def test_compiled_steps(llama: Any, compiled: Any) -> None:
    check(llama, compiled.decoder(1), PROMPTS)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_compiled_steps_of_every_architecture(name: str, batch: int) -> None:
    model = build(name)
    options = DecoderOptions(batch, CONTEXT, (1, 3), 4, skippable=True)
    made = compile_decoder(Source(name, None, model, None), options, CompileOptions(), print)  # type: ignore[arg-type]
    check(model, made.decoder(1), PROMPTS[:batch])


@pytest.mark.slow
def test_smollm2() -> None:
    source = load_source("zoo:smollm2")
    prompt = source.tokenizer("The compiler reads the model, and")["input_ids"]
    options = DecoderOptions(1, 64, (1, 4), 16, skippable=True)
    decoder = compile_decoder(source, options, CompileOptions(), print).decoder()
    for draft in (None, Draft((22, 27), 3)):
        assert generated(decoder, [prompt], Request(16), draft) == [reference(source.model, prompt, 16)]


def test_learned_positions_beyond_the_table_are_not_read() -> None:
    """The last prefill step is filled up beyond the context, which is all that the model has positions for."""
    model = build("gpt2")
    prompt = [i * 7 % 250 for i in range(61)]
    decoder = eager_decoder(model, DecoderOptions(1, 64, (1,), 48))
    assert generated(decoder, [prompt], Request(4)) == [reference(model, prompt, 4)]

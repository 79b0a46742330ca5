"""Decoders with routed layers: compiled steps against transformers models that read whole texts, routed alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from compiler.adapt.plan import Plan, Router
from compiler.decode.build import compile_decoder, planned_options
from compiler.decode.check import differences
from compiler.decode.folder import CompiledDecoder, load_decoder
from compiler.decode.generate import Request, generate
from compiler.decode.routed_decoder import RoutedDecoder
from compiler.decode.routers import gate, room, routed
from compiler.decode.source import Source
from compiler.driver import CompileOptions
from costmodel.errors import SeercError
from tests.compiler.decode.decode_models import CLASSES, MODELS, PROMPTS, SIZES

CONTEXT = 96  # a cache of capacity .5 has room for 64
LAYERS = {"num_hidden_layers": 4, "n_layer": 4, "max_position_embeddings": 128, "n_positions": 128}


def build(name: str) -> Any:
    kind, fields = MODELS[name]
    torch.manual_seed(0)
    fields = {**SIZES, **fields, **LAYERS}
    config = getattr(transformers, f"{kind}Config")(**fields)
    return getattr(transformers, CLASSES.get(kind, f"{kind}ForCausalLM"))(config).eval()


def random_routers(biases: dict[int, float], scale: float = 1.0) -> tuple[Router, ...]:
    draw = np.random.default_rng(1)
    return tuple(
        Router(layer, 0.5, bias, tuple((scale * draw.standard_normal(32)).tolist())) for layer, bias in biases.items()
    )


def plan_of(routers: Sequence[Router], batch: int) -> dict[str, Any]:
    plan = Plan("mod", "apply", "", batch, CONTEXT, (), 0, None, None, 1.0, 1.0, routers=tuple(routers))
    return asdict(plan)


def compiled(model: Any, routers: Sequence[Router], batch: int = 2) -> CompiledDecoder:
    plan = plan_of(routers, batch)
    options = planned_options(plan, batch, CONTEXT)
    return compile_decoder(
        Source("m", Path(), model, None), options, CompileOptions(cost_model="none"), lambda _: None, plan
    )


def texts_of(decoder: RoutedDecoder, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    texts: list[list[int]] = [[] for _ in prompts]
    for part in generate(decoder, prompts, Request(tokens)):
        for text, new in zip(texts, part, strict=True):
            text += new
    return texts


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("gpt2", "opt", "qwen2")]


@pytest.fixture(scope="module")
def made() -> CompiledDecoder:
    """Layer 2 of a Llama routed, two sequences."""
    return compiled(build("llama"), random_routers({2: 0.0}))


@pytest.mark.parametrize("name", ["llama", "gpt-neox", *SLOW])
def test_text_is_that_of_the_routed_model(name: str) -> None:
    model, routers = build(name), random_routers({1: 0.0, 2: 0.1})
    decoder = compiled(model, routers).decoder(1)
    assert isinstance(decoder, RoutedDecoder)
    texts = texts_of(decoder, PROMPTS, 20)
    taken = decoder.own_lengths / decoder.lengths
    assert 0.1 < taken.mean() < 0.9  # both ways are taken
    assert not differences(model, PROMPTS, texts, Request(20), routers, CONTEXT)
    assert differences(model, PROMPTS, texts, Request(20))  # the plain model says something else


def test_a_full_cache_takes_no_more_tokens() -> None:
    model, routers = build("llama"), random_routers({1: 100.0, 2: -100.0})
    decoder = compiled(model, routers, batch=1).decoder(1)
    assert isinstance(decoder, RoutedDecoder)
    texts = texts_of(decoder, PROMPTS[:1], 80)
    assert decoder.own_lengths.tolist() == [[64], [1]]  # the first token takes every layer
    assert not differences(model, PROMPTS[:1], texts, Request(80), routers, CONTEXT)


def test_a_saved_decoder_goes_on(made: CompiledDecoder, tmp_path: Path) -> None:
    expected = texts_of(made.decoder(1), PROMPTS, 6)  # type: ignore[arg-type]
    made.save(tmp_path / "decoder")
    loaded = load_decoder(tmp_path / "decoder")
    assert loaded.plan == made.with_plan(made.plan or {}).plan
    assert texts_of(loaded.decoder(1), PROMPTS, 6) == expected  # type: ignore[arg-type]
    with pytest.raises(SeercError, match="mod plan"):
        loaded.with_plan(plan_of(random_routers({1: 0.0}), 2))


def test_tokens_cannot_be_forgotten_alone(made: CompiledDecoder) -> None:
    decoder = made.decoder(1)
    decoder.prefill(PROMPTS)
    lengths = decoder.lengths.copy()
    with pytest.raises(SeercError, match="whole sequences"):
        decoder.rewind(lengths - 1)
    decoder.rewind(np.where([True, False], 0, lengths))
    assert isinstance(decoder, RoutedDecoder)
    assert decoder.lengths.tolist() == [0, lengths[1]]
    assert decoder.own_lengths[0, 0] == 0


def test_gates_go_in_order_and_end_with_the_room() -> None:
    scores = torch.tensor([[-1.0, 1.0, -1.0, 2.0, 3.0]])
    first = torch.tensor([[True, False, False, False, False]])
    assert gate(scores, first, torch.tensor([0]), 64).tolist() == [[True, True, False, True, True]]
    assert gate(scores, first, torch.tensor([61]), 64).tolist() == [[True, True, False, True, False]]
    assert not gate(scores, first, torch.tensor([64]), 64).any()
    assert [room(Router(1, k, 0.0, ()), 512) for k in (0.125, 0.25, 1.0)] == [64, 128, 512]


def test_routers_of_another_model_and_other_masks_are_refused() -> None:
    model = build("llama")
    with pytest.raises(SeercError, match="another model"), routed(model, [Router(9, 0.5, 0.0, (0.0,) * 32)], CONTEXT):
        pass
    with routed(model, random_routers({1: 0.0}), CONTEXT), pytest.raises(SeercError, match="eager"):
        model(input_ids=torch.tensor([[5, 6, 7]]))
    assert "seerc_router" not in dict(model.named_buffers())
    model(input_ids=torch.tensor([[5, 6, 7]]))


def test_without_routers_a_model_may_have_any_structure() -> None:
    with routed(torch.nn.Linear(2, 2), (), CONTEXT) as nothing:
        assert nothing is None

"""Decoders with 8-bit weights against transformers models whose weights are rounded."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compiler.adapt.lossy_model import apply_to_model
from compiler.adapt.plan import Plan
from compiler.decode.build import compile_decoder
from compiler.decode.export import DecoderOptions
from compiler.decode.folder import CompiledDecoder, load_decoder
from compiler.decode.generate import Draft, Request, Statistics, generate
from compiler.decode.int8 import int8_matrices
from compiler.decode.source import Source
from compiler.driver import CompileOptions
from costmodel.errors import SeercError
from tests.compiler.decode.decode_models import PROMPTS, build, eager_decoder, generated

DRAFT = Draft((), 2, int8=True)
OPTIONS = DecoderOptions(batch=1, context=32, widths=(1, 3), prefill=4, int8=(3, 0, 1, 2))
PROMPT = [7, 0, 200, 31, 99, 4, 250]


@pytest.mark.parametrize(
    "kind",
    ["llama", "gpt2", pytest.param("opt", marks=pytest.mark.slow), pytest.param("gpt-neox", marks=pytest.mark.slow)],
)
def test_logits_are_those_of_rounded_weights(kind: str) -> None:
    model, whole = build(kind), build(kind)
    compiled = compile_decoder(Source(kind, Path(), model, None), OPTIONS, CompileOptions("none"), lambda _: None)
    apply_to_model(model, Plan("static", "apply", "", 1, 32, (), 0, None, None, 1, 1, int8=(0, 1, 2, 3)))
    plain = DecoderOptions(batch=1, context=32, widths=(1, 3), prefill=4)
    decoders = [compiled.decoder(1), eager_decoder(model, plain), eager_decoder(whole, plain)]
    for tokens in ([[5]], [[1, 2, 3]]):
        for decoder in decoders:
            decoder.prefill([PROMPT])
        got, expected, exact = (decoder.step(np.array(tokens)).copy() for decoder in decoders)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
        assert np.abs(exact - expected).max() > 1e-3  # rounding is not lost on the way


def test_widths_share_the_integers_and_nothing_reads_the_floats(tmp_path: Path) -> None:
    model = build("llama")
    compiled = compile_decoder(Source("l", Path(), model, None), OPTIONS, CompileOptions("none"), lambda _: None)
    specs = compiled.programs[0].manifest.weights
    matrices = int8_matrices(model, OPTIONS.int8)
    assert len(matrices) == 2 * 7
    integers = {spec.name.rpartition("#")[0] for spec in specs if spec.dtype == "i8"}
    assert integers == {f"model.{name}.view.int8.1" for name in matrices}
    left = {
        name
        for spec in specs
        if spec.dtype == "f32"
        for name in matrices
        if spec.name.startswith(f"model.{name}.view#")
    }
    assert not left
    assert all(torch.isfinite(p).all() for p in model.parameters())
    compiled.save(tmp_path / "decoder")
    assert len({path.stat().st_ino for path in (tmp_path / "decoder").glob("step-*/weights*")}) == 1


def tied() -> Any:
    """A Llama whose head reads the table of its embedding."""
    model = build("llama")
    model.lm_head.weight = model.model.embed_tokens.weight
    return model


def rounded_whole(model: Any) -> Any:
    """Every sub-block and the head of two layers in 8 bits."""
    apply_to_model(model, Plan("static", "apply", "", 1, 32, (), 0, None, None, 1, 1, int8=(0, 1, 2, 3, 4)))
    return model


@pytest.fixture(scope="module")
def drafting() -> CompiledDecoder:
    options = DecoderOptions(batch=2, context=32, widths=(1, 3), prefill=4, draft_int8=True)
    return compile_decoder(Source("tied", Path(), tied(), None), options, CompileOptions("none"), lambda _: None)


def test_only_drafts_have_rounded_weights(drafting: CompiledDecoder) -> None:
    plain = DecoderOptions(batch=2, context=32, widths=(1, 3), prefill=4)
    model = tied()
    compiled, exact, rough = drafting.decoder(1), eager_decoder(tied(), plain), eager_decoder(model, plain)
    for decoder in (compiled, exact, rough):
        decoder.prefill(PROMPTS)  # drafts read the keys and values of the exact model
    rounded_whole(model)
    ids = np.array([[5], [9]])
    expected, other = exact.step(ids).copy(), rough.step(ids).copy()
    np.testing.assert_allclose(compiled.step(ids), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(compiled.draft(ids), other, rtol=1e-4, atol=1e-4)
    assert np.abs(expected - other).max() > 1e-3


def test_text_is_that_of_plain_decoding(drafting: CompiledDecoder, tmp_path: Path) -> None:
    drafting.save(tmp_path / "decoder")
    statistics = Statistics()
    expected = generated(drafting.decoder(1), PROMPTS, Request(8))
    for compiled in (drafting, load_decoder(tmp_path / "decoder")):
        assert generated(compiled.decoder(1), PROMPTS, Request(8), DRAFT, statistics) == expected
    assert statistics.acceptance > 0.5


def test_drafts_of_other_weights_are_refused(drafting: CompiledDecoder) -> None:
    with pytest.raises(SeercError, match="does not draft with f32 weights"):
        next(generate(drafting.decoder(1), PROMPTS, Request(1), Draft((), 2)))
    plan = {"decision": "apply", "method": "skip", "skipped": [], "draft_length": 2, "int8": [0, 1, 2, 3, 4]}
    assert drafting.with_plan(plan).plan == plan
    for wrong in ({**plan, "int8": []}, {**plan, "skipped": [1]}):
        with pytest.raises(SeercError, match="was not compiled for the plan"):
            drafting.with_plan(wrong)


@pytest.mark.parametrize("changes", [{"skipped": (4,)}, {"int8": (5,)}, {"int8": (-1,)}])
@pytest.mark.parametrize("method", ["skip", "static"])
def test_plans_of_other_models_are_refused_before_compiling(method: str, changes: dict[str, tuple[int, ...]]) -> None:
    plan = dataclasses.replace(Plan(method, "apply", "", 1, 32, (), 2, None, None, 1, 1), **changes)  # type: ignore[arg-type]
    with pytest.raises(SeercError, match="plan is of another model"):
        apply_to_model(build("llama"), plan)


def test_a_tied_head_is_rounded_and_its_table_is_not() -> None:
    model = tied()
    table = model.model.embed_tokens.weight.detach().clone()
    rounded_whole(model)
    assert torch.equal(model.model.embed_tokens.weight, table)
    assert not torch.equal(model.lm_head.weight, table)
    assert torch.allclose(model.lm_head.weight, table, atol=float(table.abs().max()) / 100)

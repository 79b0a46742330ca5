"""Decoders with 8-bit weights against transformers models whose weights are rounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from compiler.adapt.lossy_model import apply_to_model
from compiler.adapt.plan import Plan
from compiler.decode.build import compile_decoder
from compiler.decode.export import DecoderOptions
from compiler.decode.int8 import int8_matrices
from compiler.decode.source import Source
from compiler.driver import CompileOptions
from tests.compiler.decode.decode_models import build, eager_decoder

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

"""Every zoo model under the default cost model: no fallback, and what PyTorch computes."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.check import TOLERANCE, program_error
from compiler.driver import CompileOptions, compile_model
from compiler.frontend.load import load_model
from compiler.zoo import MODELS
from compiler.zoo.registry import is_installed

LARGE = {"smollm2", "crepe"}


def _program(name: str):
    if not is_installed(MODELS[name]):
        pytest.skip(f"the wheel of {name} is not installed: make zoo")
    loaded = load_model(f"zoo:{name}")
    return loaded, compile_model(loaded.imported, CompileOptions(jobs=2))


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in MODELS])
def test_model_agrees_with_pytorch_without_a_fallback(name):
    loaded, program = _program(name)
    assert program.plan["fallbacks"] == 0
    assert program_error(program, loaded, 1) < TOLERANCE
    assert program_error(program, loaded, 2) < TOLERANCE


def test_minilm_similarities_are_pytorchs():
    loaded, program = _program("minilm")
    ids, mask = loaded.example_inputs
    sentences = [ids, np.roll(ids, 3, axis=1)]
    ours = [program(s, mask)[0].ravel() for s in sentences]
    theirs = [loaded.eager(s, mask)[0].ravel() for s in sentences]
    assert abs(_cosine(*ours) - _cosine(*theirs)) < 1e-5


@pytest.mark.slow
def test_smollm2_greedy_tokens_are_pytorchs():
    loaded, program = _program("smollm2")
    ids = np.array(loaded.example_inputs[0])
    for shift in range(3):
        moved = np.roll(ids, shift, axis=1)
        ours, theirs = program(moved)[0], loaded.eager(moved)[0]
        np.testing.assert_array_equal(ours.argmax(-1), theirs.argmax(-1))


def _cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))

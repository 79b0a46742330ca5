"""The comparison with transformers finds what differs, where, and whether rounding explains it."""

from __future__ import annotations

from compiler.decode.check import Difference, differences
from compiler.decode.generate import Request
from tests.compiler.decode.decode_models import PROMPTS, build, reference

MODEL = build("llama")
REQUEST = Request(6)
TEXTS = [reference(MODEL, prompt, 6) for prompt in PROMPTS]


def test_equal_texts() -> None:
    assert differences(MODEL, PROMPTS, TEXTS, REQUEST) == []


def test_another_token() -> None:
    wrong = [TEXTS[0], [*TEXTS[1][:2], (TEXTS[1][2] + 1) % 250, *TEXTS[1][3:]]]
    (found,) = differences(MODEL, PROMPTS, wrong, REQUEST)
    assert (found.prompt, found.token) == (1, 2)
    assert found.gap is not None
    assert found.gap > 1e-3
    assert not found.tie


def test_a_shorter_text() -> None:
    assert differences(MODEL, PROMPTS, [TEXTS[0][:4], TEXTS[1]], REQUEST) == [Difference(0, 4, None)]


def test_ties() -> None:
    assert Difference(0, 1, 5e-4).tie
    assert not Difference(0, 1, None).tie

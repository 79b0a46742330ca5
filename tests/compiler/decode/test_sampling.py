"""Sampled tokens have the distribution that they should: transformers' warpers, speculation exact and by count."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from compiler.decode.generate import Draft, Request, Statistics
from compiler.decode.sampling import Sampling
from costmodel.errors import SeercError
from tests.compiler.decode.decode_models import MarkovDecoder, generated

GRID = 840
"""Divisible by 1 to 8: midpoints of so many intervals measure any share of eighths exactly."""


class Scripted:
    """Random numbers that were chosen before."""

    def __init__(self, *numbers: float) -> None:
        self._numbers = list(numbers)

    def random(self, shape: tuple[int, ...] | None = None) -> Any:
        number = self._numbers.pop(0)
        return number if shape is None else np.full(shape, number)


@given(
    seed=st.integers(0, 2**32 - 1),
    temperature=st.floats(0.1, 3),
    top_k=st.integers(0, 12),
    top_p=st.floats(0.05, 0.999),
)
def test_probabilities_are_those_of_transformers(seed: int, temperature: float, top_k: int, top_p: float) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, (3, 10))
    scores: Any = torch.from_numpy(logits.copy())
    scores = TemperatureLogitsWarper(temperature)(None, scores)  # type: ignore[arg-type]
    scores = TopKLogitsWarper(top_k)(None, scores) if top_k else scores  # type: ignore[arg-type]
    expected = TopPLogitsWarper(top_p)(None, scores).softmax(-1).numpy()  # type: ignore[arg-type]
    found = Sampling(temperature, top_k, top_p).probabilities(logits)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)


def test_extreme_options() -> None:
    logits = np.array([[1e30, -1e30, 0.0], [1.0, 2.0, 3.0]], np.float32)
    for sampling in (Sampling(1e-300), Sampling(1.0, top_k=1), Sampling(1.0, top_p=1e-9)):
        assert sampling.choose(logits) == [0, 2]
    assert Sampling().choose(logits) == [0, 2]


@pytest.mark.parametrize("options", [(-1.0,), (float("nan"),), (1.0, -1), (1.0, 0, 0.0), (1.0, 0, 1.5), (1, 0, 1, -1)])
def test_wrong_options(options: tuple[Any, ...]) -> None:
    with pytest.raises(SeercError, match="at least 0"):
        Sampling(*options)


def test_a_seed_repeats() -> None:
    logits = np.zeros((50, 7), np.float32)
    assert Sampling(1.0, seed=3).choose(logits) == Sampling(1.0, seed=3).choose(logits)
    assert Sampling(1.0, seed=3).choose(logits) != Sampling(1.0, seed=4).choose(logits)


def eighths(size: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Distributions over `size` tokens in eighths."""
    cuts = st.lists(st.integers(0, 8), min_size=size - 1, max_size=size - 1).map(sorted)
    return cuts.map(lambda c: tuple(b - a for a, b in zip([0, *c], [*c, 8], strict=True)))


def accept(token: int, drafted: tuple[int, ...], full: tuple[int, ...], *numbers: float) -> list[int]:
    sampling = Sampling(1.0)
    object.__setattr__(sampling, "_random", Scripted(*numbers))
    rows = np.array([full, full]) / 8
    return sampling.accept(np.array([token]), [np.array(drafted) / 8], rows)


@settings(max_examples=15)
@given(st.integers(2, 4).flatmap(lambda size: st.tuples(eighths(size), eighths(size))))
def test_the_accepted_token_has_exactly_the_full_models_distribution(
    pair: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    drafted, full = pair
    points = (np.arange(GRID) + 0.5) / GRID
    found: Counter[int] = Counter()
    for token, weight in enumerate(drafted):
        if not weight:
            continue
        taken = sum(len(accept(token, drafted, full, u, 0.5)) == 2 for u in points)
        share = Fraction(weight, 8)
        found[token] += share * Fraction(taken, GRID)
        if taken < GRID:  # the largest number is one that rejects
            others = Counter(accept(token, drafted, full, points[-1], u)[0] for u in points)
            for other, count in others.items():
                found[other] += share * Fraction(GRID - taken, GRID) * Fraction(count, GRID)
    assert [found[token] for token in range(len(full))] == [Fraction(weight, 8) for weight in full]


def test_distributions_that_are_equal_but_for_rounding() -> None:
    """The rejection of a token that the models' rounding makes a little less likely leaves nothing to draw from."""
    sampling = Sampling(1.0)
    object.__setattr__(sampling, "_random", Scripted(np.nextafter(1.0, 0), 0.9))
    p, q = np.array([0.5, 0.5]), np.array([np.nextafter(0.5, 1), 0.5])
    assert sampling.accept(np.array([0]), [q], np.array([p, p])) == [1]


@given(st.lists(st.integers(0, 2), min_size=3, max_size=3), st.lists(st.integers(0, 2), min_size=4, max_size=4))
def test_greedy_acceptance_is_the_common_beginning_and_one_more(draft: list[int], full: list[int]) -> None:
    count = next((i for i in range(3) if draft[i] != full[i]), 3)
    assert Sampling().accept(np.array(draft), [], np.array(full)) == full[: count + 1]


FULL = np.log([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5], [0.35, 0.25, 0.4]])
DRAFT = np.log([[0.2, 0.5, 0.3], [0.3, 0.3, 0.4], [0.05, 0.05, 0.9]])


@pytest.mark.parametrize("draft", [None, Draft((0,), 1), Draft((0,), 3), Draft((0,), 3, 0.45)])
@pytest.mark.parametrize("options", [(1.0, 0, 1.0), (0.7, 2, 1.0), (1.3, 0, 0.8)])
def test_sampled_texts_have_the_full_models_distribution(
    options: tuple[float, int, float], draft: Draft | None
) -> None:
    """Chi-square over all texts of four tokens; seeded, so the outcome is fixed."""
    batch, length = 6000, 4
    decoder = MarkovDecoder(FULL, DRAFT, batch, (1, 2, 4))
    statistics = Statistics()
    texts = generated(decoder, [[0]] * batch, Request(length, (), Sampling(*options, seed=11)), draft, statistics)
    rows = Sampling(*options).probabilities(FULL)
    expected = {
        text: float(np.prod([rows[a, b] for a, b in zip((0, *text), text, strict=False)]))
        for text in product(range(3), repeat=length)
    }
    possible = {text: p for text, p in expected.items() if p > 0}
    found = Counter(map(tuple, texts))
    assert found.keys() <= possible.keys()
    assert chisquare([found[text] for text in possible], [p * batch for p in possible.values()]).pvalue > 0.01
    if draft is not None:
        assert 0.1 < statistics.acceptance < 0.95  # neither branch is left out

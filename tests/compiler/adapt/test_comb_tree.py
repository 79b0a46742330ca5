"""SWIFT's draft tree on rounds whose outcome is known."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.adapt.comb_tree import CombRound, comb_rounds, speculate_comb
from compiler.adapt.confidence_stop import draft_chances
from compiler.adapt.oracle import Measured
from tests.compiler.adapt.test_confidence_stop import correlated
from tests.compiler.adapt.test_speculation import flat


def one_text(confidence: list[float], rank: list[int]) -> Measured:
    ranks = np.array([rank])
    nothing = np.zeros(ranks.shape, np.float32)
    agrees, valid = ranks == 0, np.ones(ranks.shape, np.bool_)
    return Measured(frozenset({1}), agrees, nothing, nothing, valid, np.array([confidence]), ranks)


@pytest.mark.parametrize(
    ("confidence", "rank", "expected"),
    [
        ([0.99, 0.9, 0.6, 0.9], [0, 0, 0, 0], CombRound(4, 3, 1 + 3 + 5 + 8)),  # stops behind the third, all accepted
        ([0.99, 0.9, 0.6, 0.9], [0, 0, 7, 0], CombRound(4, 3, 17)),  # the third is among its eight candidates
        ([0.99, 0.9, 0.6, 0.9], [0, 0, 8, 0], CombRound(3, 3, 17)),  # it is not
        ([0.99, 0.9, 0.6, 0.9], [2, 0, 0, 0], CombRound(2, 3, 17)),  # the first is, and ends its round
        ([0.99, 0.99, 0.99, 0.2], [0, 0, 0, 0], CombRound(5, 4, 1 + 9 + 10)),  # never unsure before the last
    ],
)
def test_rounds(confidence: list[float], rank: list[int], expected: CombRound) -> None:
    assert comb_rounds(one_text(confidence, rank), 0.8, 4) == [expected]


def test_a_tree_yields_more_tokens_and_costs_wider_steps() -> None:
    measured = correlated(2)  # wrong tokens have rank 1, so they are always among the candidates
    chain = draft_chances(measured, 25, 0.8).expected_tokens
    free, dear = (speculate_comb(flat(10, growth), range(2, 8), measured, 0.8) for growth in (0.0, 0.1))
    assert chain < free.tokens_per_round < chain + 1
    assert dear.speedup < free.speedup

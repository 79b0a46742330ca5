"""Duo-LLM's oracle: all programs are the ones meant, and no other choice beats it."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.adapt.duo_oracle import all_programs, by_budget
from compiler.adapt.oracle import Oracle
from compiler.adapt.stream import ResidualStream
from costmodel.errors import SeercError
from tests.compiler.adapt.conftest import build, random_texts, silence

LAYERS = (1, 2, 4)


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    """A Llama of six layers; the FFN of layer 2 adds nothing."""
    return Oracle(ResidualStream(silence(build("llama", 6, 0.3), {5})), random_texts(4))


def test_every_program_leaves_out_what_its_bits_say(oracle: Oracle) -> None:
    losses = all_programs(oracle, LAYERS)
    assert losses.shape == (8, int(oracle.rows.valid.sum()))
    for program in range(8):
        skipped = {2 * layer + 1 for bit, layer in enumerate(LAYERS) if not program >> bit & 1}
        assert losses[program].mean() == pytest.approx(oracle.lossy(skipped)[0], rel=1e-3, abs=1e-6)


def test_budgets_are_in_order(oracle: Oracle) -> None:
    losses = all_programs(oracle, LAYERS)
    rows = by_budget(losses, LAYERS)
    assert [row.big for row in rows] == [0, 1, 2, 3]
    for row in rows:
        assert row.per_token <= row.best <= min(row.knapsack, row.late)
        assert len(row.knapsack_set) == len(row.best_set) == row.big
    assert rows[2].best_set == rows[2].knapsack_set == (1, 4)  # the silent FFN goes first
    assert rows[2].best < 1e-6
    assert rows[1].late == pytest.approx(losses[0b100].mean())
    assert rows[1].per_token == pytest.approx(np.minimum.reduce([losses[1], losses[2], losses[4]]).mean())


def test_too_many_layers_are_refused(oracle: Oracle) -> None:
    with pytest.raises(SeercError, match="12 layers"):
        all_programs(oracle, range(13))

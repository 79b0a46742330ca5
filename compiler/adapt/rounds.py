"""What rounds of drafts yield that follow one another, from what a round would yield at every position."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def tokens_per_round(texts: Sequence[Sequence[int]], length: int) -> float:
    """Mean over the rounds of texts, each round starting where the one before it ended.

    Args:
        texts: by text and position, how many drafts of a round that starts there are accepted.
        length: drafts a round.
    """
    rounds = tokens = 0
    for accepted in texts:
        at = 0
        while at < len(accepted):
            found = min(accepted[at], length) + 1
            rounds, tokens, at = rounds + 1, tokens + found, at + found
    return tokens / rounds


def rates_of(tokens: Sequence[float]) -> tuple[float, ...]:
    """a_1, a_2, ... for which 1 + a_1 + a_1 a_2 + ... are the tokens of a round of one draft, of two, ..."""
    gains = np.clip(np.diff([1.0, *tokens]), 1e-9, 1.0)
    return tuple(np.minimum(gains / np.array([1.0, *gains[:-1]]), 1.0).tolist())

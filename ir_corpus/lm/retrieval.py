"""Finding the counterpart of a text among others by mean pooled hidden states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ir_corpus.lm.scoring import BATCH_TOKENS, Scorer
from ir_corpus.lm.tokenizer import END


def embed(scorer: Scorer, texts: Sequence[str]) -> NDArray[np.float64]:
    """(texts, hidden): the mean over the tokens of the last layer, of the first window of each text."""
    network = scorer.model.network
    rows: list[NDArray[np.float64]] = []
    ids = [[scorer.sentinels[END], *i][: scorer.window] for i in scorer.encode(texts)]
    count = max(1, BATCH_TOKENS // scorer.window)
    for start in range(0, len(ids), count):
        batch = ids[start : start + count]
        padded = torch.zeros((len(batch), max(map(len, batch))), dtype=torch.long)
        mask = torch.zeros(padded.shape)
        for i, row in enumerate(batch):
            padded[i, : len(row)], mask[i, : len(row)] = torch.tensor(row), 1.0
        with torch.inference_mode():
            hidden = network.base_model(input_ids=padded.to(network.device), use_cache=False).last_hidden_state
            hidden, mask = hidden.float().cpu(), mask[:, :, None]
            rows.append(((hidden * mask).sum(1) / mask.sum(1)).double().numpy())
    return np.concatenate(rows) if rows else np.zeros((0, 1))


def mean_reciprocal_rank(queries: NDArray[np.float64], items: NDArray[np.float64]) -> float:
    """Mean of 1 / rank of item i for query i, by cosine after each side's mean is taken away; ties count against it.

    Args:
        queries, items: both (n, hidden), row i of one belongs to row i of the other.
    """
    q, k = _normalised(queries), _normalised(items)
    similarity = q @ k.T
    own = np.diag(similarity)[:, None]
    ranks = (similarity >= own - 1e-12).sum(axis=1)
    return float((1.0 / ranks).mean())


def chance(n: int) -> float:
    """The mean reciprocal rank of a random order of n items."""
    return float((1.0 / np.arange(1, n + 1)).mean()) if n else 0.0


def _normalised(x: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = x - x.mean(axis=0, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)

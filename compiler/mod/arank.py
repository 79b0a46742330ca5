"""ARank of gamma-MoD (Luo et al., arXiv 2410.13859): how much the tokens of a layer attend to different things."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def arank(attention: Tensor) -> float:
    """Mean rank of attention maps over samples and heads.

    Args:
        attention: causal probabilities [B, H, T, T].

    As the paper's code: float32, the diagonal zeroed, the default tolerance of torch.linalg.matrix_rank.
    """
    below = attention.float().tril(-1)
    return float(torch.linalg.matrix_rank(below).float().mean())


def lowest_rank_layers(ranks: Sequence[float], count: int) -> list[int]:
    """The `count` layers that the paper would make MoD layers: those of the lowest ARank, in order."""
    return sorted(sorted(range(len(ranks)), key=lambda layer: ranks[layer])[:count])

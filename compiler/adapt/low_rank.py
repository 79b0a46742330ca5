"""Matrices truncated by singular value decomposition."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Factors:
    """matrix ~ left @ right, the best of its rank (Eckart & Young): [m, r], [r, n]."""

    left: Tensor
    right: Tensor


def factors_of(matrix: Tensor, rank: int) -> Factors:
    """The truncated decomposition of a matrix [m, n]; singular values, largest first, are in `left`."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return Factors((left[:, :rank] * values[:rank]).contiguous(), right[:rank].contiguous())


def rank_of(matrix: Tensor, share: float) -> int:
    """The rank that is this share of the full one, at least 1."""
    return max(1, round(min(matrix.shape) * share))

"""Muon in float32.

torch.optim.Muon orthogonalises in bfloat16, which takes ten times as long on processors without instructions for it
and gives other results on each of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised (Jordan et al. 2024, kellerjordan.github.io/posts/muon), for matrices alone."""

    def __init__(self, matrices: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        """
        Args:
            matrices: parameters [m, n].
            lr: largest singular value of an update of a square matrix; times sqrt(m / n) for tall ones.
            momentum: of the gradients.
        """
        super().__init__(matrices, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update from the gradients that are there; `closure` is not called."""
        for group in self.param_groups:
            for matrix in (p for p in group["params"] if p.grad is not None):
                average = self.state[matrix].setdefault("average", torch.zeros_like(matrix))
                average.lerp_(matrix.grad, 1 - group["momentum"])
                update = orthogonal(torch.lerp(matrix.grad, average, group["momentum"]))
                matrix.sub_(update, alpha=group["lr"] * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """U V^T of a matrix U S V^T, nearly (singular values .7 to 1.2), by a quintic Newton-Schulz iteration."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    found = wide / wide.norm().clamp(min=1e-7)
    first, third, fifth = _COEFFICIENTS
    for _ in range(_STEPS):
        gram = found @ found.T
        found = first * found + (third * gram + fifth * gram @ gram) @ found
    return found.T if matrix.shape[0] > matrix.shape[1] else found

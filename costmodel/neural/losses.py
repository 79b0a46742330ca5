"""What training minimises: Huber on standardised metrics, and LambdaRank among the candidates of a task."""

from __future__ import annotations

import torch
from torch import Tensor

from costmodel.neural.labels import LOSS_WEIGHT

NOISE = 0.02
"""Pairs whose speeds differ by less are ties."""
STEEPNESS = 4.0


def huber(outputs: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over rows (n, m) of metrics that are known; labels hold NaN elsewhere."""
    known = torch.isfinite(labels)
    loss = torch.nn.functional.smooth_l1_loss(outputs, torch.where(known, labels, 0.0), reduction="none", beta=0.5)
    scale = known * weight[:, None] * torch.tensor(LOSS_WEIGHT, device=outputs.device)
    return (loss * scale).sum() / scale.sum().clamp(min=1e-6)


def lambda_rank(order: Tensor, speed: Tensor, tasks: Tensor) -> Tensor:
    """Mean pairwise logistic loss, weighted by the change of NDCG that swapping the pair makes (Burges 2010).

    Args:
        order: (n,), lower is predicted faster.
        speed: (n,), 1 for a task's fastest candidate.
        tasks: (n,), only candidates of one task are compared.
    """
    first, second = torch.nonzero(tasks[:, None] == tasks[None, :], as_tuple=True)
    with torch.no_grad():
        ahead = (order[second] < order[first]).float()
        place = torch.zeros_like(order).index_add(0, first, ahead)
        discount = 1.0 / torch.log2(2.0 + place)
    better = speed[first] > speed[second] + NOISE
    first, second = first[better], second[better]
    gain = (speed[first] - speed[second]) * (discount[first] - discount[second]).abs()
    loss = torch.nn.functional.softplus(STEEPNESS * (order[first] - order[second]))
    return (gain * loss).sum() / gain.sum().clamp(min=1e-6)

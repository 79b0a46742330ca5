"""SPAM: Adam that clips spiked gradients and forgets its moments at times (Huang et al., arXiv 2501.06842).

Functions on a torch optimizer of the Adam family, of the step alone: a resumed run does exactly the same.
"""

from __future__ import annotations

import math

import torch

THRESHOLD = 5000.0
"""A gradient is a spike where its square is so many times its second moment (paper, section 4.2)."""
RESET = 500
"""Steps between resets of the moments (Delta T of the paper)."""
WARM_UP = 150
"""Steps after a reset in which the learning rate comes back along a cosine."""


def clip_spikes(optimizer: torch.optim.Optimizer) -> int:
    """Clip every spiked entry g to sign(g) sqrt(THRESHOLD v); how many were. Entries without a moment yet are kept."""
    count = 0
    for parameter in (p for group in optimizer.param_groups for p in group["params"] if p.grad is not None):
        second = optimizer.state.get(parameter, {}).get("exp_avg_sq")
        if second is None:
            continue
        spiked = (second > 0) & (parameter.grad**2 > THRESHOLD * second)
        count += int(spiked.sum())
        most = parameter.grad.sign() * (THRESHOLD * second).sqrt()
        parameter.grad.copy_(torch.where(spiked, most, parameter.grad))
    return count


def reset_moments(optimizer: torch.optim.Optimizer, step: int) -> None:
    """Set the moments and their bias correction to zero where `step` (0-based) is a multiple of RESET."""
    if step == 0 or step % RESET:
        return
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, torch.Tensor):
                value.zero_()


def rate_factor(step: int) -> float:
    """What the learning rate is multiplied with: the cosine warm-up after a reset, 1 elsewhere."""
    since = step % RESET
    if step < RESET or since >= WARM_UP:
        return 1.0
    return 0.5 * (1.0 - math.cos(math.pi * (since + 1) / WARM_UP))

"""Mixture of depths (Raposo et al., arXiv 2404.02258): a block that only some tokens of a sequence go through.

Expert choice: a linear router scores the tokens, the `capacity * T` best of each sequence take part. Their number is
fixed, so shapes are static. The output is x + r f(x) for those, x for the others.

Two things differ from the paper. r is a gate, sigmoid(w^T x + b), open at the start; and it gates both ways: log r is
added to the attention logits of the token as a key. In the paper r scales only what a token receives, so that one from
which others read (the answer in a recall task) gives its router no gradient, and leaving it out changes a lot at once.
Here a token with r near 0 is as good as left out. Routers are fitted before tokens are left out (`router_fit`).

What is exact: with `forward`, tokens keep their order and true positions, and those that do not take part leave no key
and no value. Top-k looks at the whole sequence: a token's part in a block may depend on later tokens, so `forward` is
for training, scoring and prefill. `forward_causal` decides for each token alone: it takes part if its score is above
the mean of the k-th largest ones of the training. That is what decoding token by token with a key-value cache computes.
It takes the capacity's share on average only, and agrees with top-k as far as sequences are alike. The paper trains a
predictor for this; with gates as the scores the router is one (measured by tools/train_mqar.py).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compiler.mod.transformer import Block

_OPEN = 3.0
"""Logit of r at the start: .95."""
_TRACKING = 0.05
"""Weight of a new batch in the running mean of the threshold."""


def capacity_tokens(capacity: float, tokens: int) -> int:
    """How many of `tokens` take part: rounded up, at least 1."""
    return max(1, min(tokens, math.ceil(capacity * tokens - 1e-9)))


def top_k_mask(scores: Tensor, count: int) -> Tensor:
    """Which positions hold the `count` largest scores of each row; of equal ones the earlier. bool [B, T].

    By comparing all pairs, which every backend can lower and vectorise: torch.topk has no linalg.
    """
    positions = torch.arange(scores.shape[1], device=scores.device)
    ours, theirs = scores.unsqueeze(2), scores.unsqueeze(1)
    earlier = positions.unsqueeze(0) < positions.unsqueeze(1)
    ahead = (theirs > ours) | ((theirs == ours) & earlier)
    return ahead.to(torch.int64).sum(2) < count


def slots(chosen: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Where the chosen tokens go and where they came from.

    Args:
        chosen: bool [B, T], `count` true in each row.

    Returns:
        For each position the slot of its token, or that of the chosen one before it [B, T]; and for each slot the
        position of its token, ascending [B, count].
    """
    tokens = chosen.shape[1]
    positions = torch.arange(tokens, device=chosen.device)
    before = positions.unsqueeze(0) <= positions.unsqueeze(1)
    through = (chosen.unsqueeze(1) & before).to(torch.int64).sum(2)
    places = torch.arange(count, device=chosen.device)
    origin = (through.unsqueeze(1) <= places.view(1, count, 1)).to(torch.int64).sum(2)
    return (through - 1).clamp(min=0), origin


def key_mask(scores: Tensor) -> Tensor:
    """For causal attention among the tokens: log r of each as a key, -inf for later ones. [B, T] -> [B, T, T]"""
    tokens = scores.shape[1]
    later = torch.ones(tokens, tokens, dtype=torch.bool, device=scores.device).triu(1)
    return F.logsigmoid(scores).unsqueeze(1).expand(-1, tokens, -1).masked_fill(later, float("-inf"))


class MixtureOfDepths(nn.Module):
    """A block behind a router. `random` routes by noise: the control of the paper."""

    threshold: Tensor
    """Score from which a token takes part in `forward_causal`, a scalar; tracked in training."""

    def __init__(self, block: Block, capacity: float, random: bool = False) -> None:
        """
        Args:
            block: what the chosen tokens go through; `block(x, positions)` is f(x).
            capacity: share of the tokens of a sequence that it takes, in (0, 1].

        Raises:
            ValueError: the capacity is out of range.
        """
        super().__init__()
        if not 0 < capacity <= 1:
            raise ValueError(f"a capacity is a share of the tokens in (0, 1], got {capacity}")
        width = block.shape.width
        self.block, self.capacity, self.random = block, capacity, random
        self.router = nn.Linear(width, 1)
        nn.init.normal_(self.router.weight, std=0.1 / width**0.5)
        nn.init.constant_(self.router.bias, _OPEN)
        self.register_buffer("threshold", torch.zeros(()))

    def scores(self, x: Tensor) -> Tensor:
        """Logits of r [B, T]."""
        return self.router(x).squeeze(-1)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """x + r f(x) for the chosen tokens, x for the others [B, T, d]; positions [T]."""
        return self.routed(x, positions)[0]

    def routed(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The output, and which tokens took part, bool [B, T]."""
        count = capacity_tokens(self.capacity, x.shape[1])
        scores = self.scores(x)
        chosen = top_k_mask(torch.randn_like(scores) if self.random else scores.detach(), count)
        if self.training:
            self._track(scores.detach(), chosen)
        slot, origin = slots(chosen, count)
        taken = torch.gather(x, 1, origin.unsqueeze(-1).expand(-1, -1, x.shape[2]))
        added = self.block(taken, positions[origin], key_mask(scores.gather(1, origin)))
        back = torch.gather(added, 1, slot.unsqueeze(-1).expand(-1, -1, x.shape[2]))
        return x + back * (scores.sigmoid() * chosen).unsqueeze(-1), chosen

    def forward_causal(self, x: Tensor, positions: Tensor) -> Tensor:
        """As `forward`, but whether a token takes part depends on it alone."""
        scores = self.scores(x)
        chosen = torch.rand_like(scores) < self.capacity if self.random else scores >= self.threshold
        absent = ~chosen.unsqueeze(1) & ~torch.eye(x.shape[1], dtype=torch.bool)  # itself: softmax needs one key
        added = self.block(x, positions, key_mask(scores).masked_fill(absent, float("-inf")))
        return x + added * (scores.sigmoid() * chosen).unsqueeze(-1)

    def _track(self, scores: Tensor, chosen: Tensor) -> None:
        """Moves the threshold to the lowest score that was chosen."""
        lowest = scores.masked_fill(~chosen, float("inf")).amin(1).mean()
        self.threshold.lerp_(lowest, _TRACKING)

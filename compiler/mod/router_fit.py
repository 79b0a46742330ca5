"""Routers for a trained dense model: each learns to say which tokens its layer needs, before any is left out.

What a layer needs of a token is measured by its gate r (`compiler.mod.depths`): how much the log-odds of the answers
depend on it, |d log-odds / d r|, averaged over random gates of all tokens. (At r = 1 alone a saturated softmax hides
what is read.) The router is fitted so that sigmoid(score) > 1/2 means that the token is needed and among the k most
needed, by binary cross entropy: the auxiliary loss of the MoD paper (arXiv 2404.02258, section 3.5), but with a target
from the dense model in place of the router's own top-k. As in Router-Tuning (arXiv 2410.13184), the rest of the model
stays as it is meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compiler.mod.depth_decoder import DepthDecoder
from compiler.mod.depths import MixtureOfDepths, capacity_tokens, top_k_mask

_STEPS, _RATE = 200, 0.05
_LEAST = 0.05
"""Share of the largest need of a sequence below which a token is not needed."""


def needs(dense: DepthDecoder, ids: Tensor, labels: Tensor, draws: int = 8) -> list[Tensor]:
    """By layer of a model without routers: the mean of |d log-odds / d r| over random gates, [B, T].

    Args:
        dense: the model.
        ids: token ids [B, T].
        labels: the answers [B, T], -100 where none is asked for.
        draws: of gates, uniform in (0, 1).
    """
    sums = [torch.zeros(ids.shape) for _ in dense.layers]
    for _ in range(draws):
        gates = [(1 - torch.rand(ids.shape)).requires_grad_() for _ in dense.layers]
        found = torch.autograd.grad(log_odds(dense, ids, labels, gates), gates)
        sums = [total + gradient.abs() for total, gradient in zip(sums, found, strict=True)]
    return [total / draws for total in sums]


def log_odds(dense: DepthDecoder, ids: Tensor, labels: Tensor, gates: Sequence[Tensor]) -> Tensor:
    """Of the answers, their sum; a gate r [B, T] scales what a token receives of a layer, log r adds to it as a key."""
    x, positions = dense.start(ids)
    later = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).triu(1)
    for layer, gate in zip(dense.layers, gates, strict=True):
        mask = gate.log().unsqueeze(1).expand(-1, ids.shape[1], -1).masked_fill(later, float("-inf"))
        x = x + gate.unsqueeze(2) * layer(x, positions, mask)
    asked = labels != -100
    logits, answers = dense.head(dense.norm(x[asked])), labels[asked].unsqueeze(1)
    others = logits.scatter(1, answers, float("-inf")).logsumexp(1)
    return (logits.gather(1, answers).squeeze(1) - others).sum()


def fit_routers(model: DepthDecoder, dense: DepthDecoder, ids: Tensor, labels: Tensor) -> None:
    """Gives `model` the weights of `dense`, and routers fitted on one batch to what its layers need."""
    model.start_from(dense)
    x, positions = dense.start(ids)
    for layer, original, need in zip(model.layers, dense.layers, needs(dense, ids, labels), strict=True):
        if isinstance(layer, MixtureOfDepths):
            count = capacity_tokens(layer.capacity, ids.shape[1])
            fit_router(layer, x.detach(), top_k_mask(need, count) & (need > _LEAST * need.amax(1, keepdim=True)))
        x = x + original(x, positions)


def fit_router(layer: MixtureOfDepths, stream: Tensor, target: Tensor) -> None:
    """Logistic regression of who takes part, bool [B, T], on the stream [B, T, d]; sets the threshold to even odds."""
    nn.init.zeros_(layer.router.bias)
    optimizer = torch.optim.Adam(layer.router.parameters(), lr=_RATE)
    for _ in range(_STEPS):
        loss = F.binary_cross_entropy_with_logits(layer.scores(stream), target.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    layer.threshold.zero_()

"""What a change of the skip set does to every drafted position: a quadratic model from a few backward passes.

Gate g_b scales what sub-block b adds to the stream: 1 runs it, 0 skips it. Around a set, for each position r,
    KL_r(dg) ~ KL_r + G_r . dg + 1/2 mean over y of (J_ry . dg)^2,    G_r = dKL_r / dg,  J_ry = d log p(y) / dg,
with y drawn from the draft's own distribution (the Gauss-Newton part of the Hessian, which is Fisher's information).
Draft rows do not see each other, so one backward pass gives G, or one J, of every row at once. A total variation goes
with the square root of KL (Pinsker), so what ranks sets is the mean of sqrt(KL), each position's cut at one nat.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compiler.adapt.oracle import Oracle, Rows, Skips
from compiler.adapt.stream import ResidualStream
from compiler.adapt.trials import Trials

POSITIONS = 16
SAMPLES = 2


@dataclass(frozen=True)
class LocalModel:
    """The draft near the set `around`: `kl` [R], `gradient` [2L, R], `jacobian` [2L, S, R] over the gates."""

    around: Skips
    kl: np.ndarray
    gradient: np.ndarray
    jacobian: np.ndarray

    def distances(self, sets: Sequence[Collection[int]]) -> np.ndarray:
        """Predicted mean of sqrt(min(KL, 1)) of each set."""
        steps = np.stack([self._step(frozenset(skipped)) for skipped in sets])
        curved = np.mean(np.tensordot(steps, self.jacobian, 1) ** 2, axis=1) / 2
        return distance(self.kl + steps @ self.gradient + curved)

    def _step(self, skipped: Skips) -> np.ndarray:
        step = np.zeros(len(self.gradient), np.float32)
        step[list(self.around - skipped)] = 1.0
        step[list(skipped - self.around)] = -1.0
        return step


def distance(kl: np.ndarray) -> np.ndarray:
    """Mean of sqrt(min(KL, 1)) over the last axis."""
    return np.sqrt(np.clip(kl, 0.0, 1.0)).mean(-1)


def price(oracle: Oracle, positions: int = POSITIONS, samples: int = SAMPLES) -> float:
    """Evaluations that a model counts as: a run forward and samples + 1 backward, each as much as two forward."""
    lengths = oracle.rows.valid.sum(1)
    return (1 + 2 * (samples + 1)) * float(lengths.clamp(max=positions).sum() / lengths.sum())


def linearise(
    trials: Trials, skipped: Collection[int], positions: int = POSITIONS, samples: int = SAMPLES, seed: int = 0
) -> LocalModel:
    """The model around a skip set, from `positions` a text and `samples` draws of the next token each.

    Charged to `trials`: what `price` says.
    """
    oracle, around = trials.oracle, frozenset(skipped)
    stream = oracle.stream
    stream.model.requires_grad_(False)
    with torch.no_grad():
        rows = oracle.select(positions)
        full = torch.log_softmax(stream.logits(rows.hidden[-1], rows.inputs), -1)
    with torch.enable_grad(), oracle.drafting():
        gates = [_gate(rows, block not in around) for block in range(stream.blocks)]
        draft = torch.log_softmax(stream.logits(_gated(stream, rows, gates), rows.inputs), -1)
        kl = (full.exp() * (full - draft)).sum(-1)[rows.valid]
        gradient = _by_row(kl.sum(), gates, rows)
        generator = torch.Generator().manual_seed(seed)
        drawn = [_sampled(draft, generator)[rows.valid].sum() for _ in range(samples)]
        jacobian = np.stack([_by_row(total, gates, rows) for total in drawn], axis=1)
    trials.charge(price(oracle, positions, samples))
    return LocalModel(around, kl.detach().numpy(), gradient, jacobian)


def _gate(rows: Rows, on: bool) -> Tensor:
    return torch.full((*rows.valid.shape, 1), float(on), requires_grad=True)


def _gated(stream: ResidualStream, rows: Rows, gates: list[Tensor]) -> Tensor:
    hidden = entry = rows.hidden[0]
    for block, gate in enumerate(gates):
        entry = hidden if block % 2 == 0 else entry
        hidden = hidden + gate * (stream.step(block, hidden, entry, rows.inputs) - hidden)
    return hidden


def _by_row(total: Tensor, gates: list[Tensor], rows: Rows) -> np.ndarray:
    """d total / d gate by sub-block and valid row: [2L, R]."""
    parts = torch.autograd.grad(total, gates, retain_graph=True)
    return torch.stack([part.squeeze(-1)[rows.valid] for part in parts]).numpy()


def _sampled(draft: Tensor, generator: torch.Generator) -> Tensor:
    """log p of one token drawn from each row's distribution: [B, R, V] -> [B, R]."""
    drawn = torch.multinomial(draft.detach().exp().flatten(0, 1), 1, generator=generator)
    return draft.gather(-1, drawn.view(*draft.shape[:2], 1)).squeeze(-1)

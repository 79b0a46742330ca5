"""What a cost network learns of measured candidates: their metrics (Huber), and their order (LambdaRank)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from costmodel.neural.batches import make_batch, plan_epoch
from costmodel.neural.inputs import Examples
from costmodel.neural.loop import Rows, run, settings
from costmodel.neural.losses import huber, lambda_rank
from costmodel.neural.network import Network, standardise
from costmodel.neural.options import NeuralOptions

RANKING = 0.3
"""Weight of the order."""


def train(network: Network, examples: Examples, options: NeuralOptions, folder: Path | None = None) -> None:
    """Train the network in place; see `loop.run`."""
    with settings(options.threads):
        standardise(network, examples)
    run(network, Measured(network, examples, options), options, folder)


@dataclass(frozen=True)
class Measured:
    """See `loop.Task`; batches are of workloads."""

    network: Network
    examples: Examples
    options: NeuralOptions

    def plan(self, epoch: int, world: int) -> list[Rows]:
        """See `loop.Task`."""
        return plan_epoch(self.examples, self.options, epoch, world)

    def loss(self, module: nn.Module, rows: Rows, seed: int, device: torch.device) -> tuple[Tensor, dict[str, float]]:
        """See `loop.Task`."""
        options, network = self.options, self.network
        batch = make_batch(self.examples, rows, options, seed, device)
        outputs = module(batch.texts, batch.owner, batch.columns)
        wanted = (batch.labels - network.label_mean) / network.label_scale
        loss = huber(outputs[:, :-1], wanted, batch.speed.clamp(min=1e-3) ** options.focus)
        parts = {"loss": float(loss.detach())}
        if not options.ranking:
            return loss + 0.0 * outputs[:, -1].sum(), parts  # every weight has a gradient
        ranking = lambda_rank(outputs[:, -1], batch.speed, batch.tasks)
        return loss + RANKING * ranking, {**parts, "ranking": float(ranking.detach())}

    def digest(self) -> str:
        """See `loop.Task`."""
        arrays = (self.examples.inputs.columns, self.examples.residuals, self.examples.inputs.owner)
        return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()[:16]

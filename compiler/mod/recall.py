"""Trains decoders on multi-query associative recall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from compiler.mod.depth_decoder import DecoderShape, DepthDecoder
from compiler.mod.mqar import IGNORED, RecallTask

_TEST_SEED = 1 << 30


@dataclass(frozen=True)
class RecallOptions:
    """One training."""

    task: RecallTask = field(default_factory=RecallTask)
    steps: int = 1000
    batch: int = 32
    learning_rate: float = 4e-3
    matrix_learning_rate: float = 0.02
    """Of the matrices inside the blocks, by Muon: recall appears in a quarter of the steps that AdamW takes."""
    warmup: int = 50
    gate_price: float = 0.05
    """Weight of the gates' mean in the loss."""
    anneal: tuple[float, float] = (0.4, 0.6)
    """Shares of the steps between which capacities go from 1 to their own: routed from the start, a layer leaves out
    what the layers above do not use yet and so never learn to. gamma-MoD, too, starts from a trained dense model."""
    test_batches: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Recall:
    """Share of queries answered right, on sequences that were not trained on."""

    accuracy: float
    causal_accuracy: float
    """Routed token by token, as decoding is; equal to `accuracy` for a dense model."""


def train_recall(shape: DecoderShape, options: RecallOptions) -> DepthDecoder:
    """A decoder trained from a seeded start; the same on every run with one thread on the same machine."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = DepthDecoder(shape).train()
        optimizers = _optimizers(model, options)
        generator = torch.Generator().manual_seed(options.seed)
        for step in range(options.steps):
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * _schedule(step, options)
            model.set_capacities(_capacities(shape.capacities, step / options.steps, options.anneal))
            ids, labels = options.task.batch(options.batch, generator)
            losses = model.losses(ids, labels)
            (losses.task + options.gate_price * losses.gates).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
            model.zero_grad(set_to_none=True)
    model.set_capacities(shape.capacities)
    return model.eval()


@torch.no_grad()
def test_recall(model: DepthDecoder, options: RecallOptions) -> Recall:
    """Accuracy on fresh sequences, the same ones for every model of a task."""
    right = [0, 0]
    total = 0
    generator = torch.Generator().manual_seed(_TEST_SEED)
    for _ in range(options.test_batches):
        ids, labels = options.task.batch(options.batch, generator)
        for which, logits in enumerate((model(ids), model.forward_causal(ids))):
            right[which] += _right(logits, labels)
        total += int((labels != IGNORED).sum())
    return Recall(right[0] / total, right[1] / total)


def _right(logits: Tensor, labels: Tensor) -> int:
    return int(((logits.argmax(-1) == labels) & (labels != IGNORED)).sum())


def _optimizers(model: DepthDecoder, options: RecallOptions) -> Sequence[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for embeddings, routers, head, norms and biases."""
    linear = [m for m in model.layers.modules() if isinstance(m, torch.nn.Linear) and m.out_features > 1]
    matrices = {id(m.weight): m.weight for m in linear}
    others = [p for p in model.parameters() if id(p) not in matrices]
    found = [
        torch.optim.Muon(list(matrices.values()), lr=options.matrix_learning_rate, weight_decay=0.0),
        torch.optim.AdamW(others, lr=options.learning_rate, weight_decay=0.01),
    ]
    for optimizer in found:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return found


def _capacities(last: Sequence[float], done: float, anneal: tuple[float, float]) -> list[float]:
    """The layers' capacities after a share of the steps."""
    there = min(1.0, max(0.0, (done - anneal[0]) / (anneal[1] - anneal[0])))
    return [1 + (capacity - 1) * there for capacity in last]


def _schedule(step: int, options: RecallOptions) -> float:
    """Warm-up, constant, linear to nothing over the last 40 %."""
    return min(1.0, (step + 1) / options.warmup, (1 - step / options.steps) / 0.4)

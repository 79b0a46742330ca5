"""Trains decoders on multi-query associative recall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from compiler.mod.depth_decoder import DecoderShape, DepthDecoder
from compiler.mod.mqar import IGNORED, RecallTask
from compiler.mod.muon import Muon
from compiler.mod.router_fit import fit_routers

_TEST_SEED = 1 << 30
_SETTLING_SEED = 1 << 20
_AVERAGING = 0.05


@dataclass(frozen=True)
class RecallOptions:
    """One training: of a dense model first, then of one with routers that starts from it."""

    task: RecallTask = field(default_factory=RecallTask)
    steps: int = 2000
    """Of learning, at most."""
    learnt: float = 0.1
    """Loss (nats a query, running mean) at which learning ends and settling begins."""
    settling: int = 200
    """Steps in which the learning rate goes to nothing (over the last half) and capacities come down (in the first)."""
    gentle: float = 0.2
    """Share of the learning rates at which a model with routers settles: it is right already."""
    fitting: int = 256
    """Sequences that routers are fitted on."""
    batch: int = 32
    learning_rate: float = 4e-3
    matrix_learning_rate: float = 0.02
    """Of the matrices inside the blocks, by Muon: recall appears in a quarter of the steps that AdamW takes."""
    warmup: int = 50
    test_batches: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Recall:
    """Share of queries answered right, on sequences that were not trained on."""

    accuracy: float
    causal_accuracy: float
    """Routed token by token, as decoding is; equal to `accuracy` for a dense model."""


def train_recall(shape: DecoderShape, options: RecallOptions) -> tuple[DepthDecoder, int]:
    """A decoder without routers, and the steps that it took; the same on every run with one thread on one machine."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = DepthDecoder(shape).train()
        training = _Training(model, options, options.seed)
        average, step = float("nan"), 0
        while step < options.steps and not average < options.learnt:
            loss = training.update(min(1.0, (step + 1) / options.warmup))
            average = loss if step == 0 else average + (loss - average) * _AVERAGING
            step += 1
        training.settle()
    return model.eval(), step + options.settling


def route_recall(shape: DecoderShape, dense: DepthDecoder, options: RecallOptions) -> DepthDecoder:
    """A decoder with routers from a trained one without, which gamma-MoD starts from as well.

    Routed before it has learnt the task, a model may never learn it: what upper layers will read is not known yet, and
    a token that a layer leaves out or whose gate is closed gives no gradient that would bring it back.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = DepthDecoder(shape)
        training = _Training(model, options, options.seed + _SETTLING_SEED)
        fit_routers(model, dense, *options.task.batch(options.fitting, training.generator))
        model.train()
        training.settle(options.gentle)
    return model.eval()


class _Training:
    """A model, its optimizers and its stream of batches."""

    def __init__(self, model: DepthDecoder, options: RecallOptions, seed: int) -> None:
        self.model, self.options = model, options
        self.optimizers = _optimizers(model, options)
        self.generator = torch.Generator().manual_seed(seed)

    def update(self, rate: float) -> float:
        """One step on a fresh batch, at a share of the learning rate; the task's loss."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * rate
        loss = self.model.loss(*self.options.task.batch(self.options.batch, self.generator))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.model.zero_grad(set_to_none=True)
        return float(loss.detach())

    def settle(self, share: float = 1.0) -> None:
        """The steps at whose end the model has its shape's capacities, at a share of the learning rates."""
        for step in range(self.options.settling):
            done = step / self.options.settling
            there = min(1.0, done / 0.5)
            self.model.set_capacities([1 + (capacity - 1) * there for capacity in self.model.shape.capacities])
            self.update(share * min(1.0, (step + 1) / self.options.warmup, (1 - done) / 0.5))
        self.model.set_capacities(self.model.shape.capacities)


@torch.no_grad()
def score_recall(model: DepthDecoder, options: RecallOptions) -> Recall:
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
        Muon(list(matrices.values()), options.matrix_learning_rate),
        torch.optim.AdamW(others, lr=options.learning_rate, weight_decay=0.01),
    ]
    for optimizer in found:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return found

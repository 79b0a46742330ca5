"""The training loop: AdamW with warm-up and cosine decay, by workload, reproducible, and resumed exactly after a kill.

Everything random is a function of (seed, epoch or step), so the state of a run is its weights, its optimizer and its
step. With `max_seconds`, the first epoch is timed and the number of epochs cut so that the decay still ends.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from costmodel.neural.batches import make_batch, plan_epoch
from costmodel.neural.checkpoint import read_checkpoint, write_checkpoint
from costmodel.neural.inputs import Examples
from costmodel.neural.journal import Journal
from costmodel.neural.losses import huber, lambda_rank
from costmodel.neural.network import Network, standardise
from costmodel.neural.options import NeuralOptions
from costmodel.neural.processes import Processes, processes

WARM_UP = 0.05
CLIP = 1.0


def train(network: Network, examples: Examples, options: NeuralOptions, folder: Path | None = None) -> None:
    """Train the network in place; with a folder, write checkpoints and logs there and go on from what is found.

    Raises:
        SeercError: the folder holds the checkpoint of another run.
    """
    with processes(options.device) as group, _settings(options):
        standardise(network, examples)
        network.to(group.device).train()
        run = _Run(network, examples, options, group, folder)
        run.go()
        network.to("cpu").eval()


@contextmanager
def _settings(options: NeuralOptions) -> Generator[None]:
    """Threads, determinism and random state of torch, given back afterwards."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)


@dataclass
class _Run:
    """One run of the loop."""

    network: Network
    examples: Examples
    options: NeuralOptions
    group: Processes
    folder: Path | None

    def go(self) -> None:
        options, world = self.options, self.group.world
        per_epoch = len(plan_epoch(self.examples, options, 0, world)) // world
        self.epochs, self.step, self.spent = options.epochs, 0, 0.0
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=options.lr, weight_decay=options.decay)
        self._resume()
        self.module = self.group.wrap(self.network)
        journal = Journal(self.folder if self.group.rank == 0 else None, self.step)
        while self.step < self.epochs * per_epoch:
            epoch, done = divmod(self.step, per_epoch)
            batches = plan_epoch(self.examples, options, epoch, world)[self.group.rank :: world]
            start, losses = time.monotonic(), list[dict[str, float]]()
            for rows in batches[done:]:
                losses.append(self._train_step(rows, self.epochs * per_epoch))
                if self.step % options.checkpoint_steps == 0:
                    self._save()
            self.spent += time.monotonic() - start
            means = {k: sum(x[k] for x in losses) / len(losses) for k in losses[0]}
            journal.write(self.step, epoch=epoch, **means, lr=self._lr(self.epochs * per_epoch), seconds=self.spent)
            if options.max_seconds and epoch == 0:
                self.epochs = self._affordable(journal)
        self._save()
        journal.close()

    def _train_step(self, rows: Any, total: int) -> dict[str, float]:
        options, network = self.options, self.network
        seed = (options.seed * 1_000_003 + self.step) * self.group.world + self.group.rank
        torch.manual_seed(seed)  # dropout
        batch = make_batch(self.examples, rows, options, seed, self.group.device)
        for each in self.optimizer.param_groups:
            each["lr"] = self._lr(total)
        outputs = self.module(batch.texts, batch.owner, batch.columns)
        wanted = (batch.labels - network.label_mean) / network.label_scale
        loss = huber(outputs[:, :-1], wanted, batch.speed.clamp(min=1e-3) ** options.focus)
        parts = {"loss": float(loss.detach())}
        if options.ranking:
            ranking = lambda_rank(outputs[:, -1], batch.speed, batch.tasks)
            parts["ranking"] = float(ranking.detach())
            loss = loss + 0.3 * ranking
        else:
            loss = loss + 0.0 * outputs[:, -1].sum()  # every weight has a gradient
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        self.optimizer.step()
        self.step += 1
        return parts

    def _lr(self, total: int) -> float:
        done = self.step / max(1, total)
        return self.options.lr * min(1.0, (done + 1e-3) / WARM_UP) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))

    def _affordable(self, journal: Journal) -> int:
        """Epochs that fit into the budget; all processes take the first one's word."""
        count = torch.tensor([min(self.options.epochs, max(1, int(self.options.max_seconds / max(self.spent, 1e-3))))])
        if self.group.world > 1:
            count = count.to(self.group.device)
            torch.distributed.broadcast(count, 0)
        if int(count) < self.options.epochs:
            journal.write(self.step, epochs_cut_to=int(count))
        return int(count)

    def _key(self) -> dict[str, Any]:
        """What a checkpoint must agree with."""
        arrays = (self.examples.inputs.columns, self.examples.residuals, self.examples.inputs.owner)
        digest = hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()[:16]
        return {"options": asdict(self.options), "data": digest, "world": self.group.world}

    def _save(self) -> None:
        if self.folder is not None and self.group.rank == 0:
            state = {"step": self.step, "epochs": self.epochs, "seconds": self.spent, "run": self._key()}
            write_checkpoint(self.folder, self.network, self.optimizer, json.loads(json.dumps(state)))

    def _resume(self) -> None:
        if self.folder is None:
            return
        key = json.loads(json.dumps(self._key()))
        state = read_checkpoint(self.folder, self.network, self.optimizer, key)
        if state is not None:
            self.step, self.epochs, self.spent = int(state["step"]), int(state["epochs"]), float(state["seconds"])

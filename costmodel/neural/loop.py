"""The training loop: AdamW with warm-up and cosine decay, reproducible, and resumed exactly after a kill.

Everything random is a function of (seed, epoch or step), so the state of a run is its weights, its optimizer and its
step. With `max_seconds`, the first epoch is timed and the number of epochs cut so that the decay still ends.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from costmodel.neural.checkpoint import read_checkpoint, write_checkpoint
from costmodel.neural.journal import Journal
from costmodel.neural.options import NeuralOptions
from costmodel.neural.processes import Processes, processes

WARM_UP = 0.05
CLIP = 1.0
Rows = NDArray[np.int64]


class Task(Protocol):
    """What a network learns."""

    def plan(self, epoch: int, world: int) -> list[Rows]:
        """The batches of an epoch, a multiple of `world` of them: a function of the epoch alone."""
        ...

    def loss(self, module: nn.Module, rows: Rows, seed: int, device: torch.device) -> tuple[Tensor, dict[str, float]]:
        """What one batch adds to the gradient, and its parts for the journal; `module` is the network."""
        ...

    def digest(self) -> str:
        """Names the data, so that a checkpoint of other data is refused."""
        ...


@contextmanager
def settings(threads: int) -> Generator[None]:
    """Threads, determinism and random state of torch, given back afterwards."""
    before, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(strict)


def run(network: nn.Module, task: Task, options: NeuralOptions, folder: Path | None = None) -> Run:
    """Train the network in place; with a folder, write checkpoints and logs there and go on from what is found.

    Raises:
        SeercError: the folder holds the checkpoint of another run.
    """
    with processes(options.device) as group, settings(options.threads):
        network.to(group.device).train()
        done = Run(network, task, options, group, folder)
        done.go()
        network.to("cpu").eval()
    return done


@dataclass
class Run:
    """One run of the loop."""

    network: nn.Module
    task: Task
    options: NeuralOptions
    group: Processes
    folder: Path | None
    epochs: int = 0
    step: int = 0
    spent: float = 0.0
    """Seconds, over all sittings."""
    means: dict[str, float] = field(default_factory=dict[str, float])
    """Of the parts of the loss, over the last epoch."""

    def go(self) -> None:
        """Train to the end."""
        options, world = self.options, self.group.world
        per_epoch = len(self.task.plan(0, world)) // world
        self.epochs = options.epochs
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=options.lr, weight_decay=options.decay)
        self._resume()
        self.module = self.group.wrap(self.network)
        journal = Journal(self.folder if self.group.rank == 0 else None, self.step)
        while self.step < self.epochs * per_epoch:
            epoch, done = divmod(self.step, per_epoch)
            batches = self.task.plan(epoch, world)[self.group.rank :: world]
            start, losses = time.monotonic(), list[dict[str, float]]()
            for rows in batches[done:]:
                losses.append(self._train_step(rows, self.epochs * per_epoch))
                if self.step % options.checkpoint_steps == 0:
                    self._save()
            self.spent += time.monotonic() - start
            self.means = {k: sum(x[k] for x in losses) / len(losses) for k in losses[0]}
            lr = self._lr(self.epochs * per_epoch)
            journal.write(self.step, epoch=epoch, **self.means, lr=lr, seconds=self.spent)
            if options.max_seconds and epoch == 0:
                self.epochs = self._affordable(journal)
        self._save()
        journal.close()

    def _train_step(self, rows: Rows, total: int) -> dict[str, float]:
        seed = (self.options.seed * 1_000_003 + self.step) * self.group.world + self.group.rank
        torch.manual_seed(seed)  # dropout
        for each in self.optimizer.param_groups:
            each["lr"] = self._lr(total)
        loss, parts = self.task.loss(self.module, rows, seed, self.group.device)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
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
        key = {"options": asdict(self.options), "data": self.task.digest(), "world": self.group.world}
        return json.loads(json.dumps(key))

    def _save(self) -> None:
        if self.folder is not None and self.group.rank == 0:
            state = {"step": self.step, "epochs": self.epochs, "seconds": self.spent, "means": self.means}
            write_checkpoint(self.folder, self.network, self.optimizer, {**state, "run": self._key()})

    def _resume(self) -> None:
        if self.folder is None:
            return
        state = read_checkpoint(self.folder, self.network, self.optimizer, self._key())
        if state is not None:
            self.step, self.epochs, self.spent = int(state["step"]), int(state["epochs"]), float(state["seconds"])
            self.means = dict(state["means"])

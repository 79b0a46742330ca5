"""The training loop: AdamW with warm-up and cosine decay over tokens, reproducible, and resumed exactly after a kill.

Windows are a function of the seed and the step, so the state of a run is its weights, its optimizer and its step.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from costmodel.errors import SeercError
from costmodel.neural.checkpoint import read_checkpoint, write_checkpoint
from costmodel.neural.journal import Journal
from costmodel.neural.loop import settings
from costmodel.neural.processes import Processes, processes
from ir_corpus.lm import spam
from ir_corpus.lm.documents import Mixture
from ir_corpus.lm.lora import add_lora, merge_lora
from ir_corpus.lm.model import LanguageModel
from ir_corpus.lm.options import LmOptions
from ir_corpus.lm.packing import pack
from ir_corpus.lm.tokenizer import PAD, sentinel_ids

LOG_STEPS = 10
IGNORED = -100
"""Label of what no loss is taken of."""
_PLACE = ("step", "tokens", "total", "seconds", "loss")
"""Where a run is: what a checkpoint holds beside weights and optimizer."""


@dataclass(frozen=True)
class Trained:
    """How a training went."""

    tokens: int
    steps: int
    loss: float
    """Mean over the last LOG_STEPS steps, in nats a token."""
    seconds: float


def train(model: LanguageModel, mixture: Mixture, options: LmOptions, folder: Path | None = None) -> Trained:
    """Train the model in place; with a folder, write checkpoints and logs there and go on from what is found.

    Raises:
        SeercError: the folder holds the checkpoint of another run, or the loss is no longer finite.
    """
    with processes(options.device) as group, settings(options.threads):
        torch.manual_seed(options.seed)
        if options.lora:
            add_lora(model.network, options.lora)
        model.network.to(group.device).train()
        trained = _Run(model, mixture, options, group, folder).go()
        if options.lora:
            merge_lora(model.network)
        model.network.to("cpu").eval()
    return trained


@dataclass
class _Run:
    """One run of the loop."""

    model: LanguageModel
    mixture: Mixture
    options: LmOptions
    group: Processes
    folder: Path | None

    def go(self) -> Trained:
        network, options, group = self.model.network, self.options, self.group
        self.pad = sentinel_ids(self.model.tokenizer)[PAD]
        # Only what is trained goes into checkpoints, tied weights once; a ParameterDict's keys hold no dots.
        learned = {n.replace(".", "/"): p for n, p in network.named_parameters() if p.requires_grad}
        self.learned = torch.nn.ParameterDict(learned)
        self.optimizer = torch.optim.AdamW(_groups(self.learned, options.decay), lr=options.peak_lr, betas=(0.9, 0.95))
        self.step, self.tokens, self.total, self.spent, self.loss = self._resume()
        self.module = group.wrap(network)
        journal = Journal(self.folder if group.rank == 0 else None, self.step)
        start, losses = time.monotonic() - self.spent, list[float]()
        batches = self._batches()
        while self.tokens < self.total:
            losses.append(self._train_step(next(batches)))
            self.spent, self.loss = time.monotonic() - start, sum(losses[-LOG_STEPS:]) / len(losses[-LOG_STEPS:])
            if self.step % LOG_STEPS == 0:
                journal.write(self.step, tokens=self.tokens, lr=self._lr(), loss=self.loss, seconds=self.spent)
            if self.step == LOG_STEPS and options.max_seconds:
                self._cut(journal)
            if self.step % options.checkpoint_steps == 0:
                self._save()
        self._save()
        journal.close()
        return Trained(self.tokens, self.step, self.loss, self.spent)

    def _batches(self) -> Iterator[NDArray[np.int32]]:
        """(world * batch, window) a step, from the present step on; every process sees them all."""
        rows = pack(self.mixture.documents(), self.options.window, self.pad, self.options.seed)
        size = self.options.batch * self.group.world
        rows = islice(rows, self.step * size, None)
        while True:
            yield np.stack(list(islice(rows, size)))

    def _train_step(self, rows: NDArray[np.int32]) -> float:
        options = self.options
        for each in self.optimizer.param_groups:
            each["lr"] = self._lr()
        mine = torch.from_numpy(rows[self.group.rank :: self.group.world].astype(np.int64)).to(self.group.device)
        labels = mine[:, 1:].masked_fill(mine[:, 1:] == self.pad, IGNORED)
        with torch.autocast("cuda", torch.bfloat16, enabled=mine.is_cuda):
            logits = self.module(input_ids=mine, use_cache=False).logits[:, :-1].float()
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if options.spam:
            spam.reset_moments(self.optimizer, self.step)
            spam.clip_spikes(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.learned.parameters(), options.clip)
        self.optimizer.step()
        self.step += 1
        self.tokens += int((rows != self.pad).sum())
        value = float(loss.detach())
        if not math.isfinite(value):
            raise SeercError(f"the loss is {value} at step {self.step}: train with a lower rate or with SPAM")
        return value

    def _lr(self) -> float:
        done, options = min(1.0, self.tokens / self.total), self.options
        warm = min(1.0, (done + 1e-3) / options.warm_up)
        factor = spam.rate_factor(self.step) if options.spam else 1.0
        return options.peak_lr * factor * warm * (0.1 + 0.45 * (1.0 + math.cos(math.pi * done)))

    def _cut(self, journal: Journal) -> None:
        """Fewer tokens where the budget of time asks for it; all processes take the first one's word."""
        affordable = int(self.tokens * self.options.max_seconds / max(self.spent, 1e-3))
        count = torch.tensor([min(self.total, max(self.tokens, affordable))], device=self.group.device)
        if self.group.world > 1:
            torch.distributed.broadcast(count, 0)
        if int(count) < self.total:
            self.total = int(count)
            journal.write(self.step, tokens_cut_to=self.total)

    def _key(self) -> dict[str, Any]:
        """What a checkpoint must agree with."""
        digest = hashlib.sha256()
        for pair in (*self.mixture.pairs, *self.mixture.further):
            digest.update(pair.source.tobytes() + b"|" + pair.ir.tobytes())
        return {"options": self.options.as_json(), "data": digest.hexdigest()[:16], "world": self.group.world}

    def _save(self) -> None:
        if self.folder is not None and self.group.rank == 0:
            place = dict(zip(_PLACE, (self.step, self.tokens, self.total, self.spent, self.loss), strict=True))
            write_checkpoint(self.folder, self.learned, self.optimizer, {**place, "run": self._key()})

    def _resume(self) -> tuple[int, int, int, float, float]:
        """The place of the checkpoint, or of the beginning."""
        if self.folder is not None:
            state = read_checkpoint(self.folder, self.learned, self.optimizer, self._key())
            if state is not None:
                step, tokens, total, seconds, loss = (state[name] for name in _PLACE)
                return int(step), int(tokens), int(total), float(seconds), float(loss)
        return 0, 0, self.options.tokens, 0.0, 0.0


def _groups(learned: torch.nn.ParameterDict, decay: float) -> list[dict[str, Any]]:
    """Matrices decay, scales of norms do not."""
    matrices = [p for p in learned.parameters() if p.dim() > 1]
    scales = [p for p in learned.parameters() if p.dim() <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": scales, "weight_decay": 0.0}]

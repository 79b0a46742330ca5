"""Trains a small Llama decoder in two stages: shallow on plain cross entropy, then grown and by the LayerSkip recipe.

The clock rules: a run is told its minutes of CPU time (it may run at low priority), each stage has its share, and the
learning rate follows the time spent. A killed run goes on from its last checkpoint with the batches that it would have
had.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from compiler.mod.layerskip import LayerSkipOptions, exit_logits, hidden_states, layerskip_loss
from compiler.mod.tokens import TokenData
from costmodel.neural.checkpoint import read_checkpoint, write_checkpoint
from costmodel.neural.journal import Journal

log = logging.getLogger("seerc")
Loss = Callable[[Any, Tensor, int], Tensor]


@dataclass(frozen=True)
class DecoderOptions:
    """Sizes and schedule of the whole run."""

    hidden: int = 384
    ffn: int = 1024
    heads: int = 6
    base_layers: int = 4
    growth: int = 4
    vocabulary: int = 4096
    context: int = 1024
    """Positions that the config allows; trained are `length`."""
    length: int = 256
    batch: int = 4
    learning_rate: float = 2e-3
    deep_learning_rate: float = 6e-4
    """Of the second stage."""
    seed: int = 0
    layerskip: LayerSkipOptions = field(default_factory=LayerSkipOptions)


@dataclass(frozen=True)
class Stage:
    """One training from a start to its last minute; times are CPU time."""

    name: str
    minutes: float
    learning_rate: float
    loss: Loss
    save_seconds: float = 90.0


def shallow_model(options: DecoderOptions) -> Any:
    """A seeded LlamaForCausalLM of `base_layers` layers with tied embeddings."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=options.vocabulary,
        hidden_size=options.hidden,
        intermediate_size=options.ffn,
        num_hidden_layers=options.base_layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.heads,
        max_position_embeddings=options.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return LlamaForCausalLM(config)


def plain_loss(model: Any, tokens: Tensor, step: int) -> Tensor:
    """Cross entropy of the last layer on windows [B, T + 1], nats a token."""
    logits = exit_logits(model, hidden_states(model, tokens[:, :-1])[-1])
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def stages(options: DecoderOptions, minutes: float, base_share: float) -> tuple[Stage, Stage]:
    """The shallow stage and the LayerSkip stage of a run of `minutes`."""

    def skip_loss(model: Any, tokens: Tensor, step: int) -> Tensor:
        return layerskip_loss(model, tokens, step, options.layerskip)

    base = Stage("base", minutes * base_share, options.learning_rate, plain_loss)
    return base, Stage("layerskip", minutes * (1 - base_share), options.deep_learning_rate, skip_loss)


def train_stage(
    model: Any, data: TokenData, stage: Stage, options: DecoderOptions, folder: Path, saved: Callable[[Any], None]
) -> None:
    """Trains `model` in place; resumes from `folder`, which holds the checkpoint and train.jsonl.

    Args:
        saved: called with the model after every checkpoint and at the end.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=stage.learning_rate, betas=(0.9, 0.95), weight_decay=0.1)
    run = {**asdict(options), "stage": stage.name, "minutes": stage.minutes, "tokens": len(data.train)}
    # the inner model: its tied head would be the embedding a second time
    state = read_checkpoint(folder, model.model, optimizer, run) or {"step": 0, "seconds": 0.0}
    step, spent = int(state["step"]), float(state["seconds"])
    journal, total, last = Journal(folder, step), stage.minutes * 60, spent
    begin = time.process_time() - spent
    model.train()
    while spent < total:
        loss = _step(model, optimizer, data, stage, options, step, spent / total)
        step, spent = step + 1, time.process_time() - begin
        if step % 20 == 0:
            journal.write(step, seconds=round(spent, 1), loss=loss)
        if spent - last > stage.save_seconds or spent >= total:
            last = spent
            write_checkpoint(folder, model.model, optimizer, {"run": run, "step": step, "seconds": spent})
            log.info("%s: step %d, %.1f of %.1f minutes, loss %.3f", stage.name, step, spent / 60, total / 60, loss)
            saved(model)
    journal.close()


def _step(
    model: Any, optimizer: Any, data: TokenData, stage: Stage, options: DecoderOptions, step: int, done: float
) -> float:
    """One update; batch and dropout depend on seed, stage and step only."""
    seed = hash((options.seed, len(stage.name), step)) % 2**31
    torch.manual_seed(seed)
    tokens = data.batch(options.batch, options.length, torch.Generator().manual_seed(seed))
    for group in optimizer.param_groups:
        group["lr"] = stage.learning_rate * schedule(step, done)
    loss = stage.loss(model, tokens, step)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def schedule(step: int, done: float) -> float:
    """Factor of the learning rate: 30 steps of warm-up; linear to 5 % over the last 60 % of the time."""
    return min(1.0, (step + 1) / 30) * min(1.0, 0.05 + 0.95 * (1 - done) / 0.6)


def write_folder(model: Any, tokenizer: Any, folder: Path) -> None:
    """A Hugging Face folder; each file is replaced whole."""
    temporary = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    folder.mkdir(parents=True, exist_ok=True)
    for file in temporary.iterdir():
        with file.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(file, folder / file.name)
    temporary.rmdir()

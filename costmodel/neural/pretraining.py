"""`seerc cost pretrain`: MLIR texts without numbers in, the folder of a pretrained encoder out.

A transformer starts from it with the option `pretrained`. Its tokenizer is the cost model's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from costmodel.errors import SeercError
from costmodel.neural.batches import shuffled_batches
from costmodel.neural.inputs import pad
from costmodel.neural.loop import Rows, Run, run
from costmodel.neural.masked import MaskedTokens, mask, masked_loss, unigram_entropy
from costmodel.neural.options import NeuralOptions
from costmodel.neural.pretrained import UNTRAINED, Pretrained
from costmodel.neural.processes import first
from costmodel.neural.reading import Reading, TokenReader
from costmodel.neural.unlabelled import read_unlabelled
from costmodel.tokens.tokenizer import Tokenizer

OPTIONS = NeuralOptions(tokenizer="seerc", epochs=10)
RUN = "run"
"""Where a folder keeps checkpoint and log; it may be deleted afterwards."""
FEWEST = 2


def pretrain(
    data: Sequence[Path],
    out: Path,
    *,
    text: str | None = None,
    exclude: Path | None = None,
    options: NeuralOptions = OPTIONS,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Pretrain on files and write the folder `out`; killed and started again, it goes on.

    Args:
        data: see `unlabelled.read_unlabelled`, also for `text` and `exclude`.
        out: the folder of the encoder.
        options: of the network and its training; `batch` is in functions.
        tell: called with a line about every step.

    Returns:
        The JSON of `seerc cost pretrain`.

    Raises:
        SeercError: unreadable data, too little of it, or a checkpoint of another run in `out`.
    """
    found = read_unlabelled(data, text, exclude)
    for line in found.lines():
        tell(line)
    made = pretrain_texts(found.texts, options, out / RUN)
    if first():
        made.save(out)
    left_out = {"repeated": found.repeated, "excluded": found.excluded, "unreadable": len(found.unreadable)}
    return {"folder": str(out), **left_out, **made.facts}


def pretrain_texts(texts: Sequence[str], options: NeuralOptions = OPTIONS, folder: Path | None = None) -> Pretrained:
    """An encoder trained on workload texts; the same seed gives the same weights, unless `max_seconds` cuts it.

    Raises:
        SeercError: fewer than FEWEST texts, or the folder holds the checkpoint of another run.
    """
    if len(texts) < FEWEST:
        raise SeercError(f"{len(texts)} functions are too few to pretrain on: at least {FEWEST} are needed")
    tokenizer = Tokenizer.build(options.tokenizer, texts)
    reader = TokenReader(tokenizer, options.tokens)
    readings = tuple(reader.read(text) for text in texts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        network = MaskedTokens(reader.size, reader.channels, options)
    done = run(network, MaskedTask(readings, options), options, folder)
    weights = {k: v for k, v in network.encoder.state_dict().items() if not k.startswith(UNTRAINED)}
    sizes = {"hidden": options.hidden, "layers": options.layers}
    return Pretrained(tokenizer, weights, sizes, _facts(readings, tokenizer, options, done))


@dataclass(frozen=True)
class MaskedTask:
    """See `loop.Task`; batches are of texts, masked anew every step."""

    readings: tuple[Reading, ...]
    options: NeuralOptions

    def plan(self, epoch: int, world: int) -> list[Rows]:
        """See `loop.Task`."""
        generator = np.random.default_rng((self.options.seed, epoch))
        return shuffled_batches(self.readings, self.options.batch, generator, world)

    def loss(self, module: nn.Module, rows: Rows, seed: int, device: torch.device) -> tuple[Tensor, dict[str, float]]:
        """See `loop.Task`."""
        masked = mask(pad([self.readings[i] for i in rows], device), seed)
        logits, numbers = module(masked.texts, masked.hidden)
        return masked_loss(logits, numbers, masked)

    def digest(self) -> str:
        """See `loop.Task`."""
        content = hashlib.sha256()
        for reading in self.readings:
            content.update(reading.ids.tobytes() + reading.numbers.tobytes())
        return content.hexdigest()[:16]


def _facts(readings: tuple[Reading, ...], tokenizer: Tokenizer, options: NeuralOptions, done: Run) -> dict[str, Any]:
    return {
        "texts": len(readings),
        "cut": sum(len(r.ids) == options.tokens for r in readings),
        "tokens": sum(len(r.ids) for r in readings),
        "words": len(tokenizer.words),
        "epochs": done.epochs,
        "seconds": round(done.spent, 1),
        "token_loss": done.means.get("tokens"),
        "number_loss": done.means.get("numbers"),
        "unigram_loss": unigram_entropy(readings),
    }

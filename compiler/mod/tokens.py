"""A byte-level BPE tokenizer trained on a corpus, and the corpus as token ids on disk."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from compiler.mod.installed_text import Corpus
from costmodel.files import write_atomically

log = logging.getLogger("seerc")
END = "<|end|>"
_FILE = "tokens.safetensors"


@dataclass(frozen=True)
class TokenData:
    """Token ids of both sides of a corpus, every text followed by END (id 0); 1-D int32."""

    train: Tensor
    held_out: Tensor

    def batch(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        """Random windows of the training side, int64 [size, length + 1]."""
        starts = torch.randint(len(self.train) - length - 1, (size,), generator=generator)
        return torch.stack([self.train[s : s + length + 1] for s in starts.tolist()]).long()

    def held_out_windows(self, count: int, length: int) -> Tensor:
        """Windows spread evenly over the held-out side, int64 [count, length + 1]; the same ones every time."""
        starts = torch.linspace(0, len(self.held_out) - length - 1, count).long()
        return torch.stack([self.held_out[s : s + length + 1] for s in starts.tolist()]).long()


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    """A transformers tokenizer: byte-level BPE with END as its only special token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, clean_up_tokenization_spaces=False)


def token_data(corpus: Corpus, tokenizer: Any, folder: Path) -> TokenData:
    """The corpus as ids, kept in `folder` for the next run."""
    path = folder / _FILE
    if not path.is_file():
        log.info("tokenising %d texts", len(corpus.train) + len(corpus.held_out))
        sides = {"train": _encode(corpus.train, tokenizer), "held_out": _encode(corpus.held_out, tokenizer)}
        write_atomically(path, save(sides))
    return TokenData(**load_file(path))


def _encode(texts: Sequence[str], tokenizer: Any) -> Tensor:
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return torch.tensor([t for ids in encoded for t in (*ids, tokenizer.eos_token_id)], dtype=torch.int32)

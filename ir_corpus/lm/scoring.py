"""Bits that a model spends on text, by token and by byte; bytes make models with different tokenizers comparable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from ir_corpus.lm.model import LanguageModel
from ir_corpus.lm.tokenizer import SENTINELS, encode, sentinel_ids

BATCH_TOKENS = 4096
LN2 = float(np.log(2.0))


@dataclass(frozen=True)
class Scored:
    """What a model makes of one sequence of n tokens."""

    bits: NDArray[np.float64]
    """(n,): minus log2 of each token's probability, given all that stands before it."""
    bytes: NDArray[np.int64]
    """(n,): UTF-8 bytes that each token stands for."""

    def masked(self, keep: NDArray[np.bool_]) -> Scored:
        """Some of the tokens."""
        return Scored(self.bits[keep], self.bytes[keep])


def bits_per_byte(scored: Iterable[Scored]) -> float | None:
    """All bits over all bytes; None where there are no bytes."""
    found = list(scored)
    total = sum(int(s.bytes.sum()) for s in found)
    return sum(float(s.bits.sum()) for s in found) / total if total else None


@dataclass(frozen=True)
class Scorer:
    """Scores texts in windows of at most `window` tokens."""

    model: LanguageModel
    window: int

    @cached_property
    def sentinels(self) -> dict[str, int]:
        """Ids of the sentinels."""
        return sentinel_ids(self.model.tokenizer)

    @cached_property
    def _lengths(self) -> NDArray[np.int64]:
        """Bytes of each token: byte-level BPE spells every byte as one character."""
        tokenizer = self.model.tokenizer
        names = [tokenizer.id_to_token(i) or "" for i in range(tokenizer.get_vocab_size())]
        return np.array([0 if n in SENTINELS else len(n) for n in names], np.int64)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts."""
        return encode(self.model.tokenizer, list(texts))

    def texts(self, ids: Sequence[Sequence[int]], start: int, most_windows: int = 2) -> list[Scored]:
        """Each text after the token `start`, in windows that do not see each other; at most the first few of them."""
        step = self.window - 1
        pieces = [[s[i : i + step] for i in range(0, min(len(s), most_windows * step), step)] for s in ids]
        flat = iter(self.after([([start], piece) for text in pieces for piece in text]))
        return [_joined([next(flat) for _ in text]) for text in pieces]

    def after(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Scored]:
        """The second of each (context, tokens); the context has a token at least, both fit the window together."""
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i][0]) + len(sequences[i][1]))
        found: dict[int, Scored] = {}
        while order:
            longest = sum(map(len, sequences[order[-1]]))
            count = max(1, BATCH_TOKENS // longest)
            batch, order = order[-count:], order[:-count]
            found |= dict(zip(batch, self._batch([sequences[i] for i in batch]), strict=True))
        return [found[i] for i in range(len(sequences))]

    def _batch(self, sequences: list[tuple[Sequence[int], Sequence[int]]]) -> list[Scored]:
        rows = [[*context, *tokens] for context, tokens in sequences]
        ids = torch.zeros((len(rows), max(map(len, rows))), dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
        network = self.model.network
        with torch.inference_mode():
            logits = network(input_ids=ids.to(network.device), use_cache=False).logits[:, :-1].float()
            nats = torch.nn.functional.cross_entropy(
                logits.transpose(1, 2), ids[:, 1:].to(logits.device), reduction="none"
            )
        bits = nats.cpu().double().numpy() / LN2
        return [
            Scored(bits[i, len(c) - 1 : len(c) + len(t) - 1], self._lengths[np.array(t, np.int64)])
            for i, (c, t) in enumerate(sequences)
        ]


def _joined(parts: list[Scored]) -> Scored:
    if not parts:
        return Scored(np.zeros(0), np.zeros(0, np.int64))
    return Scored(np.concatenate([p.bits for p in parts]), np.concatenate([p.bytes for p in parts]))

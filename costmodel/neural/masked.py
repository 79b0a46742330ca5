"""Masked tokens (Devlin et al. 2019) from the states of patches: which word stood there, and how large its number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from costmodel.neural.inputs import Texts
from costmodel.neural.options import NeuralOptions
from costmodel.neural.reading import Reading
from costmodel.neural.transformer import PATCH, TransformerEncoder
from costmodel.tokens.word import LOG2_SCALE

SHARE = 0.15
"""Of the tokens that are masked."""
NUMBER_WEIGHT = 0.25
UNKNOWN_ID = 1
"""What stands in place of a masked token; it is never masked itself, and padding (0) neither."""


@dataclass(frozen=True)
class Masked:
    """A batch of w texts of t tokens, of which m are masked."""

    texts: Texts
    """Masked tokens are `<unk>` without numbers."""
    hidden: Tensor
    """(w, t) bool: where they are."""
    ids: Tensor
    """(m,) what stood there."""
    numbers: Tensor
    """(m,) log2(1 + |n|) of the number there; NaN where there is none, or 0."""


def mask(texts: Texts, seed: int) -> Masked:
    """Mask SHARE of the known tokens, and at least one where there is any."""
    known = texts.ids > UNKNOWN_ID
    drawn = torch.from_numpy(np.random.default_rng(seed).random(texts.ids.shape)).to(texts.ids.device)
    drawn = torch.where(known, drawn, 2.0)
    hidden = known & (drawn <= drawn.min().clamp(min=SHARE))
    ids = torch.where(hidden, UNKNOWN_ID, texts.ids)
    covered = Texts(ids, torch.where(hidden[..., None], 0.0, texts.numbers), texts.edges)
    numbers = texts.numbers[hidden][:, 0] * LOG2_SCALE
    return Masked(covered, hidden, texts.ids[hidden], torch.where(numbers > 0, numbers, torch.nan))


class MaskedTokens(nn.Module):
    """A transformer's encoder with heads that are thrown away; the encoder's pooled output is not trained."""

    def __init__(self, size: int, channels: int, options: NeuralOptions) -> None:
        super().__init__()
        self.encoder = TransformerEncoder(size, channels, options)
        self.encoder.out.requires_grad_(False)
        self.tokens = nn.Linear(options.hidden, PATCH * (options.hidden // 2))
        self.bias = nn.Parameter(torch.zeros(size))
        self.number = nn.Linear(options.hidden // 2, 1)

    def forward(self, texts: Texts, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (m, size) over words, through the word embedding, and log2(1 + |n|) (m,) of the masked tokens."""
        states, _ = self.encoder.states(texts)
        vectors = self.tokens(states).reshape(len(states), states.shape[1] * PATCH, -1)
        found = vectors[:, : hidden.shape[1]][hidden]
        return found @ self.encoder.embedding.words.weight.T + self.bias, self.number(found)[:, 0]


def masked_loss(logits: Tensor, numbers: Tensor, wanted: Masked) -> tuple[Tensor, dict[str, float]]:
    """The loss, and its parts: `tokens` (cross entropy, nats) and `numbers` (Huber on log2, over those with one)."""
    tokens = nn.functional.cross_entropy(logits, wanted.ids, reduction="sum") / max(1, len(wanted.ids))
    known = torch.isfinite(wanted.numbers)
    far = nn.functional.smooth_l1_loss(numbers, torch.where(known, wanted.numbers, 0.0), reduction="none")
    sizes = (far * known).sum() / known.sum().clamp(min=1)
    loss = tokens + NUMBER_WEIGHT * sizes
    return loss, {"loss": float(loss.detach()), "tokens": float(tokens.detach()), "numbers": float(sizes.detach())}


def unigram_entropy(readings: list[Reading] | tuple[Reading, ...]) -> float:
    """Nats a token: the cross entropy of the best guess that knows only how often each word occurs."""
    counts: NDArray[np.int64] = np.bincount(np.concatenate([r.ids for r in readings]))[UNKNOWN_ID + 1 :]
    share = counts[counts > 0] / max(1, counts.sum())
    return float(-(share * np.log(share)).sum())

"""Ids and numbers to vectors, and masked pooling: what every encoder begins and ends with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from costmodel.neural.inputs import Texts


class Embedding(nn.Module):
    """A learned vector for each id plus a small network of its numbers, gated by the id: (w, t) to (w, t, width)."""

    def __init__(self, size: int, channels: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(size, width, padding_idx=0)
        self.numbers = nn.Sequential(nn.Linear(channels, width), nn.GELU(), nn.Linear(width, width))
        self.gate = nn.Embedding(size, width, padding_idx=0)
        nn.init.normal_(self.words.weight, std=0.3)
        nn.init.normal_(self.gate.weight, mean=1.0, std=0.1)

    def forward(self, texts: Texts) -> Tensor:
        """Vectors; zero at padding."""
        numbers = self.numbers(texts.numbers) * self.gate(texts.ids)
        return (self.words(texts.ids) + numbers) * texts.mask[..., None]


def mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    """(w, t, d) to (w, d): the mean over what the mask (w, t) keeps."""
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1.0)


def max_pool(states: Tensor, mask: Tensor) -> Tensor:
    """(w, t, d) to (w, d): the maximum over what the mask keeps."""
    return torch.where(mask[..., None] > 0, states, -1e4).amax(1)

"""The seed paper's first network: fully connected layers over a bag of tokens; order is lost."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from costmodel.neural.embedding import Embedding, max_pool, mean_pool
from costmodel.neural.inputs import Texts
from costmodel.neural.options import NeuralOptions


class BagEncoder(nn.Module):
    """Mean and maximum of the token vectors, and how many there are, through fully connected layers."""

    def __init__(self, size: int, channels: int, options: NeuralOptions) -> None:
        super().__init__()
        width = options.hidden
        self.embedding = Embedding(size, channels, width)
        self.layers = nn.Sequential(
            nn.Linear(2 * width + 1, 2 * width), nn.ReLU(), nn.Dropout(options.dropout), nn.Linear(2 * width, width)
        )

    def forward(self, texts: Texts) -> Tensor:
        """(w, hidden)."""
        states, mask = self.embedding(texts), texts.mask
        count = torch.log2(1.0 + texts.lengths.float())[:, None] / 8.0
        return self.layers(torch.cat([mean_pool(states, mask), max_pool(states, mask), count], 1))

"""The seed paper's best network: stacked one-dimensional convolutions, max pooling, fully connected layers."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from costmodel.neural.embedding import Embedding, max_pool
from costmodel.neural.inputs import Texts
from costmodel.neural.options import NeuralOptions

KERNEL = 5


class Conv1dEncoder(nn.Module):
    """Convolutions of width 5, each followed by a max pooling that halves the sequence; then the maximum over it."""

    def __init__(self, size: int, channels: int, options: NeuralOptions) -> None:
        super().__init__()
        width = options.hidden
        self.embedding = Embedding(size, channels, width // 2)
        widths = [width // 2] + [width] * options.layers
        self.convolutions = nn.ModuleList(
            nn.Conv1d(a, b, KERNEL, padding=KERNEL // 2) for a, b in itertools.pairwise(widths)
        )
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(options.dropout))

    def forward(self, texts: Texts) -> Tensor:
        """(w, hidden)."""
        states, mask = self.embedding(texts).transpose(1, 2), texts.mask[:, None]
        for convolution in self.convolutions:
            states = convolution(states).relu() * mask  # padding stays zero, so its length does not matter
            states = nn.functional.max_pool1d(states, 2, ceil_mode=True)
            mask = nn.functional.max_pool1d(mask, 2, ceil_mode=True)
        return self.layers(max_pool(states.transpose(1, 2), mask[:, 0]))

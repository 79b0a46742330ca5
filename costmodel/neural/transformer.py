"""A small transformer encoder over patches of tokens, with numbers kept numeric (as TLP, ASPLOS 2023, argues)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from costmodel.neural.embedding import Embedding, max_pool, mean_pool
from costmodel.neural.inputs import Texts
from costmodel.neural.options import NeuralOptions

PATCH = 4
HEADS = 4


class TransformerEncoder(nn.Module):
    """A strided convolution makes one state of 4 tokens (attention over tokens costs 16 times more), then layers."""

    def __init__(self, size: int, channels: int, options: NeuralOptions) -> None:
        super().__init__()
        width = options.hidden
        self.embedding = Embedding(size, channels, width // 2)
        self.patches = nn.Conv1d(width // 2, width, 2 * PATCH, stride=PATCH, padding=PATCH // 2)
        self.layers = nn.ModuleList(Layer(width, options.dropout) for _ in range(options.layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(2 * width, width)

    def forward(self, texts: Texts) -> Tensor:
        """(w, hidden)."""
        states, mask = self.states(texts)
        return self.out(torch.cat([mean_pool(states, mask), max_pool(states, mask)], 1))

    def states(self, texts: Texts) -> tuple[Tensor, Tensor]:
        """(w, p, hidden), one state of each patch of tokens; and the mask (w, p) of patches that hold any."""
        length = -texts.ids.shape[1] % PATCH
        mask = nn.functional.pad(texts.mask, (0, length))
        states = nn.functional.pad(self.embedding(texts), (0, 0, 0, length))
        states = self.patches(states.transpose(1, 2)).transpose(1, 2)
        mask = mask.reshape(len(mask), -1, PATCH).amax(2)[:, : states.shape[1]]
        states = states + positions(states.shape[1], states.shape[2]).to(states)
        for layer in self.layers:
            states = layer(states, mask)
        return self.norm(states), mask


class Layer(nn.Module):
    """Self-attention and a feed-forward network, each normalised first and added."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.before, self.middle = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """(w, t, width) to the same; positions that the mask (w, t) leaves out are not attended to."""
        count, length, width = states.shape
        mixed = self.mix(self.before(states)).reshape(count, length, 3, HEADS, width // HEADS)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        seen = mask.bool()[:, None, None, :]
        found = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        states = states + self.join(found.transpose(1, 2).reshape(count, length, width))
        return states + self.feed(self.middle(states))


def positions(length: int, width: int) -> Tensor:
    """(length, width): sines and cosines of the position (Vaswani et al. 2017)."""
    place = torch.arange(length, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-9.21 / width))
    return torch.cat([torch.sin(place * rate), torch.cos(place * rate)], 1)

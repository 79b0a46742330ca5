"""A small pre-norm transformer decoder whose blocks return what they add to the residual stream."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class BlockShape:
    """Sizes of one block: attention and an FFN of `expansion` times the width."""

    width: int = 64
    heads: int = 2
    expansion: int = 4
    theta: float = 10_000.0
    """Base of the rotary frequencies."""

    def flops(self, tokens: int) -> int:
        """Multiply-adds times 2 of the block on one sequence of `tokens`; attention counted as if unmasked."""
        linear = tokens * self.width * self.width * (4 + 2 * self.expansion)
        return 2 * (linear + 2 * tokens * tokens * self.width)


class Block(nn.Module):
    """Attention and FFN; `forward` returns f(x), so that the layer's output is x + f(x)."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        width = shape.width
        self.shape = shape
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, shape.expansion * width), nn.Linear(shape.expansion * width, width)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None = None) -> Tensor:
        """f(x) [B, T, d].

        Args:
            x: residual stream of the tokens that take part, in the order of their positions [B, T, d].
            positions: their true positions, for the rotary embedding, [T] or [B, T].
            mask: added to the attention logits, float [B, T, T], -inf where a token may not look; each one looks at
                itself and all before it unless given.
        """
        return self.added(x, *self.heads(x, positions), mask)

    def added(self, x: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """f(x) of tokens whose queries look at these keys and values, which may be a cache's; `mask` [B, T, keys]."""
        attended = self.out(self._attend(query, key, value, mask))
        return attended + self.down(F.gelu(self.up(self.norm2(x + attended))))

    def heads(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys (both rotated) and values [B, H, T, d / H]."""
        batch, tokens, width = x.shape
        parts = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.shape.heads, width // self.shape.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        cos, sin = self._rotary(positions, width // self.shape.heads)
        return query * cos + _rotated(query) * sin, key * cos + _rotated(key) * sin, value

    def weights(self, x: Tensor, positions: Tensor) -> Tensor:
        """Causal attention probabilities [B, H, T, T]."""
        query, key, _ = self.heads(x, positions)
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return scores.masked_fill(hidden, float("-inf")).softmax(-1)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask.unsqueeze(1))
        return mixed.transpose(1, 2).flatten(2)

    def _rotary(self, positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines that broadcast over [B, H, T, size]."""
        frequencies = self.shape.theta ** (-torch.arange(0, size, 2, device=positions.device) / size)
        angles = positions.to(frequencies.dtype).unsqueeze(-1) * frequencies
        angles = torch.cat((angles, angles), -1).unsqueeze(-3)
        return angles.cos(), angles.sin()


def _rotated(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), -1)

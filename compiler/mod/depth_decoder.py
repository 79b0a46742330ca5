"""A token decoder each of whose layers is a dense block or a mixture of depths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compiler.mod.depths import MixtureOfDepths, capacity_tokens
from compiler.mod.transformer import Block, BlockShape


@dataclass(frozen=True)
class DecoderShape:
    """Sizes and capacities."""

    vocabulary: int
    tokens: int
    capacities: tuple[float, ...]
    """Share of the tokens that each layer takes; 1 is a dense block without a router."""
    block: BlockShape = field(default_factory=BlockShape)
    random: bool = False
    """Random routing."""

    def block_flops(self) -> int:
        """Of all blocks and routers on one sequence."""
        blocks = sum(self.block.flops(capacity_tokens(c, self.tokens)) for c in self.capacities)
        routers = sum(2 * self.tokens * self.block.width for c in self.capacities if c < 1)
        return blocks + routers


class DepthDecoder(nn.Module):
    """Embeddings of tokens and positions, the layers, norm, head."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        width = shape.block.width
        self.shape = shape
        self.embed, self.places = nn.Embedding(shape.vocabulary, width), nn.Embedding(shape.tokens, width)
        for table in (self.embed, self.places):
            nn.init.normal_(table.weight, std=0.3)
        self.layers = nn.ModuleList(_layer(shape, c) for c in shape.capacities)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, shape.vocabulary, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [B, T, V] of ids [B, T]; top-k routing."""
        return self.head(self.norm(self._stream(ids)))

    def forward_causal(self, ids: Tensor) -> Tensor:
        """As `forward`, routed token by token: no logits depend on later tokens."""
        x, positions = self.start(ids)
        for layer in self.layers:
            x = layer.forward_causal(x, positions) if isinstance(layer, MixtureOfDepths) else x + layer(x, positions)
        return self.head(self.norm(x))

    def loss(self, ids: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy, nats a position, over those not labelled -100."""
        scored = labels != -100
        return F.cross_entropy(self.head(self.norm(self._stream(ids)[scored])), labels[scored])

    def set_capacities(self, capacities: Sequence[float]) -> None:
        """Of the routed layers from now on; a training may lower them as it goes."""
        for layer, capacity in zip(self.layers, capacities, strict=True):
            if isinstance(layer, MixtureOfDepths):
                layer.capacity = capacity

    def _stream(self, ids: Tensor) -> Tensor:
        """Behind the last layer [B, T, d]."""
        x, positions = self.start(ids)
        for layer in self.layers:
            x = layer(x, positions) if isinstance(layer, MixtureOfDepths) else x + layer(x, positions)
        return x

    def start_from(self, dense: DepthDecoder) -> None:
        """Take the weights of a model without routers; the routers stay as they are."""
        for name in ("embed", "places", "norm", "head"):
            getattr(self, name).load_state_dict(getattr(dense, name).state_dict())
        for ours, theirs in zip(self.layers, dense.layers, strict=True):
            block = ours.block if isinstance(ours, MixtureOfDepths) else ours
            block.load_state_dict(theirs.state_dict())

    def attention(self, ids: Tensor) -> list[Tensor]:
        """Causal attention probabilities [B, H, T, T] of every layer of a dense model."""
        x, positions = self.start(ids)
        found: list[Tensor] = []
        for layer in self.layers:
            if not isinstance(layer, Block):
                raise ValueError("attention maps are taken of dense models only")
            found.append(layer.weights(x, positions))
            x = x + layer(x, positions)
        return found

    def start(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The stream that enters the first layer [B, T, d], and the positions [T]."""
        positions = torch.arange(ids.shape[1], device=ids.device)
        return self.embed(ids) + self.places(positions), positions


def _layer(shape: DecoderShape, capacity: float) -> nn.Module:
    block = Block(shape.block)
    return block if capacity >= 1 else MixtureOfDepths(block, capacity, shape.random)

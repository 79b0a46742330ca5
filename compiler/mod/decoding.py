"""Decoding of a depth decoder, token by token, with a key-value cache of its own length for each layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from compiler.mod.depth_decoder import DepthDecoder
from compiler.mod.depths import MixtureOfDepths
from compiler.mod.transformer import Block


@dataclass
class LayerCache:
    """Of the n tokens so far that took part in a layer: rotated keys, values [1, H, n, d / H] and log r [n]."""

    keys: Tensor
    values: Tensor
    gates: Tensor

    @staticmethod
    def empty(block: Block) -> LayerCache:
        heads = block.shape.heads
        nothing = torch.empty(1, heads, 0, block.shape.width // heads)
        return LayerCache(nothing, nothing, torch.empty(0))

    def append(self, key: Tensor, value: Tensor, gate: Tensor) -> None:
        """One more token: [1, H, 1, d / H] twice, and [1]."""
        self.keys, self.values = torch.cat((self.keys, key), 2), torch.cat((self.values, value), 2)
        self.gates = torch.cat((self.gates, gate))


class DepthDecoding:
    """One sequence being decoded: the logits of each step are those of `DepthDecoder.forward_causal`.

    A token whose score is below a layer's threshold passes that layer by: nothing of the block is computed, and it
    leaves no key and no value there. So the caches have different lengths, and a layer of capacity k holds about k T.
    """

    def __init__(self, model: DepthDecoder) -> None:
        """`model` without random routing."""
        self.model, self.position = model, 0
        self.caches = [LayerCache.empty(_block(layer)) for layer in model.layers]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens in the cache of each layer."""
        return tuple(len(cache.gates) for cache in self.caches)

    @torch.no_grad()
    def step(self, token: int) -> Tensor:
        """Logits [V] of what follows `token`."""
        position = torch.tensor([self.position])
        x = (self.model.embed(torch.tensor([token])) + self.model.places(position)).unsqueeze(0)
        for layer, cache in zip(self.model.layers, self.caches, strict=True):
            x = self._through(layer, cache, x, position)
        self.position += 1
        return self.model.head(self.model.norm(x))[0, 0]

    def _through(self, layer: torch.nn.Module, cache: LayerCache, x: Tensor, position: Tensor) -> Tensor:
        routed = isinstance(layer, MixtureOfDepths)
        score = layer.scores(x)[0] if routed else torch.tensor([float("inf")])
        if routed and score < layer.threshold:
            return x
        block = _block(layer)
        query, key, value = block.heads(x, position)
        cache.append(key, value, F.logsigmoid(score))
        return x + score.sigmoid() * block.added(x, query, cache.keys, cache.values, cache.gates.view(1, 1, -1))


def _block(layer: torch.nn.Module) -> Block:
    block = layer.block if isinstance(layer, MixtureOfDepths) else layer
    assert isinstance(block, Block)
    return block

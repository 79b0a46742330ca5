"""A decoder some of whose layers only a part of the tokens take, measured on texts without training routers.

A stand-in for a trained router chooses: the token's block influence, 1 - cos(x, x') of the stream before and behind
the layer in the full model (ShortGPT, arXiv 2403.03853). It is an oracle: a router must guess what the layer would do.
It is causal: a token's influence does not depend on later ones, and a threshold decides for each token alone. So losses
are what a good router loses without fine-tuning, which lowers them.

Tokens that do not take a layer pass it by and leave no key and no value there. The first token of a text takes part in
all layers: others use it as an attention sink.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from compiler.adapt.oracle import Oracle

Choose = Callable[[int, Tensor, Tensor], Tensor]


class RoutedRuns:
    """Whole-text runs of one oracle's model on its texts with layers routed.

    `influence[l]`: of every token on layer l of the full model, [B, T]; `valid` [B, T]: tokens that are not padding.
    """

    def __init__(self, oracle: Oracle) -> None:
        self.oracle, self.stream = oracle, oracle.stream
        tokens = oracle.texts.tokens
        self.valid = torch.arange(tokens.shape[1]) < oracle.texts.ends.unsqueeze(1)
        self.stream.attention.full_run()
        with torch.no_grad():
            self._inputs = self.stream.inputs(tokens, torch.arange(tokens.shape[1]).expand_as(tokens))
            self._before = [self._inputs.hidden]
            for layer in range(len(self.stream.layers)):
                self._before.append(self.stream.through(layer, self._before[-1], self._inputs))
        pairs = zip(self._before[:-1], self._before[1:], strict=True)
        self.influence = [1 - torch.cosine_similarity(x, y, dim=-1) for x, y in pairs]

    def thresholds(self, capacities: Sequence[float]) -> list[dict[float, float]]:
        """By layer and capacity k: what the share k of these texts' tokens have at least."""
        return [
            {k: float(torch.quantile(influence[self.valid].float(), 1 - k)) for k in capacities}
            for influence in self.influence
        ]

    def above(self, thresholds: Mapping[int, float]) -> dict[int, Tensor]:
        """By layer, the tokens [B, T] whose influence reaches its threshold."""
        return {layer: self._with_first(self.influence[layer] >= least) for layer, least in thresholds.items()}

    def at_random(self, capacities: Mapping[int, float], seed: int = 0) -> dict[int, Tensor]:
        """By layer, a random part [B, T] of the tokens: the control."""
        generator = torch.Generator().manual_seed(seed)
        return {
            layer: self._with_first(torch.rand(self.valid.shape, generator=generator) < capacity)
            for layer, capacity in capacities.items()
        }

    def _with_first(self, chosen: Tensor) -> Tensor:
        return chosen | (torch.arange(chosen.shape[1]) == 0)

    def routed(self, layers: Sequence[int], choose: Choose) -> dict[int, Tensor]:
        """By layer of `layers`, the tokens [B, T] that take it, chosen layer by layer in a run that follows them.

        Args:
            layers: the routed ones, in order.
            choose: from a layer, the stream before it and what the layer makes of that, [B, T, d] each, who takes it.
        """
        chosen, attention = dict[int, Tensor](), self.stream.attention
        hidden = self._before[layers[0]] if layers else self._before[0]
        attention.full_run()
        try:
            with torch.no_grad():
                for layer in range(min(layers, default=0), max(layers, default=-1) + 1):
                    behind = self.stream.through(layer, hidden, self._inputs)
                    if layer in layers:
                        taken = chosen[layer] = self._with_first(choose(layer, hidden, behind))
                        attention.absent[layer] = ~taken
                        behind = self.stream.through(layer, hidden, self._inputs)
                        behind = torch.where(taken.unsqueeze(2), behind, hidden)
                    hidden = behind
            return chosen
        finally:
            attention.full_run()

    def share(self, chosen: Tensor) -> float:
        """Of the tokens that take part, padding left out."""
        return float(chosen[self.valid].float().mean())

    def quality(self, chosen: Mapping[int, Tensor]) -> tuple[float, float]:
        """(KL(full || routed) in nats a token, share of equal first choices) over the continuations.

        Args:
            chosen: by routed layer, the tokens [B, T] that take it.
        """
        first = min(chosen, default=len(self.stream.layers))
        hidden = self._before[first]
        self.stream.attention.full_run({layer: ~taken for layer, taken in chosen.items()})
        try:
            with torch.no_grad():
                for layer in range(first, len(self.stream.layers)):
                    behind = self.stream.through(layer, hidden, self._inputs)
                    taken = chosen.get(layer)
                    hidden = behind if taken is None else torch.where(taken.unsqueeze(2), behind, hidden)
                measured = self.oracle.quality(hidden)
            return measured.mean_kl, measured.acceptance
        finally:
            self.stream.attention.full_run()

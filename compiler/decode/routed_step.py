"""One decoding step of a decoder with routed layers (`compiler.decode.routers`), as a module with static shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from compiler.adapt.plan import Router
from compiler.decode.routers import room
from compiler.decode.step_module import DecodeStep, StepShape, StepState, cache_shapes
from compiler.frontend.model import FrontendError


@dataclass
class RoutedState(StepState):
    """`lengths` are those of the texts; `own_lengths[l]` [B] those of the cache of routed layer l."""

    own_lengths: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    gates: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    """By routed layer, which new tokens take it: bool [B, q]."""

    def mask(self, layer: int, width: int, context: int, window: int | None) -> Tensor:
        """As of a plain step; in a routed layer its own cache, and of the new tokens those that take it."""
        if layer not in self.gates:
            return super().mask(layer, width, context, window)
        if window is not None:
            raise FrontendError(f"layer {layer} has a sliding window: a routed cache does not know its positions")
        new = torch.arange(width)
        fresh = (new[None, :] <= new[:, None])[None]
        if width > 1:
            fresh = fresh & (self.gates[layer][:, None, :] | (new[None, :] == new[:, None]))
        cached = torch.arange(context) < self.own_lengths[layer][:, None, None]
        seen = torch.cat([cached.expand(-1, width, -1), fresh.expand(len(self.lengths), -1, -1)], -1)
        return torch.where(seen[:, None, None], 0.0, -1e30)


class RoutedDecodeStep(DecodeStep):
    """(ids [B, q], lengths [B], own lengths [B] of each routed layer's cache, keys and values of every layer) ->
    (logits [B, q, V], new keys and values, who takes each of the R routed layers: bool [R, B, q]).

    As of `DecodeStep`; the cache of a routed layer has `room` for fewer than T. To be run while the model is
    `routed`.
    """

    def __init__(self, model: Any, shape: StepShape, routers: Sequence[Router]) -> None:
        super().__init__(model, shape)
        self.layers = [router.layer for router in routers]

    def forward(self, ids: Tensor, lengths: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        """One step; see the class."""
        own, rest = caches[: len(self.layers)], caches[len(self.layers) :]
        state = RoutedState(rest[0::2], rest[1::2], lengths, own_lengths=dict(zip(self.layers, own, strict=True)))
        rows = self.run(ids, state)
        return (*rows, torch.stack([state.gates[layer] for layer in self.layers]))


def routed_inputs(model: Any, shape: StepShape, routers: Sequence[Router]) -> tuple[Tensor, ...]:
    """Example inputs of a `RoutedDecodeStep`: zero ids, zero caches, half full."""
    rooms = {router.layer: room(router, shape.context) for router in routers}
    ids = torch.zeros(shape.batch, shape.width, dtype=torch.long)
    lengths = torch.full((shape.batch,), shape.context // 2, dtype=torch.long)
    own = [torch.full((shape.batch,), holds // 2, dtype=torch.long) for holds in rooms.values()]
    return (ids, lengths, *own, *(torch.zeros(s) for s in cache_shapes(model, shape, rooms)))

"""One decoding step of a Hugging Face decoder as a module with static shapes: what every step program is made from.

The cache is an input that the step only reads; the keys and values of the new tokens are outputs, which the runtime
writes into the cache. So nothing is copied, a rejected draft is undone by not writing, and every sequence of a batch
may stand at its own length. Attention is over cache and new tokens together: one softmax over [T cached, q new] scores.
Keys are cached in blocks of 64 tokens, each transposed ([B, H, T / 64, D, 64]): scores are contiguous along T, where
the vector lanes run, and a block is read as it lies in memory. Of one [D, T] matrix a tile of columns is short pieces
of long rows: at T = 2,048 scores took a third to two thirds longer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AttentionInterface

from compiler.frontend.model import FrontendError

BLOCK = 64
"""Tokens of a block of cached keys: enough vectors for one row of queries to keep the multipliers busy."""
ATTENTION = "seerc-step"
"""Name under which transformers' models find `_attend`."""


@dataclass(frozen=True)
class StepShape:
    """`batch` sequences, `width` new tokens in each, after at most `context` cached ones.

    Without `logits` the step only fills the cache (prefill): the head is not computed.
    """

    batch: int = 1
    width: int = 1
    context: int = 512
    logits: bool = True


@dataclass
class StepState:
    """What the layers of one forward pass share: the caches they read, the rows that they make, the masks."""

    keys: Sequence[Tensor]
    values: Sequence[Tensor]
    lengths: Tensor
    new_keys: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    new_values: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    masks: dict[int | None, Tensor] = field(default_factory=dict[int | None, Tensor])

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """What transformers' attention calls with new keys and values [B, H, q, D]."""
        self.new_keys[layer], self.new_values[layer] = keys, values
        return keys, values

    def get_seq_length(self, *_: Any) -> int:
        """Positions are given; no model may compute them from this."""
        return 0

    def mask(self, layer: int, width: int, context: int, window: int | None) -> Tensor:
        """Of a layer, additive [B, 1, 1, q, T + q]: cached positions below the length, new ones up to the query's."""
        if window not in self.masks:
            new = torch.arange(width)
            query = self.lengths[:, None] + new  # [B, q]
            old = torch.arange(context)
            cached = (old < self.lengths[:, None, None]).expand(-1, width, -1)  # [B, q, T]
            fresh = (new[None, :] <= new[:, None]).expand(len(self.lengths), -1, -1)
            if window is not None:
                cached = cached & (query[:, :, None] - old < window)
                fresh = fresh & (new[:, None] - new[None, :] < window)
            seen = torch.cat([cached, fresh], -1)[:, None, None]
            self.masks[window] = torch.where(seen, 0.0, -1e30)
        return self.masks[window]


class DecodeStep(nn.Module):
    """(ids [B, q], lengths [B], keys and values of every layer) -> (logits [B, q, V], new keys and values).

    Caches are keys [B, H, ceil(T / 64), D, 64] and values [B, H, T, D], layer by layer (k0, v0, k1, v1, ...); new rows
    are keys [B, H, D, q] and values [B, H, q, D]. Entries of the cache at and beyond `lengths` are not read.
    """

    def __init__(self, model: Any, shape: StepShape) -> None:
        super().__init__()
        if getattr(model.config, "is_encoder_decoder", False) or model.get_output_embeddings() is None:
            raise FrontendError(f"{type(model).__name__} is not a decoder with a language-model head")
        positions = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
        if positions is not None and shape.context > positions:
            raise FrontendError(f"the model has {positions} positions: a context of {shape.context} is too long")
        AttentionInterface.register(ATTENTION, _attend)
        model.config._attn_implementation = ATTENTION
        self.model, self.shape = model.eval(), shape

    def forward(self, ids: Tensor, lengths: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        """One step; see the class."""
        return self.run(ids, StepState(caches[0::2], caches[1::2], lengths))

    def run(self, ids: Tensor, step: StepState) -> tuple[Tensor, ...]:
        """One step in a given state."""
        # Rows that fill up a prefill step may lie beyond the cache, and so beyond a table of positions.
        positions = (step.lengths[:, None] + torch.arange(ids.shape[1])).clamp(max=self.shape.context - 1)
        model = self.model if self.shape.logits else self.model.base_model
        result = model(input_ids=ids, position_ids=positions, past_key_values=step, use_cache=True, seerc_step=step)
        if sorted(step.new_keys) != list(range(len(step.keys))):
            raise FrontendError(f"{type(self.model).__name__}: attention does not go through transformers' interface")
        rows = [t for i in range(len(step.keys)) for t in (step.new_keys[i].transpose(2, 3), step.new_values[i])]
        return (result.logits, *rows) if self.shape.logits else tuple(rows)


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    seerc_step: Any = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of [B, G*H, q, D] queries over the cache of this layer and the new rows; grouped queries included."""
    old_keys, old_values = seerc_step.keys[module.layer_idx], seerc_step.values[module.layer_idx]
    batch, heads, context, width = old_values.shape
    rows, count = query.shape[2], query.shape[1] // heads
    grouped = (query * (scaling or 1 / math.sqrt(query.shape[-1]))).reshape(batch, heads, count * rows, -1)
    old = (grouped.unsqueeze(2) @ old_keys).transpose(2, 3).reshape(batch, heads, count * rows, -1)
    scores = torch.cat([old[..., :context], grouped @ key.transpose(2, 3)], -1)
    scores = scores.reshape(batch, heads, count, rows, context + rows)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    weights = (scores + seerc_step.mask(module.layer_idx, rows, context, sliding_window)).softmax(-1)
    weights = weights.reshape(batch, heads, count * rows, context + rows)
    mixed = weights[..., :context] @ old_values + weights[..., context:] @ value
    return mixed.reshape(batch, heads * count, rows, width).transpose(1, 2), None


def cache_shapes(model: Any, shape: StepShape, rooms: Mapping[int, int] | None = None) -> list[tuple[int, ...]]:
    """Shapes of keys and values, layer by layer, found by running the model once on one token.

    `rooms`: tokens that the cache of a layer holds, where that is not the context.
    """
    config: Any = model.config.get_text_config(decoder=True)
    seen: dict[int, tuple[int, int]] = {}

    class Probe(transformers.DynamicCache):
        def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
            seen[layer_idx] = (value_states.shape[1], value_states.shape[3])
            return super().update(key_states, value_states, layer_idx, *args, **kwargs)

    kept, model.config._attn_implementation = model.config._attn_implementation, "eager"
    try:
        with torch.no_grad():
            model.base_model(input_ids=torch.zeros(1, 1, dtype=torch.long), past_key_values=Probe(), use_cache=True)
    finally:
        model.config._attn_implementation = kept
    if len(seen) != config.num_hidden_layers:
        raise FrontendError(f"{type(model).__name__}: {len(seen)} of {config.num_hidden_layers} layers keep keys")
    b, rooms = shape.batch, rooms or {}
    sizes = [(rooms.get(i, shape.context), *seen[i]) for i in sorted(seen)]
    return [s for t, h, d in sizes for s in ((b, h, -(-t // BLOCK), d, BLOCK), (b, h, t, d))]


def example_inputs(model: Any, shape: StepShape) -> tuple[Tensor, ...]:
    """Inputs of a `DecodeStep`: zero ids, half-full zero caches."""
    ids = torch.zeros(shape.batch, shape.width, dtype=torch.long)
    lengths = torch.full((shape.batch,), shape.context // 2, dtype=torch.long)
    return (ids, lengths, *(torch.zeros(s) for s in cache_shapes(model, shape)))

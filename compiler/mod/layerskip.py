"""The LayerSkip recipe (Elhoushi et al., arXiv 2404.16710): layer dropout, early-exit loss, one shared head.

Works on transformers' Llama-style causal models (`model.layers`, `model.norm`, `model.rotary_emb`, `lm_head`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class LayerSkipOptions:
    """What section 4.1 of the paper leaves to choose."""

    dropout: float = 0.2
    """Chance that the last layer is skipped for a sequence in training; earlier ones less, the first never."""
    exit_scale: float = 1.0
    """`e_scale`: weight of the early exits against the last layer."""
    every: int = 4
    """`R` of the rotational curriculum: in each step every R-th exit has a loss, the next ones in the next step."""


def dropout_rates(layers: int, last: float) -> list[float]:
    """Chance of skipping each layer: `last` times exp(l ln 2 / (L - 1)) - 1, from 0 to `last`."""
    return [last * (math.exp(layer * math.log(2) / max(layers - 1, 1)) - 1) for layer in range(layers)]


def exit_weights(layers: int, step: int, options: LayerSkipOptions) -> list[float]:
    """Weight of each exit's loss in this step: equations 4 and 6 with the rotational curriculum; they sum to 1."""
    scale = options.exit_scale
    raw = [scale * layer * (layer + 1) / 2 for layer in range(layers)]
    raw[-1] = layers - 1 + scale * (layers - 1) * (layers - 2) / 2
    on = [layer == layers - 1 or (layer + 1 - step) % options.every == 0 for layer in range(layers)]
    kept = [w if use else 0.0 for w, use in zip(raw, on, strict=True)]
    total = sum(kept)
    return [w / total for w in kept] if total else [0.0] * (layers - 1) + [1.0]


def hidden_states(model: Any, ids: Tensor, rates: list[float] | None = None) -> list[Tensor]:
    """The residual stream after every layer [B, T, d], before the final norm.

    Args:
        model: a causal Llama-style model with sdpa attention.
        ids: token ids [B, T].
        rates: chance of skipping each layer for a sequence; a skipped one leaves its stream as it was.

    Raises:
        ValueError: the model's attention is not `sdpa`; others would see the future without a mask.
    """
    if model.config._attn_implementation != "sdpa":
        raise ValueError(f"load the model with attn_implementation='sdpa', not {model.config._attn_implementation!r}")
    inner = model.model
    positions = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)
    stream = inner.embed_tokens(ids)
    rotary = inner.rotary_emb(stream, position_ids=positions)
    found: list[Tensor] = []
    for layer, rate in zip(inner.layers, rates or [0.0] * len(inner.layers), strict=True):
        stream = _some(layer, stream, torch.rand(len(ids)) >= rate, positions, rotary)
        found.append(stream)
    return found


def _some(layer: Any, stream: Tensor, runs: Tensor, positions: Tensor, rotary: Any) -> Tensor:
    """The layer on those sequences of the batch that run it: skipped ones cost nothing."""
    rows = runs.nonzero().flatten()
    if len(rows) == 0:
        return stream
    chosen = stream if len(rows) == len(stream) else stream[rows]
    out = layer(chosen, attention_mask=None, position_ids=positions, position_embeddings=rotary)
    return out if len(rows) == len(stream) else stream.index_copy(0, rows, out)


def exit_logits(model: Any, stream: Tensor) -> Tensor:
    """What the shared norm and head say of a stream [..., d] -> [..., vocabulary]."""
    return model.lm_head(model.model.norm(stream))


def layerskip_loss(model: Any, tokens: Tensor, step: int, options: LayerSkipOptions) -> Tensor:
    """The weighted cross entropy of this step's exits on windows of tokens [B, T + 1]; a scalar, nats a token."""
    layers = len(model.model.layers)
    streams = hidden_states(model, tokens[:, :-1], dropout_rates(layers, options.dropout))
    total = torch.zeros(())
    for stream, weight in zip(streams, exit_weights(layers, step, options), strict=True):
        if weight:
            total = total + weight * _cross_entropy(exit_logits(model, stream), tokens)
    return total


def _cross_entropy(logits: Tensor, tokens: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


@dataclass(frozen=True)
class ExitReport:
    """One exit on held-out text: after `layer` layers."""

    layer: int
    loss: float
    """Cross entropy, nats a token."""
    agreement: float
    """Share of positions where its most likely next token is the full model's."""


@torch.no_grad()
def report_exits(model: Any, tokens: Tensor, batch: int = 8) -> list[ExitReport]:
    """Loss and one-step greedy agreement with the full model of every exit, on windows [N, T + 1]."""
    layers = len(model.model.layers)
    losses, agreed = [0.0] * layers, [0.0] * layers
    for window in tokens.split(batch):
        streams = hidden_states(model, window[:, :-1])
        best = exit_logits(model, streams[-1]).argmax(-1)
        for index, stream in enumerate(streams):
            logits = exit_logits(model, stream)
            losses[index] += float(_cross_entropy(logits, window)) * len(window) / len(tokens)
            agreed[index] += float((logits.argmax(-1) == best).float().mean()) * len(window) / len(tokens)
    return [ExitReport(i + 1, losses[i], agreed[i]) for i in range(layers)]

"""Attention of draft rows over the full network's keys and values, as a transformers attention function.

A draft step of self-speculation sees the keys and values of all earlier, verified tokens as the *full* network made
them, and its own as the draft makes them. So all positions of a text can be drafted at once: each row attends to the
recorded keys before it and to its own key, and rows do not see each other. That is exact, not a window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from costmodel.errors import SeercError

NAME = "seerc_rows"


@dataclass
class AttentionState:
    """What the attention modules of one model share; `seen` is None while they record a full run.

    `keys[l]`, `values[l]`: [B, H, T, d] of layer l. `seen`: [B, 1, R, T], which recorded keys a row attends to.
    `own`: [B, 1, R, R], which rows' own keys. `absent[l]`: [B, T], tokens that leave no key in layer l of a full run,
    so that only they themselves see it. `observe` is called with layer, query and key [B, H, T, d] and the scale.
    """

    keys: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    values: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    seen: Tensor | None = None
    own: Tensor | None = None
    absent: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    observe: Callable[[int, Tensor, Tensor, float | None], None] | None = None

    def full_run(self, absent: Mapping[int, Tensor] | None = None) -> None:
        """Let the attentions serve whole texts and record them, whatever other oracles of the stream did before."""
        self.keys, self.values, self.seen, self.own = {}, {}, None, None
        self.absent = dict(absent or {})

    def install(self, model: Any, attentions: list[nn.Module]) -> None:
        """Make `attentions` (by layer) of a Hugging Face model use this state."""
        from transformers import AttentionInterface

        AttentionInterface.register(NAME, _attend)
        for layer, module in enumerate(attentions):
            module.__dict__["seerc_attention"] = (self, layer)
        model.set_attn_implementation(NAME)


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """query [B, H, R, d], key and value [B, H_kv, R, d] -> [B, R, H, d]."""
    if options.get("softcap") is not None or options.get("s_aux") is not None:
        raise SeercError(f"{type(module).__name__}: attention with soft caps or sinks cannot be drafted yet")
    state, layer = module.__dict__["seerc_attention"]
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, 1) for x in (key, value)) if groups > 1 else (key, value)
    attend, scale = nn.functional.scaled_dot_product_attention, options.get("scaling")
    if state.seen is None:
        state.keys[layer], state.values[layer] = key, value
        if state.observe is not None:
            state.observe(layer, query, key, scale)
        if layer in state.absent:
            out = attend(query, key, value, attn_mask=_without(state.absent[layer]), scale=scale)
        else:
            out = attend(query, key, value, is_causal=True, scale=scale)
    else:
        keys, values = torch.cat([state.keys[layer], key], 2), torch.cat([state.values[layer], value], 2)
        out = attend(query, keys, values, attn_mask=torch.cat([state.seen, state.own], 3), scale=scale)
    return out.transpose(1, 2), None


def _without(absent: Tensor) -> Tensor:
    """Which keys each token sees: those of itself and of the present ones before it. [B, T] -> [B, 1, T, T]"""
    tokens = absent.shape[1]
    causal, own = torch.ones(tokens, tokens).tril().bool(), torch.eye(tokens, dtype=torch.bool)
    return (causal & (~absent.unsqueeze(1) | own)).unsqueeze(1)

"""PyTorch models whose sub-blocks only the best-scored tokens go through: what a mixture of depths must compute."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

PAIRS = {
    "llama": ("model.layers", ("input_layernorm", "self_attn"), ("post_attention_layernorm", "mlp")),
    "gemma2": ("model.layers", ("input_layernorm", "self_attn"), ("pre_feedforward_layernorm", "mlp")),
    "gpt2": ("transformer.h", ("ln_1", "attn"), ("ln_2", "mlp")),
    "gpt-neox": ("gpt_neox.layers", ("input_layernorm", "attention"), ("post_attention_layernorm", "mlp")),
}
"""Where the layers are, and the norm and the module of attention and FFN."""


def best_tokens(scores: Tensor, count: int) -> Tensor:
    """Positions of the `count` largest of each row, ascending; of equal ones the earlier. [B, count]"""
    order = torch.sort(scores, dim=1, descending=True, stable=True).indices
    return order[:, :count].sort(1).values


class Routed(nn.Module):
    """r f(x) for the chosen tokens and 0 for the others, where f is a module with or without a norm before it.

    With `whole` the module is a layer that returns x + f(x), and so does this.
    """

    def __init__(
        self, norm: nn.Module, inner: nn.Module, router: Tensor, count: int, offset: float = 0.0, whole: bool = False
    ) -> None:
        super().__init__()
        self.norm, self.inner, self.router, self.whole = norm, inner, nn.Parameter(router), whole
        self.count, self.offset = count, offset

    def forward(self, hidden_states: Tensor, *arguments: Any, **named: Any) -> Any:
        x = hidden_states
        scores = x @ self.router + self.offset
        at = best_tokens(scores, self.count)
        taken = torch.stack([row[places] for row, places in zip(x, at, strict=True)])
        arguments = tuple(_chosen(value, at) for value in arguments)
        named = {name: _chosen(value, at) for name, value in named.items()}
        result = self.inner(self.norm(taken), *arguments, **named)
        added = result[0] if isinstance(result, tuple) else result
        added = added - taken if self.whole else added
        out = x.clone() if self.whole else torch.zeros_like(x)
        for row, places in enumerate(at):
            out[row, places] += scores[row, places, None] * added[row]
        return (out, *result[1:]) if isinstance(result, tuple) else out


def _chosen(value: Any, at: Tensor) -> Any:
    """Rotary tables and masks at the chosen positions; anything else as it is."""
    batch = len(at)
    if isinstance(value, tuple) and len(value) == 2:
        tables = [table.expand(batch, -1, -1) for table in value]
        return tuple(torch.stack([t[places] for t, places in zip(table, at, strict=True)]) for table in tables)
    if isinstance(value, Tensor) and value.ndim == 4:
        masks = value.expand(batch, -1, -1, -1)
        return torch.stack([mask[:, p][:, :, p] for mask, p in zip(masks, at, strict=True)])
    return value


def routed(module: nn.Module, name: str, routers: Mapping[int, Tensor], count: int, offset: float = 0.0) -> nn.Module:
    """A float64 copy of a `Tokens` module; sub-block 2 i + j is attention (j = 0) or FFN of layer i."""
    made = copy.deepcopy(module).double()
    path, *pairs = PAIRS[name]
    layers = made.get_submodule(f"model.{path}")
    for number, router in routers.items():
        layer = layers[number // 2]  # type: ignore[index]
        norm, inner = pairs[number % 2]
        setattr(layer, inner, Routed(getattr(layer, norm), getattr(layer, inner), router.double(), count, offset))
        setattr(layer, norm, nn.Identity())
    return made


def routed_layers(module: nn.Module, path: str, routers: Mapping[int, Tensor], count: int) -> nn.Module:
    """The same for whole layers; `routers` by number of the first sub-block."""
    made = copy.deepcopy(module).double()
    layers: Any = made.get_submodule(path)
    for number, router in routers.items():
        layers[number // 2] = Routed(nn.Identity(), layers[number // 2], router.double(), count, whole=True)
    return made

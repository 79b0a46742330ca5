"""Low-rank adapters (Hu et al., arXiv 2106.09685) on linear layers, merged into them when the training is over."""

from __future__ import annotations

import math

import torch
from torch import nn


class LoraLinear(nn.Module):
    """x W^T + 2 x A^T B^T with a frozen W; B starts at zero, so the model starts as it was."""

    SCALE = 2.0
    """alpha / rank."""

    def __init__(self, inner: nn.Linear, rank: int) -> None:
        super().__init__()
        self.inner = inner.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, inner.in_features, dtype=inner.weight.dtype))
        self.up = nn.Parameter(torch.zeros(inner.out_features, rank, dtype=inner.weight.dtype))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x of shape (..., in_features) to (..., out_features)."""
        return self.inner(x) + self.SCALE * (x @ self.down.T @ self.up.T)

    def merged(self) -> nn.Linear:
        """One layer that computes the same."""
        with torch.no_grad():
            self.inner.weight += self.SCALE * (self.up @ self.down)
        return self.inner


def add_lora(model: nn.Module, rank: int) -> None:
    """Freeze the model but its embeddings (the sentinels are new) and adapt every linear layer of its blocks."""
    model.requires_grad_(False)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Embedding):
            module.requires_grad_(True)
        elif isinstance(module, nn.Linear) and ".layers." in f".{name}.":
            _replace(model, name, LoraLinear(module, rank))


def merge_lora(model: nn.Module) -> None:
    """Put plain layers back in place of the adapted ones."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLinear):
            _replace(model, name, module.merged())
    model.requires_grad_(True)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)

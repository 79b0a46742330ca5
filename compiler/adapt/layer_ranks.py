"""ARank of the layers of a Hugging Face decoder: where gamma-MoD (arXiv 2410.13859) would leave tokens out."""

from __future__ import annotations

import torch
from torch import Tensor

from compiler.adapt.oracle import Oracle
from compiler.mod.arank import arank


def layer_ranks(oracle: Oracle, texts: int = 8) -> list[float]:
    """The mean rank of each layer's attention maps over some of the texts, without their padding."""
    sums = [0.0] * len(oracle.stream.layers)
    state = oracle.stream.attention
    state.full_run()

    def observe(layer: int, query: Tensor, key: Tensor, scale: float | None) -> None:
        scores = query @ key.transpose(-1, -2) * (scale or query.shape[-1] ** -0.5)
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        sums[layer] += arank(scores.masked_fill(later, float("-inf")).softmax(-1))

    count = min(texts, len(oracle.texts.ends))
    try:
        with torch.no_grad():
            for text in range(count):
                tokens = oracle.texts.tokens[text : text + 1, : int(oracle.texts.ends[text])]
                inputs = oracle.stream.inputs(tokens, torch.arange(tokens.shape[1]).unsqueeze(0))
                state.observe = observe
                oracle.stream.run(inputs.hidden, inputs)
                state.observe = None
    finally:
        state.observe = None
    return [total / count for total in sums]

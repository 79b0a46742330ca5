"""Which neurons of an FFN say most on some texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compiler.adapt.layers import matrix_of
from compiler.adapt.oracle import Oracle


@dataclass(frozen=True)
class Activity:
    """By FFN sub-block, for each neuron the mean norm of what it adds to the output: E|h_i| |W_out[:, i]|."""

    strengths: dict[int, Tensor]

    def most(self, block: int, share: float) -> tuple[int, ...]:
        """The share of the neurons that are strongest, in order."""
        strengths = self.strengths[block]
        count = max(1, round(len(strengths) * share))
        return tuple(sorted(strengths.topk(count).indices.tolist()))


def activity_of(oracle: Oracle) -> Activity:
    """Over all tokens of the texts, by one run of the full model."""
    stream, texts = oracle.stream, oracle.texts
    inside = (torch.arange(texts.tokens.shape[1]) < texts.ends.unsqueeze(1)).flatten()
    sums: dict[int, Tensor] = {}
    handles: list[Any] = []
    for block in range(1, stream.blocks, 2):
        output = stream.linears(block)[-1]
        norms = matrix_of(output).norm(dim=0)

        def record(_: Any, inputs: tuple[Tensor, ...], block: int = block, norms: Tensor = norms) -> None:
            rows = inputs[0].detach().reshape(-1, len(norms))
            sums[block] = rows[inside].abs().mean(0) * norms

        handles.append(output.register_forward_pre_hook(record))
    try:
        oracle.lossy(())
    finally:
        for handle in handles:
            handle.remove()
    return Activity(sums)

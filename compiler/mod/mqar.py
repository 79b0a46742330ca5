"""Multi-query associative recall (Arora et al., Zoology, arXiv 2312.04927): key-value pairs, then keys to answer.

A sequence begins with `pairs` keys, each followed by its value. Each key comes once more, at an even distance after the
pairs that is drawn from a power law without repetition; there the model must say the value. Keys are of the lower half
of the vocabulary, values of the upper; everything else is noise: random tokens, or token 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100
"""Label of positions that are neither trained on nor scored."""


@dataclass(frozen=True)
class RecallTask:
    """Sizes of the task."""

    vocabulary: int = 128
    tokens: int = 64
    pairs: int = 8
    power: float = 0.01
    """Exponent a of the gaps: p(g) ~ g^(a - 1); Zoology's 0.01 puts most queries near the pairs."""
    noise: bool = True
    """Random tokens between the queries (Zoology's default) instead of token 0."""

    def __post_init__(self) -> None:
        if self.tokens % 2 or self.pairs * 4 > self.tokens:
            raise ValueError(f"{self.pairs} pairs need an even length of at least {4 * self.pairs}, got {self.tokens}")
        if self.vocabulary // 2 - 1 < self.pairs:
            raise ValueError(f"{self.pairs} different keys need a vocabulary of at least {2 * self.pairs + 2}")

    def batch(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs and labels, int64 [size, tokens]; the label at a query is its value, IGNORED elsewhere."""
        half, context = self.vocabulary // 2, 2 * self.pairs
        keys = _distinct(size, half - 1, self.pairs, generator) + 1
        values = _distinct(size, self.vocabulary - half, self.pairs, generator) + half
        places = context + 2 * self._gaps(size, generator)
        inputs = torch.zeros(size, self.tokens, dtype=torch.int64)
        if self.noise:
            inputs = torch.randint(self.vocabulary, inputs.shape, generator=generator)
        inputs[:, 0:context:2], inputs[:, 1:context:2] = keys, values
        inputs.scatter_(1, places, keys)
        labels = torch.full_like(inputs, IGNORED).scatter_(1, places, values)
        return inputs, labels

    def _gaps(self, size: int, generator: torch.Generator) -> Tensor:
        """Different slots after the pairs for the queries [size, pairs]."""
        slots = (self.tokens - 2 * self.pairs) // 2
        weights = torch.arange(1, slots + 1, dtype=torch.float64) ** (self.power - 1)
        return torch.multinomial(weights.expand(size, -1), self.pairs, generator=generator)


def _distinct(size: int, range_: int, count: int, generator: torch.Generator) -> Tensor:
    """Rows of `count` different numbers below `range_`."""
    return torch.rand(size, range_, generator=generator).argsort(1)[:, :count]

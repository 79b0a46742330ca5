"""Choosing tokens from logits: greedy or sampled, and the acceptance rule of speculative sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from costmodel.errors import SeercError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Sampling:
    """`temperature` 0 is greedy. `top_k` (0: all) and `top_p` cut the distribution as transformers does: k, then p."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    _random: np.random.Generator = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and self.top_k >= 0 and 0 < self.top_p <= 1 and self.seed >= 0):
            raise SeercError(f"temperature, top-k and seed are at least 0, top-p lies in (0, 1]; got {self}")
        object.__setattr__(self, "_random", np.random.default_rng(self.seed))

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    def choose(self, logits: Array) -> list[int]:
        """A token for each row of logits [B, V]."""
        return self.draw(self.probabilities(logits)).tolist()

    def probabilities(self, logits: Array) -> Array:
        """The distribution to draw from, [..., V]; greedy: the token with the highest logit, [...]."""
        if self.greedy:
            return logits.argmax(-1)
        scaled = logits.astype(np.float64)
        with np.errstate(over="ignore"):  # to -inf, at a temperature close to 0
            scaled = (scaled - scaled.max(-1, keepdims=True)) / self.temperature
        if 0 < self.top_k < scaled.shape[-1]:
            least = np.partition(scaled, -self.top_k, -1)[..., -self.top_k, None]
            scaled = np.where(scaled < least, -np.inf, scaled)
        return self._nucleus(_softmax(scaled))

    def _nucleus(self, p: Array) -> Array:
        """The fewest most likely tokens whose probabilities reach `top_p`."""
        if self.top_p >= 1:
            return p
        order = np.argsort(-p, -1, kind="stable")
        falling = np.take_along_axis(p, order, -1)
        kept = np.cumsum(falling, -1) - falling < self.top_p
        cut = np.zeros_like(p)
        np.put_along_axis(cut, order, np.where(kept, falling, 0.0), -1)
        return cut / cut.sum(-1, keepdims=True)

    def draw(self, p: Array) -> Array:
        """A token [B] from each distribution [B, V], or the greedy tokens themselves."""
        if self.greedy:
            return p
        edges = np.cumsum(p, -1)
        drawn = self._random.random((len(p), 1)) * edges[:, -1:]
        return (edges <= drawn).sum(-1)

    def accept(self, draft: Array, drafted: Sequence[Array], full: Array) -> list[int]:
        """The accepted tokens of one sequence and one more, so that all are distributed as the full model's.

        Args:
            draft: tokens [K].
            drafted: their distributions by the draft, K x [V] (greedy: unused).
            full: those of the full model at the same places and after the last, [K + 1, V] (greedy: tokens [K + 1]).
        """
        if self.greedy:
            same = draft == full[:-1]
            count = len(draft) if same.all() else int(same.argmin())
            return [*draft[:count].tolist(), int(full[count])]
        for k, token in enumerate(draft.tolist()):
            p, q = full[k], drafted[k]
            if self._random.random() * q[token] >= p[token]:
                rest = np.maximum(p - q, 0)
                rest = rest if rest.any() else p  # equal but for rounding
                return [*draft[:k].tolist(), int(self.draw((rest / rest.sum())[None])[0])]
        return [*draft.tolist(), int(self.draw(full[-1][None])[0])]


def confidence(logits: Array) -> Array:
    """The probability of the likeliest token at temperature 1: [..., V] -> [...]."""
    return 1 / np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)

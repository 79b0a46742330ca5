"""Decoding timed fairly: every contestant decodes the same prompts in every round, in shuffled order."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compiler.decode.decoder import Decoder
from compiler.decode.generate import Draft, Request, Statistics, generate

Prompts = Sequence[Sequence[int]]
Run = Callable[[Prompts], tuple[list[list[int]], float, Statistics]]
"""New tokens of each prompt of a batch, the seconds of decoding without prefill, and what speculation did."""


@dataclass(frozen=True)
class Timed:
    """One contestant: seconds of each round over all prompts; texts and statistics of the last round."""

    seconds: np.ndarray[Any, Any]
    texts: list[list[int]]
    statistics: Statistics

    @property
    def tokens(self) -> int:
        """New tokens of one round."""
        return sum(map(len, self.texts))

    def ratios(self, plain: Timed) -> np.ndarray[Any, Any]:
        """By round, tokens a second over those of `plain`."""
        return plain.seconds / self.seconds * (self.tokens / plain.tokens)


def alternate(runs: Mapping[str, Run], batches: Sequence[Prompts], rounds: int) -> dict[str, Timed]:
    """Time every contestant `rounds` times on every batch of prompts.

    A round of one is not interrupted by others: each finds the caches as it left them.
    """
    order = list(runs)
    seconds = {name: [0.0] * rounds for name in runs}
    texts: dict[str, list[list[int]]] = {}
    found: dict[str, Statistics] = {}
    for index in range(rounds):
        random.Random(index).shuffle(order)
        texts, found = {name: [] for name in runs}, {name: Statistics() for name in runs}
        for name in order:
            for batch in batches:
                tokens, spent, statistics = runs[name](batch)
                seconds[name][index] += spent
                texts[name] += tokens
                found[name].add(statistics)
    return {name: Timed(np.array(seconds[name]), texts[name], found[name]) for name in runs}


def decoding(decoder: Decoder, request: Request, draft: Draft | None = None) -> Run:
    """A contestant: a compiled decoder, with or without a draft."""

    def run(prompts: Prompts) -> tuple[list[list[int]], float, Statistics]:
        statistics, tokens = Statistics(), [list[int]() for _ in prompts]
        begin = time.perf_counter()
        for part in generate(decoder, prompts, request, draft, statistics):
            for text, new in zip(tokens, part, strict=True):
                text += new
        return tokens, time.perf_counter() - begin - statistics.prefill_s, statistics

    return run

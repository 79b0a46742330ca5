"""Duo-LLM's oracle (arXiv 2410.10846): the best path of every token, by trying all of them.

Each of up to twelve layers runs its FFN (big) or leaves it out (the small module; theirs is trained with the model).
All 2^n programs are run over the texts, in a tree that shares the layers before two programs differ. The oracle takes
for each token the program that is best for it among those of its budget, so a token sees the keys that its own program
made. No router can know that; it bounds what choosing by token may gain over one choice for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compiler.adapt.knapsack import Variant, front
from compiler.adapt.oracle import Oracle
from compiler.adapt.stream import LayerInputs
from costmodel.errors import SeercError

MOST = 12


@dataclass(frozen=True)
class Budget:
    """KL (nats a token) of what may run `big` of the FFNs, by who chooses; `knapsack_set`: the layers that run theirs.

    `per_token`: the oracle. `best`: the best program for all tokens. `knapsack`: the program of least summed single
    losses. `late`: the last `big` ones.
    """

    big: int
    per_token: float
    best: float
    knapsack: float
    late: float
    best_set: tuple[int, ...]
    knapsack_set: tuple[int, ...]


def all_programs(oracle: Oracle, layers: Sequence[int]) -> np.ndarray:
    """KL of every token in every program, [2^n, N]; bit i of the program's number: layers[i] runs its FFN.

    Args:
        oracle: the model and the texts.
        layers: ascending, at most MOST.
    """
    if not layers or len(layers) > MOST or sorted(set(layers)) != list(layers):
        raise SeercError(f"give one to {MOST} layers in ascending order, got {list(layers)}: 2^n programs are run")
    tokens, state = oracle.texts.tokens, oracle.stream.attention
    state.full_run()
    losses = np.empty((1 << len(layers), oracle.rows.valid.sum()), np.float32)
    with torch.no_grad():
        inputs = oracle.stream.inputs(tokens, torch.arange(tokens.shape[1]).expand_as(tokens))
        for program, hidden in _tree(oracle, layers, inputs, inputs.hidden, 0, 0):
            measured = oracle.quality(hidden)
            losses[program] = measured.kl[measured.valid]
    return losses


def _tree(
    oracle: Oracle, layers: Sequence[int], inputs: LayerInputs, hidden: Tensor, layer: int, program: int
) -> Iterator[tuple[int, Tensor]]:
    """(program, its last stream) of all programs that agree with `program` before `layer`."""
    if layer == len(oracle.stream.layers):
        yield program, hidden
        return
    choices = ((1, True), (0, False)) if layer in layers else ((0, True),)
    for bit, ffn in choices:
        behind = oracle.stream.through(layer, hidden, inputs, ffn)
        chosen = program | (bit << layers.index(layer)) if bit else program
        yield from _tree(oracle, layers, inputs, behind, layer + 1, chosen)


def by_budget(losses: np.ndarray, layers: Sequence[int]) -> list[Budget]:
    """From the losses of `all_programs`: a row for each number of FFNs that run, from none to all."""
    count, every = len(layers), len(losses) - 1
    means = losses.mean(1)
    sizes = np.array([program.bit_count() for program in range(len(losses))])
    singles = [[Variant("big", 1.0, 0.0), Variant("small", 0.0, float(means[every ^ (1 << i)]))] for i in range(count)]
    picked = {
        round(point.time): sum(1 << i for i, index in enumerate(point.chosen) if index == 0) for point in front(singles)
    }
    rows: list[Budget] = []
    for big in range(count + 1):
        members = np.flatnonzero(sizes == big)
        best, late = int(members[means[members].argmin()]), every & ~(every >> big)
        chosen = picked.get(big, best)
        rows.append(
            Budget(
                big=big,
                per_token=float(losses[members].min(0).mean()),
                best=float(means[best]),
                knapsack=float(means[chosen]),
                late=float(means[late]),
                best_set=_set(best, layers),
                knapsack_set=_set(chosen, layers),
            )
        )
    return rows


def _set(program: int, layers: Sequence[int]) -> tuple[int, ...]:
    return tuple(layer for i, layer in enumerate(layers) if program >> i & 1)

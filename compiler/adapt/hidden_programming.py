"""Dynamic programming over real hidden states: for every budget of saved cost a skip set that keeps the stream close.

State (i, j): the stream behind the first i units when skipped units of weight j were saved; of the two ways to get
there (run unit i on state (i-1, j), or skip it from (i-1, j-w)), the one whose stream is closer to the full network's
by cosine stays (CLaSp, arXiv 2505.24196; KnapSpec, arXiv 2602.20217). All budgets come out of one pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compiler.adapt.oracle import Oracle, Rows, Skips
from compiler.adapt.trials import Trials

Likeness = Callable[[Tensor, Tensor], Tensor]  # stream [B, R, d], full stream [B, R, d] -> likeness [B, R]


@dataclass(frozen=True)
class Unit:
    """Consecutive sub-blocks that are skipped together, and the whole-number cost that this saves."""

    blocks: tuple[int, ...]
    weight: int = 1


@dataclass(frozen=True)
class _State:
    """The stream, the stream before the present layer (for parallel residuals), what was skipped, its likeness."""

    hidden: Tensor
    entry: Tensor
    skipped: Skips
    likeness: float


def cosine(stream: Tensor, full: Tensor) -> Tensor:
    """The likeness of the published searches."""
    return torch.cosine_similarity(stream, full, dim=-1)


def relative_error(stream: Tensor, full: Tensor) -> Tensor:
    """-|stream - full| / |full|: unlike the cosine it also sees a stream that is too short or too long."""
    return -(stream - full).norm(dim=-1) / full.norm(dim=-1)


def program_hidden_states(
    trials: Trials,
    units: Sequence[Unit],
    most: int,
    positions: int = 16,
    likeness: Likeness = cosine,
    least: float = -math.inf,
) -> dict[int, Skips]:
    """The skip set kept for each saved weight up to `most`.

    Args:
        trials: charged with the layers and positions that were run.
        units: what may be skipped, in stream order; sub-blocks in none are always run.
        most: the largest saved weight.
        positions: sampled a text.
        likeness: of a stream to the full network's, higher is closer.
        least: states whose mean likeness is below are dropped (KnapSpec: .5).
    """
    oracle = trials.oracle
    with torch.no_grad():
        rows = oracle.select(positions)
        full = rows.hidden
        states = {0: _State(full[0], full[0], frozenset(), 1.0)}
        runs = 0
        for unit in _with_fixed(units, oracle.stream.blocks):
            runs += len(states) * len(unit.blocks)
            target = full[unit.blocks[-1] + 1]
            states = _advance(oracle, rows, states, unit, most, lambda x, to=target: _mean(likeness(x, to), rows))
            states = {saved: state for saved, state in states.items() if state.likeness >= least or not saved}
    trials.charge((runs / oracle.stream.blocks + 1) * rows.valid.sum().item() / oracle.rows.valid.sum().item())
    return {saved: state.skipped for saved, state in sorted(states.items()) if saved}


def _with_fixed(units: Sequence[Unit], blocks: int) -> list[Unit]:
    """The units, with the sub-blocks in none of them as units too heavy to be skipped, in stream order."""
    inside = {block for unit in units for block in unit.blocks}
    fixed = [Unit((block,), 0) for block in range(blocks) if block not in inside]
    return sorted([*units, *fixed], key=lambda unit: unit.blocks)


def _advance(
    oracle: Oracle, rows: Rows, states: dict[int, _State], unit: Unit, most: int, close: Callable[[Tensor], float]
) -> dict[int, _State]:
    after: dict[int, _State] = {}
    for saved, state in states.items():
        hidden, entry = state.hidden, state.entry
        for block in unit.blocks:
            entry = hidden if block % 2 == 0 else entry
            hidden = oracle.stream.step(block, hidden, entry, rows.inputs)
        after[saved] = _State(hidden, entry, state.skipped, close(hidden))
    for saved, state in states.items():
        total = saved + unit.weight
        if not unit.weight or total > most:
            continue
        near = close(state.hidden)
        if total not in after or near > after[total].likeness:
            entry = state.hidden if unit.blocks[-1] % 2 == 0 else state.entry
            after[total] = _State(state.hidden, entry, state.skipped | set(unit.blocks), near)
    return after


def _mean(values: Tensor, rows: Rows) -> float:
    return float(values[rows.valid].mean())

"""Local search over skip sets: a local model proposes swaps, additions and removals, the oracle decides.

Around the best set measured so far the model of `sensitivity` is fitted; a beam over moves ranks the sets within a few
moves of it; the most promising ones are measured, best first. A set that is better beyond the error of the comparison
becomes the new centre: the best of 60 measurements on few texts is often only the luckiest.

What is maximised is not the counted agreement but the overlap sum of min(p_full, p_draft), the acceptance of sampled
speculation: it is far less noisy. On SmolLM2 the overlap on one half of the texts ranks sets as the agreement on the
other half does with a rank correlation of .80, the agreement itself only with .52.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from compiler.adapt.oracle import Measured, Skips
from compiler.adapt.sensitivity import LocalModel, distance, linearise, price
from compiler.adapt.trials import Trials

Objective = Callable[[Skips, float], float]  # (skip set, its acceptance) -> what is maximised


@dataclass(frozen=True)
class Neighbourhood:
    """Which sub-blocks may be skipped, whether their number may change, the beam over moves, patience and caution.

    `tries`: sets measured around one centre before the search moves to a better one. `caution`: standard errors of the
    paired difference, text by text, that a set must be better by.
    """

    choosable: tuple[int, ...]
    resize: bool = False
    depth: int = 3
    width: int = 8
    tries: int = 6
    caution: float = 2.0


def search(trials: Trials, seeds: Sequence[Skips], objective: Objective, near: Neighbourhood) -> Measured:
    """The best set found within the account's limit.

    Args:
        trials: what may be spent; the first seed is measured in any case.
        seeds: where to start; measured first.
        objective: what is maximised; asked with predicted acceptances and with measured overlaps.
        near: the moves.
    """
    for rank, seed in enumerate(seeds):
        if trials.left or not rank:
            trials.measure(seed)
    while trials.left > price(trials.oracle):
        centre = _best(trials, objective, near).skipped
        proposals = _propose(trials, linearise(trials, centre), objective, near)
        fresh = [skipped for skipped in proposals if skipped not in trials.measured]
        if not fresh:
            break
        for tried, skipped in enumerate(fresh, 1):
            if not trials.left:
                break
            trials.measure(skipped)
            if tried >= near.tries and trials.left > near.tries and _best(trials, objective, near).skipped != centre:
                break
    return _best(trials, objective, near)


def _best(trials: Trials, objective: Objective, near: Neighbourhood) -> Measured:
    """In the order of measurement each set must beat the best before it with `caution` errors taken off its overlap."""

    def better(best: Measured, other: Measured) -> Measured:
        careful = other.mean_overlap - near.caution * paired_error(best, other)
        gains = objective(other.skipped, careful) > objective(best.skipped, best.mean_overlap)
        return other if gains else best

    return reduce(better, trials.measured.values())


def paired_error(one: Measured, other: Measured) -> float:
    """Standard error of the difference of two sets' mean overlaps; texts are the independent samples."""
    counts = one.valid.sum(1)
    differences = ((other.overlap - one.overlap) * one.valid).sum(1)
    spread = differences - counts * differences.sum() / counts.sum()
    texts = len(counts)
    return float(np.sqrt((spread**2).sum() * texts / max(texts - 1, 1)) / counts.sum())


def _propose(trials: Trials, model: LocalModel, objective: Objective, near: Neighbourhood) -> list[Skips]:
    """Sets within `depth` moves of the model's centre, most promising first."""
    slope = _slope(trials.measured.values())
    overlap = trials.measured[model.around].mean_overlap
    here = model.distances([model.around])[0]

    def ranked(sets: Collection[Skips]) -> list[tuple[float, Skips]]:
        ordered = sorted(sets, key=sorted)
        predicted = overlap - slope * (model.distances(ordered) - here)
        values = [objective(skipped, float(np.clip(p, 0, 1))) for skipped, p in zip(ordered, predicted, strict=True)]
        return sorted(zip(values, ordered, strict=True), key=lambda pair: -pair[0])

    beam, seen = [model.around], {model.around}
    found: list[tuple[float, Skips]] = []
    for _ in range(near.depth):
        moves = {move for skipped in beam for move in _moves(skipped, near)} - seen
        if not moves:
            break
        best = ranked(moves)
        beam = [skipped for _, skipped in best[: near.width]]
        found += best[:50]
        seen |= moves
    return [skipped for _, skipped in sorted(found, key=lambda pair: -pair[0])]


def _slope(sets: Iterable[Measured]) -> float:
    """Overlap lost by distance (mean sqrt KL), least squares through the origin on the sets measured so far."""
    pairs = [(float(distance(m.kl[m.valid])), 1 - m.mean_overlap) for m in sets]
    square = sum(far * far for far, _ in pairs)
    return sum(far * lost for far, lost in pairs) / square if square else 1.0


def _moves(skipped: Skips, near: Neighbourhood) -> Iterable[Skips]:
    for out in skipped:
        for into in near.choosable:
            if into not in skipped:
                yield skipped - {out} | {into}
    if near.resize:
        yield from (skipped | {block} for block in near.choosable if block not in skipped)
        yield from (skipped - {block} for block in skipped)

"""The published searches for a skip set, and simple ones, on the same oracle and with the same account.

Each takes (trials, number of sub-blocks to skip, costs, seed) and returns a skip set of that size (CLaSp: whole layers,
so at most that size). What was published and what differs here stands at each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch

from compiler.adapt.bayesian import BayesianOptimisation, top_subset
from compiler.adapt.costs import Costs
from compiler.adapt.hidden_programming import Unit, program_hidden_states
from compiler.adapt.oracle import Skips
from compiler.adapt.speculation import best_speculation
from compiler.adapt.trials import Trials

Searcher = Callable[[Trials, int, Costs, int], Skips]
WINDOW = 50  # generated tokens that SWIFT scores
BAYES_EVERY = 25


def swift(trials: Trials, count: int, costs: Costs, seed: int) -> Skips:
    """SWIFT (arXiv 2410.06916): random subsets of a fixed size, every 25th from Bayesian optimisation, by matchness.

    The score is over all calibration texts; theirs is over one. Its start set, every other layer, is cut to the size.
    It would stop at a score of .93; here it uses the whole account.
    """
    choosable = trials.oracle.stream.choosable
    random, optimiser = np.random.default_rng(seed), BayesianOptimisation(len(choosable), seed)
    layers = choosable[-1] // 2 + 2
    every_other = [block for layer in range(1, layers - 1, 2) for block in (2 * layer, 2 * layer + 1)]
    candidate = np.isin(choosable, _spread(every_other, count)).astype(float)
    best, best_score, step = frozenset[int](), -1.0, 0
    while trials.left:
        skipped = _set_of(candidate, choosable)
        score = trials.matchness(skipped, WINDOW)
        optimiser.register(candidate, score)
        best, best_score = (skipped, score) if score > best_score else (best, best_score)
        step += 1
        point = optimiser.suggest() if step % BAYES_EVERY == 0 else random.random(len(choosable))
        candidate = _unmeasured(top_subset(point, count), trials.matches, choosable, random)
    return best


def draft_and_verify(trials: Trials, count: int, costs: Costs, seed: int) -> Skips:
    """Draft & Verify (arXiv 2309.08168): Bayesian optimisation at every step, straight on tokens per second.

    Theirs measures real decoding; here the rate is predicted from costs and measured acceptance.
    """
    choosable = trials.oracle.stream.choosable
    random, optimiser = np.random.default_rng(seed), BayesianOptimisation(len(choosable), seed)
    best, best_rate = frozenset[int](), -1.0
    while trials.left:
        candidate = _unmeasured(top_subset(optimiser.suggest(), count), trials.measured, choosable, random)
        skipped = _set_of(candidate, choosable)
        rate = best_speculation(costs, skipped, trials.measure(skipped).acceptance).speedup
        optimiser.register(candidate, rate)
        best, best_rate = (skipped, rate) if rate > best_rate else (best, best_rate)
    return best


def random_sets(trials: Trials, count: int, costs: Costs, seed: int) -> Skips:
    """The best of random sets by measured acceptance."""
    choosable, random = trials.oracle.stream.choosable, np.random.default_rng(seed)
    while trials.left:
        candidate = _unmeasured(top_subset(random.random(len(choosable)), count), trials.measured, choosable, random)
        trials.measure(_set_of(candidate, choosable))
    return max(trials.measured.values(), key=lambda measured: measured.acceptance).skipped


def uniform(trials: Trials, count: int, costs: Costs, seed: int) -> Skips:
    """Sub-blocks at even distances; measures nothing."""
    return frozenset(_spread(trials.oracle.stream.choosable, count))


def block_influence(trials: Trials, count: int, costs: Costs, seed: int) -> Skips:
    """The sub-blocks that turn the stream least: 1 - cosine of input and output (ShortGPT, arXiv 2403.03853)."""
    rows = trials.oracle.rows
    with torch.no_grad():
        turns = {
            block: 1 - float(torch.cosine_similarity(rows.hidden[block], rows.hidden[block + 1], -1)[rows.valid].mean())
            for block in trials.oracle.stream.choosable
        }
    return frozenset(sorted(turns, key=lambda block: turns[block])[:count])


def additive_kl(trials: Trials, count: int, costs: Costs, seed: int) -> Skips:
    """The sub-blocks whose single skips cost the least KL; measures each (as many as the account allows)."""
    alone: dict[int, float] = {}
    for block in trials.oracle.stream.choosable:
        if trials.left:
            alone[block] = trials.measure({block}).mean_kl
    return frozenset(sorted(alone, key=lambda block: alone[block])[:count])


def hidden_programming(trials: Trials, count: int, costs: Costs, seed: int) -> Skips:
    """Hidden-state dynamic programming by cosine, every sub-block of weight 1, and nothing else."""
    units = [Unit((block,)) for block in trials.oracle.stream.choosable]
    return program_hidden_states(trials, units, count)[count]


def clasp(trials: Trials, count: int, costs: Costs, seed: int) -> Skips:
    """CLaSp (arXiv 2505.24196): the same over whole layers; skips count // 2 layers."""
    blocks = trials.oracle.stream.choosable
    units = [Unit((block, block + 1)) for block in blocks if block % 2 == 0]
    return program_hidden_states(trials, units, count // 2)[count // 2]


def knapspec(trials: Trials, count: int, costs: Costs, seed: int) -> Skips:
    """KnapSpec (arXiv 2602.20217): FFNs weigh 1, attentions round(t_attention / t_ffn) of 1 to 5, cosine under .5 cut.

    Of all budgets the largest set of at most `count` sub-blocks; theirs picks by tokens per time.
    """
    times, blocks = costs(1).blocks, trials.oracle.stream.choosable
    attention, ffn = (float(np.mean([times[block] for block in blocks if block % 2 == kind])) for kind in (0, 1))
    heavy = int(min(max(round(attention / ffn), 1), 5))
    units = [Unit((block,), 1 if block % 2 else heavy) for block in blocks]
    found = program_hidden_states(trials, units, count * heavy, least=0.5).values()
    return max((skips for skips in found if len(skips) <= count), key=len, default=frozenset[int]())


def _spread(blocks: Sequence[int], count: int) -> list[int]:
    """`count` of the blocks at even distances; all of them if there are fewer."""
    count = min(count, len(blocks))
    return [blocks[int((index + 0.5) * len(blocks) / count)] for index in range(count)]


def _set_of(candidate: np.ndarray, choosable: Sequence[int]) -> Skips:
    return frozenset(block for block, chosen in zip(choosable, candidate, strict=True) if chosen)


def _unmeasured(
    candidate: np.ndarray, known: Collection[Skips], choosable: Sequence[int], random: np.random.Generator
) -> np.ndarray:
    """The candidate, or a random one of its size while it is a set that was measured before."""
    count = int(candidate.sum())
    while _set_of(candidate, choosable) in known:
        candidate = top_subset(random.random(len(candidate)), count)
    return candidate

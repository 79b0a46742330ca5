"""Our search for a fixed number of skipped sub-blocks, in the form of the rivals."""

from __future__ import annotations

from compiler.adapt.costs import Costs
from compiler.adapt.hidden_programming import Unit, cosine, program_hidden_states, relative_error
from compiler.adapt.local_search import Neighbourhood, search
from compiler.adapt.oracle import Skips
from compiler.adapt.trials import Trials


def seer(trials: Trials, count: int, costs: Costs, seed: int) -> Skips:
    """Hidden-state programming by relative error and by cosine, then local search by overlap with what is left."""
    choosable = trials.oracle.stream.choosable
    units = [Unit((block,)) for block in choosable]
    likenesses = (relative_error, cosine)
    seeds = [program_hidden_states(trials, units, count, 8, likeness)[count] for likeness in likenesses]
    return search(trials, seeds, lambda _, acceptance: acceptance, Neighbourhood(choosable)).skipped


def relative_programming(trials: Trials, count: int, costs: Costs, seed: int) -> Skips:
    """The first half alone: hidden-state programming by relative error, nothing measured."""
    units = [Unit((block,)) for block in trials.oracle.stream.choosable]
    return program_hidden_states(trials, units, count, likeness=relative_error)[count]

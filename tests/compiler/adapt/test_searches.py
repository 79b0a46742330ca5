"""Searches for skip sets: what they must find on a model with a known answer, and that they keep to their account."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.adapt.bayesian import BayesianOptimisation, top_subset
from compiler.adapt.costs import Costs, StepCosts
from compiler.adapt.hidden_programming import Unit, cosine, program_hidden_states, relative_error
from compiler.adapt.local_search import Neighbourhood, paired_error, search
from compiler.adapt.oracle import Measured, Oracle
from compiler.adapt.searches import SEARCHES
from compiler.adapt.sensitivity import distance, linearise
from compiler.adapt.stream import ResidualStream
from compiler.adapt.trials import Trials
from costmodel.errors import SeercError
from tests.compiler.adapt.conftest import build, random_texts, silence

NOTHING = frozenset({3, 4, 7, 8})  # what adds nothing in the grown model
THOROUGH = ("seer", "relative-programming", "additive-kl", "hidden-programming", "block-influence", "knapspec")


def costs(attention: float = 1.0) -> Costs:
    return lambda width: StepCosts((attention, 1.0) * 6, 2.0)


@pytest.mark.parametrize("search", SEARCHES)
def test_sizes_accounts_and_seeds(search: str, grown: tuple[Oracle, Oracle]) -> None:
    runs = [Trials(grown[0], 26) for _ in range(2)]
    first, second = (SEARCHES[search](trials, 4, costs(), 7) for trials in runs)
    assert first == second
    assert len(first) == 4
    assert first <= set(grown[0].stream.choosable)
    assert all(trials.spent <= 26 for trials in runs)


@pytest.mark.parametrize("search", THOROUGH)
def test_blocks_that_add_nothing_are_found(search: str, grown: tuple[Oracle, Oracle]) -> None:
    assert SEARCHES[search](Trials(grown[0], 40), 4, costs(), 0) == NOTHING
    assert grown[1].measure(NOTHING).acceptance == 1.0


def test_a_lucky_set_is_no_new_centre(grown: tuple[Oracle, Oracle]) -> None:
    """A gain that a few texts do not establish is not taken; one that all of them show is."""
    texts, tokens = 8, 10
    random = np.random.default_rng(0)
    base = random.uniform(0.5, 0.9, (texts, tokens)).astype(np.float32)

    def measured(skipped: int, gain: np.ndarray) -> Measured:
        rows = np.ones((texts, tokens), bool)
        empty = np.zeros((texts, tokens), np.int64)
        return Measured(frozenset({skipped}), rows, base + gain, base, rows, base, empty)

    noise = np.repeat(random.normal(0.01, 0.05, (texts, 1)), tokens, 1)
    start, lucky, better = measured(2, base * 0), measured(3, noise), measured(4, base * 0 + 0.01)
    assert lucky.mean_overlap > start.mean_overlap
    assert paired_error(start, better) < 1e-6
    assert paired_error(start, lucky) == pytest.approx(noise[:, 0].std(ddof=1) / texts**0.5, rel=1e-3)
    for others, best in (((lucky,), start), ((lucky, better), better)):
        trials = Trials(grown[0], 0)
        trials.measured.update({one.skipped: one for one in (start, *others)})
        found = search(trials, [start.skipped], lambda _, value: value, Neighbourhood((2, 3, 4)))
        assert found is best


def test_whole_layers_and_weights(grown: tuple[Oracle, Oracle]) -> None:
    layers = SEARCHES["clasp"](Trials(grown[0], 40), 5, costs(), 0)
    assert len(layers) == 4
    assert {block ^ 1 for block in layers} == layers
    # an attention three times as dear: with weights 3 and 1 the budgets still hold sets of at most 4 sub-blocks
    assert len(SEARCHES["knapspec"](Trials(grown[0], 40), 4, costs(3.0), 0)) == 4


def test_programming_gives_a_set_for_every_budget(grown: tuple[Oracle, Oracle]) -> None:
    oracle = grown[0]
    units = [Unit((block,), 1 + block % 2) for block in oracle.stream.choosable]
    trials = Trials(oracle, 60)
    found = program_hidden_states(trials, units, 6, positions=4)
    assert sorted(found) == [1, 2, 3, 4, 5, 6]
    for saved, skipped in found.items():
        assert sum(1 + block % 2 for block in skipped) == saved
    assert found[6] == NOTHING  # weights 2 + 1 + 2 + 1
    assert 0 < trials.spent < 10


def test_programming_is_optimal_where_choices_do_not_interact() -> None:
    """With one budget step left at the end the dynamic program must equal trying every single skip."""
    stream = ResidualStream(build("gpt_neox", 5))
    oracle = Oracle(stream, random_texts(6))
    last = stream.choosable[-2:]
    units = [Unit((block,)) for block in last]
    rows = oracle.rows
    likeness = {}
    for block in last:
        oracle.attend_to(rows)
        hidden = entry = rows.hidden[0]
        for other in range(stream.blocks):
            entry = hidden if other % 2 == 0 else entry
            hidden = hidden if other == block else stream.step(other, hidden, entry, rows.inputs)
            if other == last[-1]:
                break
        likeness[block] = float(cosine(hidden, rows.hidden[last[-1] + 1])[rows.valid].mean().detach())
    found = program_hidden_states(Trials(oracle, 60), units, 1, positions=rows.valid.shape[1])
    assert found[1] == {max(likeness, key=lambda block: likeness[block])}


def test_relative_error_sees_length() -> None:
    import torch

    stream = torch.tensor([[[1.0, 1.0]]])
    assert float(cosine(2 * stream, stream)) == pytest.approx(1.0)
    assert float(relative_error(2 * stream, stream)) == pytest.approx(-1.0)


def test_local_model_predicts_what_is_measured() -> None:
    """Around a set of a model whose sub-blocks are small, the quadratic model gives the true distances."""
    from torch import no_grad

    model = build("llama", 6, 0.15)
    with no_grad():
        for layer in model.model.layers:
            layer.mlp.down_proj.weight.mul_(0.2)
            layer.self_attn.o_proj.weight.mul_(0.2)
    oracle = Oracle(ResidualStream(model), random_texts(12))
    trials = Trials(oracle, 60)
    local = linearise(trials, {4}, positions=7, samples=16)
    sets = [{4}, {4, 7}, {6}, set[int](), {2, 9}, {3, 4, 5}, {2, 4, 8, 9}]
    measured = [oracle.measure(s) for s in sets]
    true = np.array([distance(m.kl[m.valid]) for m in measured])
    predicted = local.distances(sets)
    assert predicted[0] == pytest.approx(true[0], rel=1e-3)
    assert np.corrcoef(predicted, true)[0, 1] > 0.95
    assert trials.spent > 1


def test_bayesian_optimisation_beats_random_points() -> None:
    def value(point: np.ndarray) -> float:
        return -float(((point - 0.7) ** 2).sum())

    optimiser = BayesianOptimisation(4, seed=3)
    for _ in range(25):
        point = optimiser.suggest()
        optimiser.register(point, value(point))
    chance = np.random.default_rng(3).random((25, 4))
    assert max(optimiser.targets) > max(value(point) for point in chance)
    with pytest.raises(SeercError, match="dimensions"):
        optimiser.register(np.zeros(3), 0.0)


def test_top_subset() -> None:
    assert top_subset(np.array([0.1, 0.9, 0.5, 0.9]), 2).tolist() == [0, 1, 0, 1]


def test_silencing_and_skipping_are_the_same() -> None:
    oracle = Oracle(ResidualStream(silence(build("gpt2"), {3})), random_texts())
    assert oracle.measure({3}).mean_kl < 1e-6
    assert oracle.measure({2}).mean_kl > 1e-3

"""Simulated searches: fair budgets, hand-computed curves, and who wins on a known law."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from costmodel.dataset import load_dataset
from costmodel.learner import Predicted
from costmodel.record import to_table
from costmodel.schedules import schedules
from costmodel.search import (
    SEARCHES,
    Task,
    best_so_far,
    compare,
    guided_search,
    ours,
    predict_held_out,
    random_search,
    tasks_of,
)


def made_task(seed: int, bias: float = 0.3, deviation: float = 0.3) -> Task:
    """240 register tiles; the prediction is off by a smooth bias and a little noise."""
    generator = np.random.default_rng(seed)
    grid = list(itertools.product((1, 2, 3, 4, 6, 8, 10, 12, 14, 16), (1, 2, 3, 4, 6, 8), (1, 2, 4, 8)))
    rows, vectors, unroll = np.array(grid, dtype=float).T
    need = rows * vectors + vectors + 2
    log = np.log(8.0 / np.minimum(rows * vectors, 12) + 0.4 * np.maximum(0, need - 18) + 1 / unroll + 3)
    wrong = bias * (np.log2(rows) - np.log2(vectors)) / 4 + 0.1 * bias * generator.normal(size=len(grid))
    texts = [f"{{rows = {r} : i64, unroll = {u} : i64, vectors = {v} : i64}}" for r, v, u in grid]
    features = np.stack([rows, vectors, unroll, need], axis=1)
    return Task(log, log + wrong, np.full(len(grid), deviation), features, schedules(texts))


TASKS = [made_task(seed) for seed in range(5)]


@pytest.mark.parametrize("name", SEARCHES)
def test_searches_keep_to_the_budget_and_try_nothing_twice(name):
    for budget in (5, 16, 400):
        order = SEARCHES[name](TASKS[0], budget, np.random.default_rng(1))
        again = SEARCHES[name](TASKS[0], budget, np.random.default_rng(1))
        assert list(order) == list(again)
        assert 0 < len(order) <= min(budget, len(TASKS[0].latency))
        assert len(set(order)) == len(order)


def test_the_curve_is_the_best_so_far_and_stays_level():
    task = Task(np.log([4.0, 2.0, 8.0, 1.0]), np.zeros(4), np.ones(4), np.zeros((4, 1)), schedules([None] * 4))
    np.testing.assert_allclose(np.exp(best_so_far(task, [2, 0, 1], 5)), [8, 4, 2, 2, 2])


def test_the_guided_search_learns():
    """It beats random search with the same trials."""
    ends = {f: np.mean([[best_so_far(t, f(t, 48, np.random.default_rng(s)), 48)[-1] for t in TASKS] for s in range(3)])
            for f in (random_search, guided_search)}  # fmt: skip
    assert ends[guided_search] < ends[random_search]


def test_ours_needs_fewer_trials_than_the_guided_search():
    found = compare(TASKS, budgets=(16, 32), seeds=3)
    assert found["equal_quality"]["ours"]["16"]["saved"] > 0.3
    quality = found["searches"]["ours"]["quality"]["16"]["value"]
    assert quality > found["searches"]["guided"]["quality"]["16"]["high"]
    assert len(found["searches"]["random"]["curve"]) == 32


def test_ours_stops_where_the_model_is_sure_and_right():
    exact = made_task(0, bias=0.0, deviation=0.05)
    assert len(ours(exact, 240, np.random.default_rng(0))) < 60


def test_equal_quality_of_a_curve_with_itself_spares_nothing():
    from costmodel.search import _needed  # pyright: ignore[reportPrivateUsage]

    curve = np.array([[[3.0, 2.0, 1.0, 0.0], [3.0, 2.0, 1.0, 0.0]]])
    assert _needed(curve, curve, 4)["saved"] == 0
    assert _needed(curve - 1.0, curve, 4)["trials"] == 3
    assert _needed(curve + 0.5, curve, 4)["trials"] is None


def test_tasks_of_a_dataset(records):
    data = load_dataset(to_table(records))
    guess = data.prior["latency_ns"]
    tasks = tasks_of(data, Predicted({"latency_ns": guess}, {"latency_ns": guess / 2}, {"latency_ns": guess * 2}))
    assert len(tasks) == len(data.hashes)
    rows = data.rows_by_task()[0]
    np.testing.assert_array_equal(np.exp(tasks[0].mean), np.exp(np.log(guess[rows])))
    assert tasks[0].deviation == pytest.approx(np.log(4) / (2 * 1.6449))


def test_held_out_predictions_have_not_seen_the_workloads(records):
    """A workload whose latencies are absurd in the training data is predicted as if they were not there."""
    data, spoilt = load_dataset(to_table(records)), load_dataset(to_table(records))
    for each in (data, spoilt):  # one metric trains in seconds
        each.measured.update({m: np.full(len(each), np.nan) for m in each.measured if m != "latency_ns"})
    held = data.take(data.workloads < 4)
    spoilt.measured["latency_ns"][spoilt.workloads < 4] *= 1e6
    one, other = (predict_held_out(held, "xgboost", train).values["latency_ns"] for train in (data, spoilt))
    np.testing.assert_array_equal(one, other)

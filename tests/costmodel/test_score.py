"""Every metric on cases small enough to work out by hand."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from costmodel.accuracy import accuracy_metrics
from costmodel.dataset import Dataset
from costmodel.learner import Predicted
from costmodel.ranking import rank, ranking_metrics
from costmodel.schedules import Array
from costmodel.score import choice_metrics, choose, risk_metrics, score
from costmodel.target import Target


def dataset(tasks: list[list[float]], spread: float = 0.0, **metrics: list[float]) -> Dataset:
    """Candidates with these latencies, one list a workload; the first of each is the heuristic's."""
    latency = np.array([x for task in tasks for x in task], dtype=np.float64)
    count = len(latency)
    starts = np.cumsum([0, *(len(t) for t in tasks[:-1])])
    known: dict[str, Any] = dict(
        prior={},
        measured={"latency_ns": latency, **{m: np.array(v, dtype=np.float64) for m, v in metrics.items()}},
        workloads=np.repeat(np.arange(len(tasks)), [len(t) for t in tasks]),
        kinds=np.zeros(count, dtype=np.int64),
        weight=np.ones(count),
        spread=np.full(count, spread),
        heuristic=np.isin(np.arange(count), starts),
        machines=np.zeros(count, dtype=np.int64),
        schedules=np.array([f"{{rows = {i}}}" for i in range(count)], dtype=object),
        targets=(Target("t"),),
        hashes=tuple(f"h{i}" for i in range(len(tasks))),
        texts=("",) * len(tasks),
        networks=(("n",),) * len(tasks),
        shapes=((1,),) * len(tasks),
    )
    features = {f.name: np.zeros((count, 1)) for f in fields(Dataset) if f.name not in known}  # no metric reads them
    return Dataset(**features, **known)


def predicted(*latency: float) -> Predicted:
    return Predicted({"latency_ns": np.array(latency)})


def test_top_k_weighs_tasks_by_occurrences() -> None:
    test = dataset([[10.0, 20.0], [100.0, 50.0]])
    test = replace(test, weight=np.array([3.0, 3.0, 1.0, 1.0]))
    found = ranking_metrics(np.array([2.0, 1.0, 2.0, 1.0]), test)  # takes 20 and 50
    assert found["top1"] == pytest.approx((3 * 10 + 50) / (3 * 20 + 50))
    assert found["top5"] == 1.0


def test_top5_takes_the_fastest_of_five() -> None:
    test = dataset([[7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]])
    found = ranking_metrics(np.arange(7.0), test)
    assert found["top1"] == pytest.approx(1 / 7)
    assert found["top5"] == pytest.approx(1 / 3)


def test_regret_of_the_first_one_five_and_ten() -> None:
    test = dataset([[float(x) for x in range(12, 0, -1)], [1.0, 2.0], [2.0, 1.0]])
    order = np.concatenate([np.arange(12.0), [1.0, 2.0], [1.0, 2.0]])
    found = ranking_metrics(order, test)  # regrets at 1: 11, 0, 1; at 5: 7, 0, 0; at 10: 2, 0, 0
    assert (found["regret1_median"], found["regret1_worst"]) == (1.0, 11.0)
    assert found["regret1_p95"] == pytest.approx(1.0 + 0.9 * 10.0)
    assert (found["regret5_median"], found["regret5_worst"]) == (0.0, 7.0)
    assert (found["regret10_median"], found["regret10_worst"]) == (0.0, 2.0)


def test_pairs_within_the_noise_do_not_count() -> None:
    latency = [100.0, 104.0, 120.0, 140.0, 160.0, 180.0]
    order = np.array([2.0, 1.0, 3.0, 4.0, 5.0, 6.0])  # the first two are swapped
    clear = ranking_metrics(order, dataset([latency], spread=0.0))
    assert clear["pairs_compared"] == 1.0
    assert clear["pair_accuracy"] == pytest.approx(14 / 15)
    assert clear["kendall_tau"] == clear["kendall_tau_all"] == pytest.approx(13 / 15)
    noisy = ranking_metrics(order, dataset([latency], spread=0.05))  # 4 < (5 + 5.2) / 2, every other pair is wider
    assert noisy["pairs_compared"] == pytest.approx(14 / 15)
    assert noisy["pair_accuracy"] == noisy["kendall_tau"] == 1.0
    assert noisy["kendall_tau_all"] == pytest.approx(13 / 15)


def test_two_per_cent_are_noise_whatever_the_spread() -> None:
    latency = [100.0, 101.9, 130.0, 150.0, 170.0, 190.0]
    found = ranking_metrics(np.array([2.0, 1.0, 3.0, 4.0, 5.0, 6.0]), dataset([latency], spread=float("nan")))
    assert found["pairs_compared"] == pytest.approx(14 / 15)
    assert found["pair_accuracy"] == 1.0


def test_predicted_ties_are_half_right_and_earn_no_tau() -> None:
    found = ranking_metrics(np.zeros(6), dataset([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]))
    assert found["pair_accuracy"] == 0.5
    assert found["kendall_tau"] == found["kendall_tau_all"] == 0.0


def test_tau_is_the_mean_over_tasks_of_five_candidates() -> None:
    up = [1.0, 2.0, 3.0, 4.0, 5.0]
    test = dataset([up, up, [1.0, 2.0]])
    found = ranking_metrics(np.array([*up, *up[::-1], 2.0, 1.0]), test)
    assert found["kendall_tau"] == 0.0
    assert found["pair_accuracy"] == pytest.approx(10 / 21)


def test_tau_b_where_latencies_tie_too() -> None:
    found = ranking_metrics(np.array([1.0, 2.0, 2.0, 4.0, 3.0]), dataset([[1.0, 1.0, 2.0, 3.0, 4.0]]))
    assert found["kendall_tau_all"] == pytest.approx((7 - 1) / 9)  # of ten pairs one ties on each side


def test_ties_are_not_broken_by_the_order_of_rows() -> None:
    test = dataset([[1.0, 2.0, 3.0, 4.0]] * 400)
    chosen = choose(predicted(*np.ones(1600)), test)
    assert np.bincount(chosen % 4).min() > 60
    ranking = rank(np.ones(1600), test)
    assert sorted(ranking.rows.tolist()) == list(range(1600))


def test_choices_are_compared_with_the_heuristic() -> None:
    test = dataset([[10.0, 5.0], [10.0, 20.0], [10.0, 10.1]])
    found = choice_metrics(np.array([1, 3, 5]), test)  # 5 for 10, 20 for 10, 10.1 for 10 (within the noise)
    assert found["worse_than_heuristic"] == pytest.approx(1 / 3)
    assert found["worst_slowdown"] == 2.0
    assert found["speedup_over_heuristic"] == pytest.approx((2.0 * 0.5 * 10 / 10.1) ** (1 / 3))
    assert found["top1"] == pytest.approx(25 / 35.1)
    bare = replace(test, heuristic=np.zeros(6, dtype=np.bool_))
    assert "worse_than_heuristic" not in choice_metrics(np.array([1, 3, 5]), bare)


def test_choices_follow_the_ranking_where_a_model_has_one() -> None:
    test = dataset([[10.0, 5.0]])
    guess = Predicted({"latency_ns": np.array([1.0, 2.0])}, order=np.array([2.0, 1.0]))
    assert choose(guess, test).tolist() == [1]
    assert score(guess, test)["top1"] == 1.0
    assert score(guess, test)["mape"] == pytest.approx((0.9 + 0.6) / 2)


def test_errors_of_latency() -> None:
    found = accuracy_metrics(predicted(10.0, 40.0, 30.0), dataset([[20.0, 20.0, 30.0]]))
    assert found["mape"] == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    assert found["median_ape"] == 0.5
    assert found["rmse_log"] == pytest.approx(np.log(2) * np.sqrt(2 / 3))


def test_errors_of_the_other_metrics() -> None:
    nan = float("nan")
    test = dataset(
        [[1.0, 1.0, 1.0, 1.0]],
        registers=[4.0, 8.0, 12.0, nan],
        utilisation=[0.2, 0.4, 0.6, 0.8],
        instructions=[100.0, 200.0, nan, 0.0],
    )
    values = {
        "registers": np.array([4.4, 9.0, 14.0, 99.0]),
        "utilisation": np.array([0.3, 0.3, 0.7, 0.7]),
        "instructions": np.array([110.0, 100.0, 5.0, 5.0]),
    }
    found = accuracy_metrics(Predicted(values), test)
    rmse = np.sqrt((0.16 + 1.0 + 4.0) / 3)
    assert found["registers_rmse_range"] == pytest.approx(rmse / 8)
    assert found["registers_rmse_mean"] == pytest.approx(rmse / 8)
    assert found["registers_exact"] == pytest.approx(1 / 3)
    assert found["registers_within_one"] == pytest.approx(2 / 3)
    assert found["utilisation_rmse_range"] == pytest.approx(0.1)
    assert found["utilisation_rmse_mean"] == pytest.approx(0.2)
    assert found["instructions_mape"] == pytest.approx((0.1 + 0.5) / 2)
    assert found["instructions_median_ape"] == pytest.approx((0.1 + 0.5) / 2)


def interval(low: list[float], high: list[float], *latency: float) -> Predicted:
    return Predicted(
        {"latency_ns": np.array(latency), "spills": np.zeros(len(latency))},
        {"latency_ns": np.array(low), "spills": np.zeros(len(latency))},
        {"latency_ns": np.array(high), "spills": np.full(len(latency), 2.0)},
    )


def test_coverage_and_width() -> None:
    test = dataset([[10.0, 20.0, 30.0, 40.0]], spills=[0.0, 1.0, 2.0, 3.0])
    guess = interval([5.0, 21.0, 30.0, 10.0], [15.0, 25.0, 30.0, 30.0], 10.0, 20.0, 30.0, 20.0)
    found = accuracy_metrics(guess, test)
    assert found["coverage90"] == 0.5
    assert found["width90"] == pytest.approx((1.0 + 0.2 + 0.0 + 1.0) / 4)
    assert (found["spills_coverage90"], found["spills_width90"]) == (0.75, 2.0)


def test_a_model_that_knows_its_doubts_has_less_regret_where_it_is_sure() -> None:
    tasks = [[1.0, 2.0]] * 10
    test = dataset(tasks)
    wrong = np.arange(10) >= 5
    latency = np.where(np.repeat(wrong, 2), np.tile([2.0, 1.0], 10), np.tile([1.0, 2.0], 10))
    reach = np.where(np.repeat(wrong, 2), 2.0, 1.1)
    found = risk_metrics(Predicted({"latency_ns": latency}, *bounds(latency, reach)), test)
    assert found["regret1_kept50"] == 0.0
    assert found["regret1_kept60"] == pytest.approx(2 ** (1 / 6) - 1)
    assert found["regret1_kept100"] == pytest.approx(2**0.5 - 1)
    swapped = risk_metrics(Predicted({"latency_ns": latency}, *bounds(latency, 3.0 - reach)), test)
    assert swapped["regret1_kept50"] == pytest.approx(1.0)
    assert risk_metrics(Predicted({"latency_ns": latency}), test) == {}


def bounds(value: Array, reach: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    return {"latency_ns": value / reach}, {"latency_ns": value * reach}

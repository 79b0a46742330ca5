"""Evaluations resume, do not leak, compare models with baselines, and say how sure they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from costmodel import learner as architectures
from costmodel.analytic_learner import AnalyticLearner, TrainedAnalytic
from costmodel.boosted import BoostedLearner
from costmodel.dataset import Dataset, load_dataset
from costmodel.errors import SeercError
from costmodel.evaluate import EvaluationOptions, evaluate
from costmodel.predictions import prediction_table
from costmodel.record import Record, to_table
from costmodel.trials import data_hash, read_trials, summary
from costmodel.variant import variant

fitted: list[tuple[int, Dataset]] = []


@dataclass(frozen=True)
class SpyOptions:
    word: str = "a"


@dataclass(frozen=True)
class Spy:
    """The analytic learner, which remembers what it was fitted to."""

    name: str = "spy"
    options: SpyOptions = SpyOptions()

    def fit(self, data: Dataset, seed: int = 0) -> TrainedAnalytic:
        fitted.append((seed, data))
        return AnalyticLearner().fit(data, seed)


@pytest.fixture(scope="module")
def dataset(records: list[Record]) -> Dataset:
    return load_dataset(to_table(records))


@pytest.fixture(autouse=True)
def _spy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(architectures.ARCHITECTURES, "spy", f"{__name__}:Spy")
    fitted.clear()
    yield
    fitted.clear()


SMALL = EvaluationOptions(("spy",), "unseen-networks", (0, 1, 2))


def test_result_is_the_contract_of_json(dataset: Dataset) -> None:
    result = evaluate(dataset, SMALL)
    assert json.loads(json.dumps(result)) == result
    assert (result["split"], result["rows"], result["workloads"], result["seeds"]) == ("unseen-networks", 720, 24, 3)
    assert result["models"] == {"spy": result["metrics"]}
    wanted = {"top1", "top5", "kendall_tau", "kendall_tau_all", "pair_accuracy", "mape", "median_ape", "rmse_log"}
    wanted |= {f"regret{k}_{s}" for k in (1, 5, 10) for s in ("median", "p95", "worst")}
    wanted |= {"coverage90", "width90", "registers_rmse_range", "registers_exact", "registers_within_one"}
    wanted |= {"spills_rmse_range", "spills_rmse_mean", "spills_exact", "spills_coverage90", "instructions_mape"}
    wanted |= {"worse_than_heuristic", "speedup_over_heuristic", "worst_slowdown", "regret1_kept50"}
    assert wanted <= result["metrics"].keys()
    assert all(v["low"] <= v["value"] <= v["high"] for v in result["metrics"].values())


def test_baselines_are_in_their_order(dataset: Dataset) -> None:
    found = evaluate(dataset, SMALL)["baselines"]
    assert set(found) == {"analytic", "heuristic", "random", "oracle"}
    top1 = {name: found[name]["top1"]["value"] for name in found}
    assert top1["random"] < top1["analytic"] <= top1["oracle"] == 1.0
    assert found["oracle"]["regret1_worst"]["value"] == 0.0
    assert found["oracle"]["kendall_tau"]["value"] == 1.0
    assert abs(found["random"]["kendall_tau"]["value"]) < 0.1
    assert found["heuristic"]["speedup_over_heuristic"]["value"] == 1.0
    assert "mape" not in found["random"]


def test_heuristic_is_scored_where_it_was_measured(dataset: Dataset) -> None:
    partly = replace(dataset, heuristic=dataset.heuristic & (dataset.workloads % 2 == 0))
    found = evaluate(partly, SMALL)["baselines"]
    assert found["heuristic"]["worse_than_heuristic"]["value"] == 0.0
    never = replace(dataset, heuristic=np.zeros(len(dataset), dtype=np.bool_))
    assert "heuristic" not in evaluate(never, SMALL)["baselines"]


def test_finished_trials_are_not_repeated(dataset: Dataset, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    once = evaluate(dataset, replace(SMALL, seeds=(0, 1), results=results))
    assert [seed for seed, _ in fitted] == [0, 1]
    again = evaluate(dataset, replace(SMALL, seeds=(0, 1), results=results))
    assert len(fitted) == 2
    assert again == once
    more = evaluate(dataset, replace(SMALL, results=results))
    assert [seed for seed, _ in fitted] == [0, 1, 2]
    assert more == evaluate(dataset, SMALL)
    evaluate(dataset, replace(SMALL, split="random", results=results))
    evaluate(dataset.take(np.arange(360)), replace(SMALL, results=results))
    assert len(read_trials(results)) == 3 * 3 * 5


def test_a_killed_run_loses_its_last_line_alone(dataset: Dataset, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    once = evaluate(dataset, replace(SMALL, results=results))
    whole = results.read_text()
    results.write_text(whole[:-100])
    fitted.clear()
    assert evaluate(dataset, replace(SMALL, results=results)) == once
    assert len(fitted) <= 1
    assert len(results.read_text().splitlines()) == len(whole.splitlines())
    results.write_text("{}\n" + whole)
    with pytest.raises(SeercError, match=r"line 1: not a trial"):
        read_trials(results)


def test_training_never_sees_the_test_side(dataset: Dataset) -> None:
    evaluate(dataset, replace(SMALL, predictions=None))
    for seed, known in fitted:
        held = evaluate_test_side(dataset, seed)
        assert not {known.hashes[w] for w in known.workloads} & {held.hashes[w] for w in held.workloads}


def evaluate_test_side(dataset: Dataset, seed: int) -> Dataset:
    from costmodel.split import split

    return dataset.take(split(dataset, "unseen-networks", seed)[1])


def test_rows_limit_takes_whole_workloads_and_nests(dataset: Dataset, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    for rows in (60, 100, 0):
        evaluate(dataset, replace(SMALL, seeds=(0,), rows=rows, results=results))
    small, middle, whole = (set(data.workloads.tolist()) for _, data in fitted)
    assert [len(data) for _, data in fitted[:2]] == [60, 120]
    assert small < middle < whole
    assert {t.train_rows for t in read_trials(results) if t.model == "spy"} == {60, 120, len(fitted[2][1])}


def test_predictions_are_written_beside_measurements(dataset: Dataset, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    options = replace(SMALL, models=("spy", "analytic"), results=tmp_path / "r.jsonl")
    evaluate(dataset, options)
    evaluate(dataset, replace(options, predictions=tmp_path / "p.parquet"))
    table = pq.read_table(tmp_path / "p.parquet").to_pydict()
    held = evaluate_test_side(dataset, 0)
    assert len(table["latency_ns"]) == 2 * len(held)
    assert set(table["model"]) == {"spy", "analytic"}
    assert table["latency_ns_measured"][: len(held)] == pytest.approx(held.measured["latency_ns"].tolist())
    assert set(table["workload"]) == {held.hashes[w] for w in held.workloads}
    assert [s for s, _ in fitted] == [0, 1, 2, 0]
    assert len(read_trials(tmp_path / "r.jsonl")) == 3 * 5


def test_prediction_table_leaves_unknown_metrics_empty(dataset: Dataset) -> None:
    predicted = AnalyticLearner().fit(dataset).predict_dataset(dataset)
    bare = replace(predicted, low={}, high={})
    assert np.isnan(prediction_table("m", "random", 0, dataset, bare)["latency_ns_low"].to_numpy()).all()


def test_interval_is_students() -> None:
    found = summary([{"a": 1.0, "b": 1.0}, {"a": 2.0}, {"a": 3.0}])
    assert found.keys() == {"a"}
    assert found["a"]["value"] == 2.0
    assert found["a"]["high"] - 2.0 == pytest.approx(4.302653 / 3**0.5)
    assert found["a"]["low"] == pytest.approx(4.0 - found["a"]["high"])
    assert summary([{"a": 1.0}])["a"] == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_data_hash_names_the_records(dataset: Dataset) -> None:
    assert data_hash(dataset) == data_hash(dataset.take(np.arange(len(dataset))[::-1]))
    changed = replace(dataset, measured={**dataset.measured, "latency_ns": dataset.measured["latency_ns"] + 1.0})
    assert data_hash(dataset) != data_hash(changed) != data_hash(dataset.take(np.arange(700)))


def test_options_in_braces() -> None:
    made = variant("xgboost{trees=7, learning_rate=1}")
    assert isinstance(made, BoostedLearner)
    assert (made.options.trees, made.options.learning_rate, made.options.depth) == (7, 1.0, 6)
    assert variant("spy{word=7}") == Spy(options=SpyOptions("7"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("xgbost{trees=7}", "did you mean xgboost"),
        ("xgboost{tree=7}", "option of xgboost 'tree': did you mean trees"),
        ("xgboost{trees=many}", "option trees must be of type int, got 'many'"),
        ("analytic{trees=7}", "analytic has no options"),
    ],
)
def test_wrong_options_are_told(text: str, message: str) -> None:
    with pytest.raises(SeercError, match=message):
        variant(text)

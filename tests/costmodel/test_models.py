"""Models learn a known cost law, are reproducible, survive the disk, and refuse what is not theirs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from costmodel.analytic_learner import AnalyticLearner
from costmodel.artefact import load_artefact
from costmodel.boosted import BoostedLearner, BoostedModel, BoostedOptions, fit
from costmodel.dataset import Dataset, load_dataset
from costmodel.errors import SeercError
from costmodel.protocol import METRICS, CostModel, load_cost_model
from costmodel.record import Record, RecordWriter, to_table
from costmodel.score import score
from costmodel.split import split
from costmodel.target import Target
from costmodel.text import join_candidate
from costmodel.train import train

OPTIONS = BoostedOptions(trees=120, other_trees=100, depth=5, folds=3)


@pytest.fixture(scope="module")
def dataset(records: list[Record]) -> Dataset:
    return load_dataset(to_table(records))


@pytest.fixture(scope="module")
def model(dataset: Dataset) -> BoostedModel:
    return fit(dataset, OPTIONS)


def test_learned_model_beats_the_mean_and_the_analytic_prior(dataset: Dataset) -> None:
    train_rows, test_rows = split(dataset, "unseen-networks", 1)
    known, test = dataset.take(train_rows), dataset.take(test_rows)
    found = score(fit(known, OPTIONS).predict_dataset(test), test)
    analytic = score(AnalyticLearner().fit(known).predict_dataset(test), test)
    latency = test.measured["latency_ns"]
    mean = np.exp(np.log(known.measured["latency_ns"]).mean())
    assert found["mape"] < 0.2 * np.mean(np.abs(mean - latency) / latency)
    assert found["mape"] < 0.5 * analytic["mape"]
    assert found["kendall_tau"] > 0.8
    assert found["top1"] > 0.9
    assert found["registers_rmse_range"] < 0.1
    assert found["spills_rmse_range"] < 0.1
    assert found["coverage90"] > 0.6


def test_labels_shuffled_between_rows_teach_nothing(dataset: Dataset) -> None:
    train_rows, test_rows = split(dataset, "unseen-networks", 1)
    known, test = dataset.take(train_rows), dataset.take(test_rows)
    order = np.random.default_rng(0).permutation(len(known))
    noise = replace(known, measured={k: v[order] for k, v in known.measured.items()})
    honest, shuffled = (score(fit(d, OPTIONS).predict_dataset(test), test) for d in (known, noise))
    assert shuffled["kendall_tau"] < honest["kendall_tau"] - 0.2


def test_training_is_reproducible(dataset: Dataset, model: BoostedModel) -> None:
    again = fit(dataset, OPTIONS)
    assert again.margins == model.margins
    assert all(bytes(again.boosters[m].save_raw("ubj")) == bytes(b.save_raw("ubj")) for m, b in model.boosters.items())


def candidates(matmul: Callable[..., str], schedule: Callable[..., str]) -> list[str]:
    return [join_candidate(matmul(m, 200, 300), schedule(r, 2)) for m in (1, 50) for r in (1, 4, 9)]


def test_artefact_round_trip_is_bit_identical(
    model: BoostedModel, tmp_path: Path, target: Target, matmul: Callable[..., str], schedule: Callable[..., str]
) -> None:
    model.save(tmp_path / "made", "# card\n", {})
    texts = candidates(matmul, schedule)
    loaded = load_cost_model(tmp_path / "made", target)
    assert isinstance(loaded, CostModel)
    assert loaded.predict(texts, target) == model.predict(texts, target)
    load_artefact(tmp_path / "made").save(tmp_path / "again", "# card\n", {})
    for path in (tmp_path / "made").glob("*.ubj.zst"):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    assert sum(p.stat().st_size for p in (tmp_path / "made").iterdir()) < 10_000_000


def test_predictions_have_intervals_and_do_not_depend_on_the_batch(
    model: BoostedModel, target: Target, matmul: Callable[..., str], schedule: Callable[..., str]
) -> None:
    texts = candidates(matmul, schedule)
    for each in (model, load_cost_model("analytic")):
        assert each is not None
        found = each.predict(texts, target)
        assert found == [each.predict([t], target)[0] for t in texts]
        assert all(v.low <= v.value <= v.high for p in found for v in p.values())
        assert all(p.keys() <= METRICS.keys() and "latency_ns" in p for p in found)
        assert {"utilisation"} == each.predict(texts[:1], target, ["utilisation"])[0].keys()


def _break_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _truncate(folder: Path) -> None:
    path = folder / "model-latency_ns.ubj.zst"
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_truncate, "corrupt"),
        (lambda f: (f / "model-latency_ns.ubj.zst").unlink(), "incomplete"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: _break_config(f, schema_version=99), "schema version 99"),
        (lambda f: _break_config(f, model="oracle"), "oracle"),
        (lambda f: _break_config(f, features=["a"]), "features"),
        (lambda f: _break_config(f, margins={"latency_ns": []}), "not the configuration"),
    ],
)
def test_damaged_artefact_is_refused_with_the_reason(
    model: BoostedModel, tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    model.save(tmp_path / "made", "# card\n", {})
    damage(tmp_path / "made")
    with pytest.raises(SeercError, match=reason):
        load_cost_model(tmp_path / "made")


def test_artefact_for_another_machine_is_refused(model: BoostedModel, tmp_path: Path, target: Target) -> None:
    model.save(tmp_path / "made", "# card\n", {})
    with pytest.raises(SeercError, match="trained for ISA x86_64, the target arm has aarch64"):
        load_cost_model(tmp_path / "made", replace(target, name="arm", isa="aarch64"))
    with pytest.raises(SeercError, match="vectors of 32 bytes"):
        load_cost_model(tmp_path / "made", replace(target, vector_bytes=64))


def test_names_of_cost_models() -> None:
    assert load_cost_model("none") is None
    with pytest.raises(SeercError, match="did you mean analytic"):
        load_cost_model("analytik")


def test_train_writes_an_artefact_with_a_card(records: list[Record], tmp_path: Path, target: Target) -> None:
    with RecordWriter(tmp_path / "data") as writer:
        for record in records[:300]:
            writer.add(record)
    train(tmp_path / "data", tmp_path / "model", BoostedLearner(BoostedOptions(trees=10, other_trees=5, folds=2)))
    assert "300 records of 10 workloads" in (tmp_path / "model" / "card.md").read_text()
    loaded = load_cost_model(tmp_path / "model", target)
    assert loaded is not None
    assert loaded.name == "model"

"""Our model: learns a known law better than its priors, reproducibly, and knows how wrong it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import kendalltau

from costmodel.dataset import Dataset, load_dataset
from costmodel.errors import SeercError
from costmodel.learner import learner
from costmodel.protocol import ORDER, load_cost_model
from costmodel.record import Record, to_table
from costmodel.score import score
from costmodel.seer import SeerModel, SeerOptions, inputs
from costmodel.seer_learner import SeerLearner
from costmodel.split import split
from costmodel.target import Target
from costmodel.text import join_candidate
from costmodel.trees import PACKING, booster_files, read_boosters, run

OPTIONS = SeerOptions(
    trees=150,
    other_trees=80,
    error_trees=20,
    depth=5,
    counted_depth=5,
    columns=0.6,
    learning_rate=0.12,
    minimum_weight=1,
)


@pytest.fixture(scope="module")
def dataset(records: list[Record]) -> Dataset:
    return load_dataset(to_table(records))


@pytest.fixture(scope="module")
def parts(dataset: Dataset) -> tuple[Dataset, Dataset]:
    train, test = split(dataset, "unseen-networks", 1)
    return dataset.take(train), dataset.take(test)


@pytest.fixture(scope="module")
def model(parts: tuple[Dataset, Dataset]) -> SeerModel:
    return SeerLearner(OPTIONS).fit(parts[0])


def test_it_learns_more_than_its_priors_on_networks_it_has_not_seen(
    model: SeerModel, parts: tuple[Dataset, Dataset]
) -> None:
    train, test = parts
    found = score(model.predict_dataset(test), test)
    analytic = score(learner("analytic").fit(train).predict_dataset(test), test)
    assert found["mape"] < 0.3
    assert found["mape"] < 0.65 * analytic["mape"]
    assert found["kendall_tau"] > analytic["kendall_tau"] + 0.2
    assert found["registers_rmse_range"] < 0.1
    assert 0.6 < found["coverage90"] <= 1.0


def test_rows_and_texts_are_predicted_alike(model: SeerModel, parts: tuple[Dataset, Dataset]) -> None:
    some = parts[1].take(np.arange(40))
    by_row = model.predict_dataset(some)
    by_text = model.predict(some.candidates(), some.target)
    for metric, values in by_row.values.items():
        np.testing.assert_allclose([p[metric].value for p in by_text], values, rtol=1e-6)
    assert by_text[:1] == model.predict(some.candidates()[:1], some.target)
    assert all(v.low <= v.value <= v.high for p in by_text for v in p.values())
    assert model.predict(some.candidates()[:2], some.target, ["utilisation"])[0].keys() == {"utilisation"}


def test_what_is_sorted_by_is_given_where_it_is_asked_for(model: SeerModel, parts: tuple[Dataset, Dataset]) -> None:
    some = parts[1].take(np.arange(40))
    asked = model.predict(some.candidates(), some.target, ["latency_ns", ORDER])
    order = np.array([p[ORDER].value for p in asked])
    assert kendalltau(order, model.predict_dataset(some).ranking).statistic > 0.9
    busy = replace(model, options=replace(model.options, work_weight=1000.0))
    work = inputs(some.matrix, some.counts, some.prior, model.constants).work_ns
    heavy = [p[ORDER].value for p in busy.predict(some.candidates(), some.target, [ORDER])]
    assert kendalltau(heavy, work).statistic > 0.9
    assert ORDER not in model.predict(some.candidates()[:1], some.target)[0]


def test_the_same_seed_gives_the_same_model(parts: tuple[Dataset, Dataset], model: SeerModel) -> None:
    again = SeerLearner(OPTIONS).fit(parts[0])
    assert again.widths == model.widths
    assert all(bytes(again.boosters[n].save_raw("ubj")) == bytes(b.save_raw("ubj")) for n, b in model.boosters.items())


def test_artefact_round_trip(
    model: SeerModel, tmp_path: Path, target: Target, matmul: Callable[..., str], schedule: Callable[..., str]
) -> None:
    model.save(tmp_path / "made", "# card\n", {})
    texts = [join_candidate(matmul(m, 200, 300), schedule(r, 2)) for m in (1, 50) for r in (1, 4, 9)]
    loaded = load_cost_model(tmp_path / "made", target)
    assert loaded is not None
    assert loaded.predict(texts, target) == model.predict(texts, target)


def test_files_hold_the_same_trees_and_little_else(model: SeerModel, parts: tuple[Dataset, Dataset]) -> None:
    booster, matrix = model.boosters["registers"], parts[1].matrix
    wide = np.zeros((len(matrix), booster.num_features()), dtype=np.float32)
    wide[:, : matrix.shape[1]] = matrix
    files = booster_files({"registers": booster})
    whole = pa.Codec("zstd", compression_level=PACKING).compress(bytes(booster.save_raw("ubj")))
    assert len(files["model-registers.ubj.zst"]) < 0.7 * len(whole)
    np.testing.assert_array_equal(run(read_boosters(files)["registers"], wide), run(booster, wide))


def test_files_of_another_kind_are_refused(model: SeerModel) -> None:
    ((name, whole),) = booster_files({"rank": model.boosters["rank"]}).items()
    for content in (b"{}", whole[: len(whole) // 2]):
        with pytest.raises(SeercError, match=r"model-rank\.ubj\.zst: "):
            read_boosters({name: content})
    with pytest.raises(SeercError, match="another version of seerc"):
        read_boosters({"model-rank.ubj.xz": whole})


def test_too_little_data_is_refused(dataset: Dataset) -> None:
    with pytest.raises(SeercError, match="too few"):
        SeerLearner(OPTIONS).fit(dataset.take(np.arange(20)))

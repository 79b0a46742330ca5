"""Every network learns a known law, is reproducible, survives the disk, and refuses what is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from costmodel.artefact import load_artefact
from costmodel.dataset import Dataset
from costmodel.errors import SeercError
from costmodel.learner import ARCHITECTURES, learner
from costmodel.neural.learner import Graph, NeuralLearner, calibration_rows
from costmodel.neural.losses import huber, lambda_rank
from costmodel.neural.model import NeuralModel
from costmodel.neural.options import NeuralOptions
from costmodel.protocol import METRICS, load_cost_model
from costmodel.score import score
from costmodel.split import split
from costmodel.target import Target
from costmodel.text import join_candidate

NEURAL = [name for name, place in ARCHITECTURES.items() if ".neural." in place]


def made(name: str, options: NeuralOptions, **changes: object) -> NeuralLearner:
    found = learner(name, options=replace(options, **changes))
    assert isinstance(found, NeuralLearner)
    return found


@pytest.fixture(scope="module")
def model(dataset: Dataset, quick: NeuralOptions) -> NeuralModel:
    return Graph(replace(quick, prior=True, ranking=True, epochs=10)).fit(dataset)


@pytest.mark.parametrize("name", NEURAL)
def test_beats_the_mean_on_unseen_networks(name: str, dataset: Dataset, quick: NeuralOptions) -> None:
    """With the prior: sixteen random shapes alone teach no law of shapes."""
    train_rows, test_rows = split(dataset, "unseen-networks", 1)
    known, test = dataset.take(train_rows), dataset.take(test_rows)
    found = score(made(name, quick, prior=True).fit(known).predict_dataset(test), test)
    latency = test.measured["latency_ns"]
    mean = np.exp(np.log(known.measured["latency_ns"]).mean())
    assert found["mape"] < 0.5 * np.mean(np.abs(mean - latency) / latency)
    assert found["kendall_tau"] > 0.6
    assert found["registers_rmse_range"] < 0.2


@pytest.mark.parametrize("name", NEURAL)
def test_overfits_a_few_workloads(name: str, dataset: Dataset, quick: NeuralOptions) -> None:
    few = dataset.take(np.isin(dataset.workloads, np.arange(6)))
    fitted = made(name, quick, epochs=150, lr=1e-2, unknown=0.0, focus=0.0).fit(few)
    seen = few.take(~calibration_rows(few, fitted.options))
    wrong = np.log(fitted.predict_dataset(seen).values["latency_ns"] / seen.measured["latency_ns"])
    assert np.median(np.abs(wrong)) < 0.3


def test_labels_shuffled_between_rows_teach_nothing(dataset: Dataset, quick: NeuralOptions) -> None:
    train_rows, test_rows = split(dataset, "unseen-networks", 1)
    known, test = dataset.take(train_rows), dataset.take(test_rows)
    order = np.random.default_rng(0).permutation(len(known))
    noise = replace(known, measured={k: v[order] for k, v in known.measured.items()})
    fit = made("bag", quick, ranking=True, epochs=15).fit
    honest, shuffled = (score(fit(d).predict_dataset(test), test)["kendall_tau"] for d in (known, noise))
    assert shuffled < honest - 0.3


def test_the_same_seed_gives_the_same_weights(dataset: Dataset, quick: NeuralOptions) -> None:
    options = replace(quick, epochs=2, dropout=0.2, ranking=True)
    a, b, c = (made("transformer", options).fit(dataset, seed).network.state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["out.weight"], c["out.weight"])


def test_artefact_round_trip_is_bit_identical(
    model: NeuralModel, tmp_path: Path, target: Target, matmul: Callable[..., str], schedule: Callable[..., str]
) -> None:
    model.save(tmp_path / "made", "# card\n", {"name": "made"})
    texts = [join_candidate(matmul(m, 200, 300), schedule(r, 2)) for m in (1, 50) for r in (1, 4, 9)]
    loaded = load_cost_model(tmp_path / "made", target)
    assert loaded is not None
    assert loaded.name == "made"
    assert loaded.predict(texts, target) == model.predict(texts, target)
    load_artefact(tmp_path / "made").save(tmp_path / "again", "# card\n", {"name": "made"})
    for path in (tmp_path / "made").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_texts_and_dataset_rows_are_predicted_alike(model: NeuralModel, dataset: Dataset, target: Target) -> None:
    some = dataset.take(np.arange(0, len(dataset), 37))
    table = model.predict_dataset(some)
    found = model.predict(
        [join_candidate(_marked(t), s) for t, s in zip(_texts(some), some.schedules, strict=True)], target
    )
    for metric, values in table.values.items():
        assert [p[metric].value for p in found] == pytest.approx(values.tolist(), rel=1e-3, abs=1e-4)
    assert all(v.low <= v.value <= v.high for p in found for v in p.values())
    assert all(p.keys() <= METRICS.keys() for p in found)
    assert model.predict([], target) == []
    one = join_candidate(_marked(some.texts[0]), str(some.schedules[0]))
    assert model.predict([one], target, ["spills"])[0].keys() == {"spills"}


def _texts(data: Dataset) -> list[str]:
    return [data.texts[w] for w in data.workloads]


def _marked(text: str) -> str:
    return text if "seerc.root" in text else text.replace("attrs = {", "attrs = {seerc.root} {", 1)


def _change(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _flip(folder: Path) -> None:
    path = folder / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_flip, "corrupt"),
        (lambda f: (f / "tokenizer.json").unlink(), "incomplete"),
        (lambda f: _change(f, architecture="oracle"), "oracle"),
        (lambda f: _change(f, architecture="bag"), "does not fit"),
        (lambda f: _change(f, columns=3), "does not fit"),
        (lambda f: _change(f, metrics=["latency_ns"]), "train it again"),
        (lambda f: _change(f, options={"oracle": 1}), "not the configuration"),
    ],
)
def test_damaged_artefact_is_refused_with_the_reason(
    model: NeuralModel, tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    model.save(tmp_path / "made", "# card\n", {})
    damage(tmp_path / "made")
    with pytest.raises(SeercError, match=reason):
        load_cost_model(tmp_path / "made")


def test_too_little_data_is_refused(dataset: Dataset, quick: NeuralOptions) -> None:
    with pytest.raises(SeercError, match="too few"):
        made("bag", quick).fit(dataset.take(np.arange(5)))
    with pytest.raises(SeercError, match="one workload"):
        made("bag", quick).fit(dataset.take(dataset.workloads == 0))


def test_unknown_metrics_cost_nothing_and_fast_rows_weigh_more() -> None:
    outputs, labels = torch.zeros(2, 6), torch.full((2, 6), float("nan"))
    assert huber(outputs, labels, torch.ones(2)) == 0
    labels[:, 0] = torch.tensor([1.0, 0.0])
    assert huber(outputs, labels, torch.tensor([1.0, 0.1])) > huber(outputs, labels, torch.tensor([0.1, 1.0]))


def test_lambda_rank_looks_at_pairs_of_one_task() -> None:
    speed, tasks = torch.tensor([1.0, 0.5, 1.0, 0.2]), torch.tensor([0, 0, 1, 1])
    right, wrong = torch.tensor([0.0, 1.0, 5.0, 6.0]), torch.tensor([1.0, 0.0, 6.0, 5.0])
    assert lambda_rank(right, speed, tasks) < lambda_rank(wrong, speed, tasks)
    shifted = right + 10.0 * tasks
    assert lambda_rank(shifted, speed, tasks) == pytest.approx(lambda_rank(right, speed, tasks).item(), rel=1e-5)
    assert lambda_rank(right[:1], speed[:1], tasks[:1]) == 0

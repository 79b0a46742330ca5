"""The model of users' own data learns what the text tells, measures itself on held-out groups, and survives saving."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from costmodel.artefact import load_artefact
from costmodel.errors import SeercError
from costmodel.protocol import load_cost_model, metrics_of
from costmodel.target import Target
from costmodel.text_features import text_features
from costmodel.text_model import TextModel, TextOptions, fold_of_groups
from costmodel.train_texts import TrainedTexts, train_texts


def nest(n: int, m: int, op: str) -> str:
    return f"""func.func @f(%a: memref<{n}x{m}xf32>) {{
  affine.for %i = 0 to {n} {{
    affine.for %j = 0 to {m} step 2 {{
      %v = affine.load %a[%i, %j] : memref<{n}x{m}xf32>
      %w = arith.{op} %v, %v : f32
      affine.store %w, %a[%i, %j] : memref<{n}x{m}xf32>
    }}
  }}
  return
}}
"""


QUICK = TextOptions(trees=60, learning_rate=0.2, folds=3)
OPS = {"addf": 1.0, "mulf": 2.0, "divf": 9.0}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainedTexts, Path]:
    """Trained on 240 rows whose cycles follow a law; `weight` may be negative."""
    folder = tmp_path_factory.mktemp("own")
    generator = np.random.default_rng(0)
    rows: list[str] = []
    for i in range(240):
        n, m, op = int(generator.integers(4, 200)), int(generator.integers(4, 200)), list(OPS)[i % 3]
        cycles = n * (m // 2) * (2 + OPS[op]) * float(np.exp(generator.normal(0, 0.03)))
        row = {"mlir": nest(n, m, op), "cycles": cycles, "weight": OPS[op] - 3, "family": f"{n % 12}"}
        rows.append(json.dumps(row if i % 10 else {**row, "weight": None}))
    (folder / "data.jsonl").write_text("\n".join(rows) + "\nbroken\n")
    made = train_texts(folder / "data.jsonl", folder / "model", ["cycles", "weight"], group="family", options=QUICK)
    return made, folder / "model"


def test_held_out_errors_beat_the_median(trained: tuple[TrainedTexts, Path]) -> None:
    cycles, weight = trained[0].held_out
    assert (cycles.rows, weight.rows, cycles.groups) == (240, 216, 12)
    assert cycles.mdape < 0.25 < 0.5 < cycles.median_mdape
    assert cycles.rank > 0.9
    assert weight.mae < 0.2 * weight.median_mae
    assert 0.75 <= cycles.coverage <= 1.0
    assert trained[0].unusable[0].startswith("line 241: ")


def test_shuffled_targets_teach_nothing(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    rows = [json.dumps({"text": nest(4 + i, 8, "addf"), "noise": float(generator.normal())}) for i in range(80)]
    (tmp_path / "data.jsonl").write_text("\n".join(rows))
    (noise,) = train_texts(tmp_path / "data.jsonl", tmp_path / "model", ["noise"], options=QUICK).held_out
    assert noise.mae > 0.9 * noise.median_mae
    assert abs(noise.rank) < 0.4


def test_artefact_keeps_predictions_and_prints_the_card(trained: tuple[TrainedTexts, Path], target: Target) -> None:
    made, folder = trained
    loaded = load_cost_model(str(folder), target)
    assert isinstance(loaded, TextModel)
    texts = [nest(20, 30, "divf"), nest(20, 30, "addf")]
    assert loaded.predict(texts, target) == made.model.predict(texts, target)
    slow, fast = loaded.predict(texts, target, ["cycles"])
    assert set(slow) == {"cycles"}
    assert slow["cycles"].low <= slow["cycles"].value <= slow["cycles"].high
    assert slow["cycles"].value > 1.5 * fast["cycles"].value
    assert loaded.predict(texts[1:], target)[0]["weight"].value < -1
    assert {"cycles", "weight", "latency_ns"} <= set(metrics_of(loaded))
    config = json.loads((folder / "config.json").read_text())
    assert config["unusable"] == 1
    assert "| cycles | 240 | 12 |" in (folder / "card.md").read_text()
    config["feature_version"] = 0
    (folder.parent / "old").mkdir()
    for path in folder.iterdir():
        (folder.parent / "old" / path.name).write_bytes(path.read_bytes())
    (folder.parent / "old" / "config.json").write_text(json.dumps(config))
    with pytest.raises(SeercError, match="feature version 0"):
        load_artefact(folder.parent / "old")


def test_seeds_reproduce_and_spelling_does_not_matter(trained: tuple[TrainedTexts, Path], target: Target) -> None:
    model = trained[0].model
    text = nest(40, 50, "mulf")
    assert model.predict([text], target) == model.predict([text.replace("%v", "%x9").replace("@f", "@g")], target)
    assert replace(model, name="other").predict([text], target) == model.predict([text], target)


def test_trip_counts_weigh_the_ops() -> None:
    scf = """func.func @f(%a: memref<8xf32>, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c8 = arith.constant 8 : index
  scf.for %i = %c0 to %c8 step %c1 {
    scf.for %j = %c0 to %n step %c1 {
      %v = memref.load %a[%i] : memref<8xf32>
      memref.store %v, %a[%i] : memref<8xf32>
    }
  }
  return
}
"""
    found = {k: round(float(np.expm1(v)), 6) for k, v in text_features(scf).items()}
    assert found["run scf.for"] == 1 + 8
    assert found["run memref.load"] == 64
    assert found["unknown loops"] == 1
    assert found["type memref.store memref f32"] == 1
    affine = {k: round(float(np.expm1(v)), 6) for k, v in text_features(nest(10, 7, "addf")).items()}
    assert affine["run affine.load"] == 10 * 4
    parallel = "func.func @f() {\n affine.parallel (%i, %j) = (0, 2) to (4, 8) step (1, 3) {\n }\n return\n}\n"
    assert text_features(parallel)["run affine.parallel"] == pytest.approx(np.log1p(1))


def test_folds_keep_groups_whole() -> None:
    groups = np.array([0] * 50 + [1] * 10 + list(range(2, 42)))
    fold = fold_of_groups(groups, 4, 0)
    assert all(len(set(fold[groups == g])) == 1 for g in range(42))
    assert np.bincount(fold).tolist() == [50, 17, 17, 16]


def test_too_little_data_is_refused(tmp_path: Path) -> None:
    rows = [json.dumps({"text": nest(4 + i, 8, "addf"), "size": i, "one": "same"}) for i in range(25)]
    (tmp_path / "few.jsonl").write_text("\n".join(rows[:10]))
    (tmp_path / "data.jsonl").write_text("\n".join(rows))
    for name, group, reason in [("few", None, "column size: 10 values"), ("data", "one", "of two groups are needed")]:
        with pytest.raises(SeercError, match=reason):
            train_texts(tmp_path / f"{name}.jsonl", tmp_path / "model", ["size"], group=group)
    with pytest.raises(SeercError, match="unknown architecture for texts 'lstmm'"):
        train_texts(tmp_path / "data.jsonl", tmp_path / "model", ["size"], model="lstmm")
    assert not (tmp_path / "model").exists()

"""The experiment resumes, and its summary is the arithmetic that docs/lm.md registers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ir_corpus.lm import experiment
from ir_corpus.lm.summary import interval, summarise, tables
from tests.ir_corpus.lm.conftest import QUICK, Row


def test_all_arms_are_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus_rows: list[Row]) -> None:
    monkeypatch.setattr(experiment, "read_corpus", lambda folder, split: iter(corpus_rows))
    monkeypatch.setattr(experiment, "HELD_OUT", 3)
    monkeypatch.setattr(experiment, "EvaluationOptions", lambda window, generate: _OPTIONS)
    planned = list(experiment.trials(replace(QUICK, tokens=130), 1, ["rust"]))
    experiment.run(tmp_path, tmp_path / "out", tmp_path / "work", planned[:2])
    first = (tmp_path / "out" / "runs.jsonl").read_text()
    experiment.run(tmp_path, tmp_path / "out", tmp_path / "work", planned)
    whole = (tmp_path / "out" / "runs.jsonl").read_text()
    assert whole.startswith(first)
    runs = experiment.read_runs(tmp_path / "out")
    names = ["source", "paired", "unpaired", "mispaired", "more-source", "paired-without-rust"]
    assert [r["arm"] for r in runs] == names
    assert len({r["card"]["vocabulary"] for r in runs}) == 1
    assert "paired - unpaired" in (tmp_path / "out" / "results.json").read_text()


def run(arm: str, seed: int, source: float) -> dict:
    evaluation = {"mean": {"source": source, "renaming": None}, "languages": {}, "retrieval": {}, "generation": {}}
    return {"arm": arm, "seed": seed, "card": {"trained": {"tokens": 1}}, "evaluation": evaluation}


def test_differences_are_taken_seed_by_seed() -> None:
    runs = [run("paired", s, v) for s, v in enumerate((1.0, 2.0, 3.0))]
    runs += [run("unpaired", s, v) for s, v in enumerate((1.5, 2.5, 3.5))]
    results = summarise(runs)
    assert results["differences"]["paired - unpaired"]["mean.source"] == pytest.approx(
        {"value": -0.5, "low": -0.5, "high": -0.5, "seeds": 3}
    )
    assert results["arms"]["paired"]["mean.source"]["low"] < 0  # 2 +- 4.30 / sqrt(3)
    assert "| mean.source | -0.500 (-0.500 to -0.500) |" in tables(results)


def test_intervals_are_students() -> None:
    found = interval([1.0, 2.0, 3.0])
    assert found["value"] == 2.0
    assert found["high"] - 2.0 == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert interval([5.0]) == {"value": 5.0, "low": 5.0, "high": 5.0, "seeds": 1}


_OPTIONS = experiment.EvaluationOptions(64, retrieve=6, generate=1, generate_tokens=8)

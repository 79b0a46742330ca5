"""`seerc cost`: datasets joined, and what is wrong with one told in a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from costmodel.record import RecordWriter, make_record
from costmodel.target import Target
from costmodel.text import join_candidate
from seerc.cli import main
from tests.seerc.test_predict import SCHEDULES, region


def dataset(folder: Path, *schedules: str) -> Path:
    """A dataset folder with one measured record a schedule."""
    with RecordWriter(folder) as writer:
        for schedule in schedules:
            candidate = join_candidate(region(64), schedule)
            writer.add(make_record(candidate, Target("test machine"), {"latency_ns": 1000.0}))
    return folder


def test_merge_keeps_each_candidate_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, both = dataset(tmp_path / "one", SCHEDULES[0]), dataset(tmp_path / "both", *SCHEDULES)
    out = tmp_path / "merged.parquet"
    assert main(["cost", "merge", str(one), str(both), "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"records": 2, "file": str(out)}
    assert main(["cost", "merge", str(out), "-o", str(tmp_path / "again.parquet")]) == 0
    assert "wrote 2 records" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval", "--data", "{folder}", "--split", "unseen-network"], "did you mean unseen-networks"),
        (["train", "{folder}", "-o", "{folder}/model", "--model", "boost"], "did you mean xgboost"),
        (["merge", "{folder}/nothing", "-o", "{folder}/out.parquet"], "nothing"),
    ],
)
def test_user_errors(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = dataset(tmp_path / "data", *SCHEDULES)
    assert main(["cost", *(word.format(folder=folder) for word in arguments)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_unknown_job_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["cost", "colect"])
    assert "did you mean collect?" in capsys.readouterr().err

"""`seerc lm` from a corpus to generated text, and what it says of bad requests."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import pytest

from costmodel.errors import SeercError
from ir_corpus.lm import pairs, train
from ir_corpus.lm.documents import Arm
from seerc.cli import lm
from tests.ir_corpus.lm.conftest import Row


def call(*argv: str) -> dict:
    parser = argparse.ArgumentParser()
    lm.add_arguments(parser)
    args = parser.parse_args([*argv, "--json"])
    args.out = io.StringIO()
    assert lm.run(args) == 0
    return json.loads(args.out.getvalue())


def test_train_eval_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus_rows: list[Row]) -> None:
    for module in (pairs, train):
        monkeypatch.setattr(module, "read_corpus", lambda folder, split: iter(corpus_rows))
    folder = str(tmp_path / "lm")
    small = ("--model", "quick", "--tokens", "400", "--window", "64")
    card = call("train", str(tmp_path), "-o", folder, *small)
    assert card["trained"]["tokens"] >= 400
    found = call("eval", folder, "--data", str(tmp_path), "--pairs", "2", "--generate", "1")
    assert found["languages"]["c"]["source"] > 0
    (tmp_path / "f.c").write_text("int f(int left);\n")
    assert isinstance(call("sample", folder, "--prompt", str(tmp_path / "f.c"), "--tokens", "8")["text"], str)
    with pytest.raises(SeercError, match="no pairs in the split 'valid'"):
        call("eval", folder, "--data", str(tmp_path), "--split", "valid")


def test_bad_requests_are_explained(tmp_path: Path) -> None:
    with pytest.raises(SeercError, match="did you mean paired"):
        call("train", str(tmp_path), "-o", str(tmp_path), "--arm", "pared")
    with pytest.raises(SeercError, match="--tokens must be at least 1"):
        call("train", str(tmp_path), "-o", str(tmp_path), "--tokens", "0")
    with pytest.raises(SeercError, match=r"lm\.json|no such|not a model"):
        call("eval", str(tmp_path), "--data", str(tmp_path))


def test_the_arms_are_those_of_the_library() -> None:
    assert set(lm.ARMS) == {arm.value for arm in Arm}

"""Training learns, repeats itself and goes on after a kill as if nothing had happened."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from costmodel.errors import SeercError
from ir_corpus.lm import training
from ir_corpus.lm.documents import encode_pairs
from ir_corpus.lm.model import go_on_from, read_model
from ir_corpus.lm.options import LmOptions
from ir_corpus.lm.pairs import Pair
from ir_corpus.lm.train import halves, make_model, train_pairs
from tests.ir_corpus.lm.conftest import QUICK


def trained(pairs: list[Pair], folder: Path, options: LmOptions = QUICK) -> dict:
    model = make_model(options, pairs)
    one, more = (encode_pairs(model.tokenizer, part, options.window) for part in halves(pairs))
    return train_pairs(model, one, more, options, folder)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(read_model(folder).network.state_dict())


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return all(torch.equal(a[k], b[k]) for k in a)


def test_the_loss_falls_and_the_folder_says_how(train_rows: list[Pair], tmp_path: Path) -> None:
    card = trained(train_rows, tmp_path, replace(QUICK, tokens=8_000))
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 0.75 * lines[0]["loss"]
    assert card == json.loads((tmp_path / "lm.json").read_text())
    assert card["pairs"] == {"c": 40, "rust": 40}
    assert 8_000 <= card["trained"]["tokens"] < 8_000 + 2 * 64


@pytest.mark.parametrize("change", [{}, {"spam": True}, {"lora": 2}])
def test_a_killed_run_goes_on_exactly(
    train_rows: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict
) -> None:
    options = replace(QUICK, **change)
    trained(train_rows, tmp_path / "whole", options)
    step = training._Run._train_step

    def killed(run: training._Run, rows: object) -> float:
        if run.step == 11:
            raise KeyboardInterrupt
        return step(run, rows)

    monkeypatch.setattr(training._Run, "_train_step", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(train_rows, tmp_path / "killed", options)
    monkeypatch.setattr(training._Run, "_train_step", step)
    trained(train_rows, tmp_path / "killed", options)
    assert same(tmp_path / "whole", tmp_path / "killed")
    steps = [json.loads(line)["step"] for line in (tmp_path / "killed" / "train.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


def test_a_finished_run_has_nothing_left_to_do(train_rows: list[Pair], tmp_path: Path) -> None:
    first = trained(train_rows, tmp_path, replace(QUICK, tokens=300))
    assert trained(train_rows, tmp_path, replace(QUICK, tokens=300)) == first


def test_another_seed_is_another_model(train_rows: list[Pair], tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        trained(train_rows, tmp_path / name, replace(QUICK, tokens=300, seed=seed))
    assert not same(tmp_path / "one", tmp_path / "two")


def test_the_folder_of_another_run_is_refused(train_rows: list[Pair], tmp_path: Path) -> None:
    trained(train_rows, tmp_path, replace(QUICK, tokens=300))
    with pytest.raises(SeercError, match="other options or data"):
        trained(train_rows, tmp_path, replace(QUICK, tokens=300, lr=1e-3))


def test_a_loss_that_is_not_finite_stops_the_run(train_rows: list[Pair], tmp_path: Path) -> None:
    with pytest.raises(SeercError, match=r"the loss is .* at step"):
        trained(train_rows, tmp_path, replace(QUICK, lr=1e30, warm_up=1e-6))


def test_a_budget_of_time_cuts_the_tokens(train_rows: list[Pair], tmp_path: Path) -> None:
    card = trained(train_rows, tmp_path, replace(QUICK, tokens=10**9, max_seconds=0.5))
    assert card["trained"]["steps"] < 10_000


def test_a_trained_model_goes_on_with_the_sentinels_added(train_rows: list[Pair], tmp_path: Path) -> None:
    base = make_model(QUICK, train_rows)
    tokenizer = json.loads(base.tokenizer.to_str())
    tokenizer["added_tokens"] = []  # a model that never heard of our sentinels
    (tmp_path / "base").mkdir()
    base.save(tmp_path / "base")
    (tmp_path / "base" / "tokenizer.json").write_text(json.dumps(tokenizer).replace("<|", "<!").replace("_llvm", "_l"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (tmp_path / "base" / "tokenizer_config.json").write_text(json.dumps(config))
    more = go_on_from(tmp_path / "base")
    table = more.network.get_input_embeddings().weight
    assert table.shape[0] == more.tokenizer.get_vocab_size() > base.tokenizer.get_vocab_size()
    torch.testing.assert_close(table[-1], base.network.get_input_embeddings().weight.mean(dim=0))
    card = trained(train_rows, tmp_path / "out", replace(QUICK, model=str(tmp_path / "base"), lora=2, tokens=300))
    assert card["parameters"] == more.parameters
    assert read_model(tmp_path / "out").parameters == more.parameters


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(SeercError, match="no such model; give tiny, small"):
        go_on_from(tmp_path / "nowhere")
    with pytest.raises(SeercError, match="not a model that transformers can read"):
        go_on_from(tmp_path)

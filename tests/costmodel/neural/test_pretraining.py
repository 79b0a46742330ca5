"""Pretraining on texts alone: it learns, is reproducible, survives the disk, and networks do start from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from costmodel.dataset import Dataset
from costmodel.errors import SeercError
from costmodel.evaluate import EvaluationOptions, evaluate
from costmodel.neural import learner as learners
from costmodel.neural.inputs import pad
from costmodel.neural.learner import Bag, Transformer
from costmodel.neural.masked import SHARE, UNKNOWN_ID, mask
from costmodel.neural.network import Network
from costmodel.neural.options import NeuralOptions
from costmodel.neural.pretrained import BY_WORD, Pretrained, read_pretrained
from costmodel.neural.pretraining import pretrain_texts
from costmodel.neural.reading import TokenReader
from costmodel.neural.unlabelled import read_unlabelled
from costmodel.record import Record, to_table, write_table
from costmodel.text import join_candidate
from costmodel.tokens.tokenizer import Tokenizer
from costmodel.variant import variant
from seerc.cli import main

FOREIGN = """func.func @f(%a: memref<8xf32>, %i: index) -> f32 {
  %0 = memref.load %a[%i] : memref<8xf32>
  return %0 : f32
}
"""


@pytest.fixture(scope="module")
def options(quick: NeuralOptions) -> NeuralOptions:
    return replace(quick, layers=1, epochs=2)


@pytest.fixture(scope="module")
def encoder(dataset: Dataset, options: NeuralOptions) -> Pretrained:
    """Of the first workloads and a text of another dialect."""
    return pretrain_texts((*dataset.texts[:12], FOREIGN), options)


@pytest.fixture
def folder(encoder: Pretrained, tmp_path: Path) -> Path:
    encoder.save(tmp_path / "encoder")
    return tmp_path / "encoder"


class Stopped(Exception):
    pass


def before_training(data: Dataset, options: NeuralOptions, monkeypatch: pytest.MonkeyPatch) -> Network:
    """The transformer as its training would begin."""
    seen: list[Network] = []

    def stop(network: Network, *_: object) -> None:
        seen.append(network)
        raise Stopped

    monkeypatch.setattr(learners, "train", stop)
    with pytest.raises(Stopped):
        Transformer(options).fit(data)
    return seen[0]


def test_masked_tokens_are_told_better_than_by_their_frequency(dataset: Dataset, options: NeuralOptions) -> None:
    facts = pretrain_texts(dataset.texts, replace(options, epochs=25)).facts
    assert facts["token_loss"] < 0.7 * facts["unigram_loss"]
    assert facts["texts"] == len(dataset.texts)
    assert facts["epochs"] == 25


def test_the_same_seed_gives_the_same_weights(dataset: Dataset, options: NeuralOptions) -> None:
    few, options = dataset.texts[:6], replace(options, dropout=0.2)
    a, b, c = (pretrain_texts(few, replace(options, seed=seed)).weights for seed in (3, 3, 4))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a[BY_WORD[0]], c[BY_WORD[0]])


def test_a_finished_pretraining_is_not_done_again(dataset: Dataset, options: NeuralOptions, tmp_path: Path) -> None:
    first, again = (pretrain_texts(dataset.texts[:6], options, tmp_path) for _ in range(2))
    assert first.facts == again.facts
    assert all(torch.equal(first.weights[k], again.weights[k]) for k in first.weights)
    with pytest.raises(SeercError, match="other options or data"):
        pretrain_texts(dataset.texts[:7], options, tmp_path)


def test_only_known_tokens_are_masked_and_their_numbers_with_them(dataset: Dataset) -> None:
    reader = TokenReader(Tokenizer.build("seerc", dataset.texts[:1]), 512)
    texts = pad([reader.read(text) for text in (*dataset.texts[:6], FOREIGN)])
    masked = mask(texts, 0)
    assert (texts.ids[masked.hidden] > UNKNOWN_ID).all()
    assert torch.equal(texts.ids[masked.hidden], masked.ids)
    assert (masked.texts.ids[masked.hidden] == UNKNOWN_ID).all()
    assert (masked.texts.numbers[masked.hidden] == 0).all()
    assert torch.equal(masked.texts.ids[~masked.hidden], texts.ids[~masked.hidden])
    assert masked.hidden.sum() / (texts.ids > UNKNOWN_ID).sum() == pytest.approx(SHARE, abs=0.05)
    assert masked.numbers.isfinite().any()
    assert masked.numbers.isnan().any()
    assert mask(pad([reader.read(FOREIGN)]), 1).hidden.sum() >= 1


def test_save_and_load_are_bit_identical(encoder: Pretrained, folder: Path, tmp_path: Path) -> None:
    loaded = read_pretrained(folder)
    assert (loaded.tokenizer, loaded.sizes) == (encoder.tokenizer, encoder.sizes)
    assert all(torch.equal(loaded.weights[k], v) for k, v in encoder.weights.items())
    replace(loaded, facts=encoder.facts).save(tmp_path / "again")
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_training_starts_from_the_weights(
    dataset: Dataset, options: NeuralOptions, encoder: Pretrained, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = before_training(dataset, replace(options, pretrained=str(folder)), monkeypatch).encoder.state_dict()
    plain = before_training(dataset, options, monkeypatch).encoder.state_dict()
    words = Tokenizer.build("seerc", dataset.texts).with_words(encoder.tokenizer.words)
    assert "memref" in words.index
    assert len(new[BY_WORD[0]]) == words.size > len(plain[BY_WORD[0]])
    for name in BY_WORD:
        for word in ("linalg", "memref"):
            theirs = encoder.weights[name][encoder.tokenizer.index[word]]
            assert torch.equal(new[name][words.index[word]], theirs)
    whole = encoder.weights.keys() - set(BY_WORD)
    assert all(torch.equal(new[k], encoder.weights[k]) for k in whole)
    assert new.keys() - encoder.weights.keys() == {"out.weight", "out.bias"}
    assert not all(torch.equal(new[k], plain[k]) for k in whole)


def test_words_that_pretraining_did_not_see_keep_their_own_rows(
    dataset: Dataset, options: NeuralOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pretrain_texts((FOREIGN, FOREIGN.replace("8", "16")), options)
    made.save(tmp_path)
    assert "linalg" not in made.tokenizer.index
    network = before_training(dataset, replace(options, pretrained=str(tmp_path)), monkeypatch)
    words = Tokenizer.build("seerc", dataset.texts).with_words(made.tokenizer.words)
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        columns = len(network.column_mean)
        fresh = Network("transformer", words.size, 7, columns, options).encoder.state_dict()
    row = words.index["linalg"]
    assert torch.equal(network.encoder.state_dict()[BY_WORD[0]][row], fresh[BY_WORD[0]][row])


def test_a_variant_is_evaluated_and_named_by_the_content(
    dataset: Dataset, options: NeuralOptions, folder: Path
) -> None:
    name = f"transformer{{pretrained={folder},hidden=32,layers=1,epochs=1,device=cpu}}"
    found = evaluate(dataset, EvaluationOptions((name,), seeds=(0,)))
    assert "kendall_tau" in found["models"][name]
    before = repr(variant(name))
    assert before != repr(variant(name.replace(str(folder), str(folder.parent))))
    _flip(folder)
    assert repr(variant(name)) != before
    assert "pretrained" not in repr(Transformer()), "trials from before the option keep their recipe"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden": 64}, "pretrained with hidden=32"),
        ({"layers": 3}, "the network has hidden=32, layers=3"),
        ({"tokenizer": "ops"}, "set tokenizer=seerc"),
    ],
)
def test_what_does_not_fit_is_refused(
    changes: dict[str, object], reason: str, dataset: Dataset, options: NeuralOptions, folder: Path
) -> None:
    with pytest.raises(SeercError, match=reason):
        Transformer(replace(options, pretrained=str(folder), **changes)).fit(dataset)
    with pytest.raises(SeercError, match="bag takes no option pretrained"):
        Bag(replace(options, pretrained=str(folder))).fit(dataset)


def _flip(folder: Path) -> None:
    raw = bytearray((folder / "encoder.safetensors").read_bytes())
    raw[-1] ^= 1
    (folder / "encoder.safetensors").write_bytes(raw)


def _config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _shrink(folder: Path) -> None:
    found = read_pretrained(folder)
    replace(found, weights={k: v[:2] for k, v in found.weights.items()}).save(folder)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_flip, "encoder.safetensors: corrupt"),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json: cannot be read"),
        (lambda f: (f / "config.json").unlink(), "config.json: cannot be read"),
        (lambda f: (f / "config.json").write_text("[1]"), "config.json: not the configuration"),
        (lambda f: (f / "config.json").write_bytes(b"\xff"), "config.json: not the configuration"),
        (lambda f: _config(f, hidden="many"), "config.json: of no pretrained transformer"),
        (lambda f: _config(f, sha256={}), "config.json: not the configuration"),
        (_shrink, "holds another encoder"),
    ],
)
def test_broken_files_are_refused_with_the_reason(
    damage: Callable[[Path], object], reason: str, dataset: Dataset, options: NeuralOptions, folder: Path
) -> None:
    damage(folder)
    with pytest.raises(SeercError, match=reason):
        Transformer(replace(options, pretrained=str(folder))).fit(dataset)


def test_excluded_workloads_are_dropped_whatever_their_schedule(
    records: list[Record], matmul: Callable[..., str], schedule: Callable[..., str], tmp_path: Path
) -> None:
    known = records[0].workload
    write_table(to_table(records[:1]), tmp_path / "records.parquet")
    rows = [known, known + FOREIGN, join_candidate(matmul(7, 9, 11), schedule(1, 2)), matmul(7, 9, 11), "no MLIR"]
    data = tmp_path / "texts.jsonl"
    data.write_text("".join(json.dumps({"mlir": row}) + "\n" for row in rows))
    found = read_unlabelled([data], exclude=tmp_path / "records.parquet")
    assert len(read_unlabelled([data]).texts) == 3
    assert known not in found.texts
    assert (len(found.texts), found.excluded, found.repeated, len(found.unreadable)) == (2, 1, 2, 1)
    assert "texts.jsonl, line 5" in found.lines()[1]


def test_a_corpus_shard_is_read_by_its_source(tmp_path: Path) -> None:
    row = {"source": FOREIGN, "ir": "define void @f() {}", "language": "mlir", "source_sha256": "0"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "train-00000.parquet")
    assert "memref.load" in read_unlabelled([tmp_path / "train-00000.parquet"]).texts[0]
    with pytest.raises(SeercError, match="no column sources"):
        read_unlabelled([tmp_path / "train-00000.parquet"], "sources")


def test_the_command_reads_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.mlir").write_text(FOREIGN)
    (tmp_path / "deep" / "b.mlir").write_text(FOREIGN.replace("8xf32", "16x4xf32").replace("@f", "@g"))
    (tmp_path / "deep" / "broken.mlir").write_text("func.func @f(")
    out = tmp_path / "encoder"
    assert main(["cost", "pretrain", str(tmp_path), "-o", str(out), "--epochs", "1", "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (found["texts"], found["unreadable"], found["epochs"]) == (2, 1, 1)
    assert "deep/broken.mlir" in said.err
    assert {p.name for p in out.iterdir()} == {"config.json", "encoder.safetensors", "tokenizer.json", "run"}
    assert read_pretrained(out).sizes == {"hidden": 128, "layers": 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{folder}", "-o", "{folder}/out"], "0 .mlir files"),
        (["{folder}/none.parquet", "-o", "{folder}/out"], "not found"),
        (["{folder}", "-o", "{folder}/out", "--epochs", "0"], "--epochs must be at least 1"),
    ],
)
def test_user_errors(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "pretrain", *(word.format(folder=tmp_path) for word in arguments)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1

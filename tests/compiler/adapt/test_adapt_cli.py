"""`seerc adapt` from the command line, on a small model whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from compiler.adapt.plan import read_plan
from seerc.cli import main
from tests.compiler.adapt.conftest import VOCABULARY, build, silence

FIELDS = {
    "decision", "method", "skipped", "draft_length", "acceptance", "predicted_speedup", "measured_speedup", "why",
    "front",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grown model as a Hugging Face folder, prompts, and cost tables of cheap and of dear verification."""
    folder = tmp_path_factory.mktemp("grown")
    silence(build("llama", 6, 0.3), {3, 4, 7, 8}).save_pretrained(folder)
    words = Tokenizer(WordLevel({f"w{index}": index for index in range(VOCABULARY)}, unk_token="w3"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w3").save_pretrained(folder)
    prompts = [f"w{3 + 7 * index % 90} w{5 + 3 * index % 80} w{9 + index}" for index in range(12)]
    (folder / "prompts.txt").write_text("\n\n".join(prompts))
    for name, growth in (("cheap", 0.0), ("dear", 1.0)):
        table = {
            str(width): {"blocks": [1e6 * (1 + growth * (width - 1))] * 12, "rest": 1e6 * (1 + growth * (width - 1))}
            for width in (1, 32)
        }
        (folder / f"{name}.json").write_text(json.dumps(table))
    return folder


def adapt(folder: Path, *options: str) -> list[str]:
    files = ["--calibration", str(folder / "prompts.txt"), "--tokens", "10"]
    return ["adapt", str(folder), *files, *options]


def test_skip_applies_where_it_pays(
    folder: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.json"
    options = ["--costs", str(folder / "cheap.json"), "--json", "-o", str(plan), "--margin", "0.02"]
    assert main(adapt(folder, *options)) == 0
    data = json.loads(capsys.readouterr().out)
    assert data.keys() >= FIELDS
    assert data["decision"] == "apply"
    assert set(data["skipped"]) >= {3, 4, 7, 8}
    assert data["predicted_speedup"] > 1.2
    assert data["measured_speedup"] is None
    assert read_plan(plan).skipped == tuple(data["skipped"])


def test_skip_refuses_with_numbers(folder: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(adapt(folder, "--costs", str(folder / "dear.json"), "--evaluations", "20")) == 0
    text = capsys.readouterr().out
    assert "refuse: skipping" in text
    assert "front (calibration texts)" in text
    assert "held-out" in text


def test_8_bit_drafts(folder: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan, table = tmp_path / "plan.json", tmp_path / "costs.json"
    cheap = json.loads((folder / "cheap.json").read_text())
    table.write_text(json.dumps({**cheap, "draft": {"blocks": [2e5] * 12, "rest": 2e5}}))
    options = ["--int8-drafts", "--json", "-o", str(plan), "--evaluations", "20"]
    assert main(adapt(folder, *options, "--costs", str(table))) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["decision"] == "apply"
    assert data["predicted_speedup"] > 2
    assert read_plan(plan).int8 == tuple(range(13))
    assert main(adapt(folder, *options, "--costs", str(folder / "cheap.json"))) == 1
    assert 'a row "draft" go together' in capsys.readouterr().err
    table.write_text(json.dumps({"draft": {"blocks": [2e5] * 12, "rest": 2e5}}))
    assert main(adapt(folder, *options, "--costs", str(table))) == 1
    assert "needs width 1" in capsys.readouterr().err
    assert main(adapt(folder, "--int8-drafts", "--method", "static")) == 1
    assert "static drafts nothing" in capsys.readouterr().err


def test_static(folder: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "front.png"
    options = ["--method", "static", "--kl", "1e-5", "--costs", str(folder / "cheap.json"), "--plot", str(picture)]
    assert main(adapt(folder, *options, "--json")) == 0
    data = json.loads(capsys.readouterr().out)
    assert data.keys() >= FIELDS
    assert data["skipped"] == [3, 4, 7, 8]
    assert data["decision"] == "apply"
    assert data["kl_held_out"] < 1e-5
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(adapt(folder, *options)) == 0
    assert "apply: together the changes lose" in capsys.readouterr().out


def test_static_int8(folder: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.json"
    options = ["--method", "static", "--kl", "0.1", "--costs", str(folder / "cheap.json"), "--json", "-o", str(plan)]
    assert main(adapt(folder, *options, "--variants", "full,int8")) == 0
    data = json.loads(capsys.readouterr().out)
    assert set(data["variants"].values()) == {"int8"}
    assert (data["decision"], data["skipped"]) == ("apply", [])
    assert read_plan(plan).int8 == tuple(map(int, data["variants"]))
    assert data["predicted_speedup"] > 1.5


def test_static_variants_without_kernels_are_refused(
    folder: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--method", "static", "--kl", "0.1", "--costs", str(folder / "cheap.json"), "--json"]
    assert main(adapt(folder, *options, "--variants", "full,r-sparse")) == 0
    data = json.loads(capsys.readouterr().out)
    assert set(data["variants"].values()) == {"r-sparse 0.4"}
    assert (data["decision"], data["skipped"]) == ("refuse", [])
    assert data["why"].startswith("there are no kernels")
    assert data["predicted_speedup"] > 1
    with pytest.raises(SystemExit):
        main(adapt(folder, *options, "--variants", "int4"))
    assert "int4 is none of full, skip, low-rank" in capsys.readouterr().err


def test_never_slower(
    folder: Path, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is measured is written, and decides."""
    monkeypatch.setattr("compiler.adapt.timed_rounds.round_timer", lambda *_: None)
    options = ["--costs", str(folder / "cheap.json"), "--json", "--margin", "0.02", "--measure"]
    for ratio, decision in ((1.25, "apply"), (0.5, "refuse")):
        monkeypatch.setattr("compiler.adapt.measure.speedup", lambda *_, ratio=ratio: ratio)
        assert main(adapt(folder, *options)) == 0
        data = json.loads(capsys.readouterr().out)
        assert (data["decision"], data["measured_speedup"]) == (decision, ratio)
    assert f"measured 0.500 of the plain program's speed where {data['predicted_speedup']:.3f}" in data["why"]
    dear = ["--costs", str(folder / "dear.json"), "--json", "--measure", "--evaluations", "10"]
    assert main(adapt(folder, *dear)) == 0
    assert json.loads(capsys.readouterr().out)["measured_speedup"] is None  # refused before: nothing to run


@pytest.mark.slow
@pytest.mark.parametrize("method", [["skip", "--margin=-1"], ["static", "--kl", "1e-5"]])
def test_measuring(folder: Path, cache: Path, capsys: pytest.CaptureFixture[str], method: list[str]) -> None:
    options = ["--costs", str(folder / "cheap.json"), "--context", "48", "--json", "--measure"]
    assert main(adapt(folder, *options, "--method", *method)) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["measured_speedup"] > 0
    assert data["decision"] == ("apply" if data["measured_speedup"] >= 1 else "refuse")


def test_mistakes_are_one_line(folder: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapt", "zoo:bert", "--costs", str(folder / "cheap.json")]) == 1
    assert "zoo:smollm2" in capsys.readouterr().err
    (folder / "short.json").write_text('{"1": {"blocks": [1], "rest": 1}}')
    assert main(adapt(folder, "--costs", str(folder / "short.json"))) == 1
    assert "the 12 sub-blocks" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(adapt(folder, "--method", "skp"))
    assert "did you mean skip?" in capsys.readouterr().err

"""`seerc generate`: a small Llama compiled for a plan, saved, verified and loaded again; streaming; user errors."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.adapt.plan import Plan
from seerc.cli import main
from seerc.cli.streams import Printer
from tests.compiler.decode.decode_models import build, byte_tokenizer, reference

PROMPTS = ("Once upon a time", "né")
PLAN = Plan("skip", "apply", "it pays", 2, 32, (1,), 2, 0.9, 0.8, 1.2, 1.1)
REFUSAL = Plan("skip", "refuse", "nothing pays", 2, 32, (), 1, 0.1, 0.0, 0.9, 0.8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    build("llama").save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def compiled(model: Path) -> dict[str, Any]:
    """Standard output and exit code of the compiling run; its decoder is in `folder`."""
    PLAN.write(model.parent / "plan.json")
    out, folder = io.StringIO(), model.parent / "decoder"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out)
        options = ["--plan", str(model.parent / "plan.json"), "--verify", "--json", "--context", "48"]
        code = main(["generate", str(model), "--prompt", *PROMPTS, "--max-tokens", "9", "-o", str(folder), *options])
    return {"code": code, "folder": folder, "data": json.loads(out.getvalue())}


def generate(folder: Path, *options: str, prompts: tuple[str, ...] = PROMPTS) -> int:
    return main(["generate", str(folder), "--max-tokens", "9", "--prompt", *prompts, *options])


def test_the_text_is_that_of_transformers(compiled: dict[str, Any], model: Path) -> None:
    data, tokenizer = compiled["data"], byte_tokenizer()
    expected = [reference(build("llama"), tokenizer(prompt)["input_ids"], 9) for prompt in PROMPTS]
    assert compiled["code"] == 0
    assert [entry["tokens"] for entry in data["prompts"]] == expected
    assert [entry["prompt"] for entry in data["prompts"]] == list(PROMPTS)
    assert (data["verified"], data["differences"]) == (True, [])
    assert data["rounds"] > 0
    assert 0 <= data["acceptance"] <= 1
    assert data["tokens_per_s"] > 0
    assert data["prefill_tokens_per_s"] > 0


def test_a_saved_decoder_keeps_its_plan_and_tokenizer(
    compiled: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(compiled["folder"], "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["prompts"] == compiled["data"]["prompts"]
    assert (data["rounds"], data["verified"]) == (compiled["data"]["rounds"], False)


def test_a_plan_that_refuses_replaces_the_saved_one(
    compiled: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    REFUSAL.write(tmp_path / "plan.json")
    assert generate(compiled["folder"], "--plan", str(tmp_path / "plan.json"), "--json") == 0
    output = capsys.readouterr()
    data = json.loads(output.out)
    assert data["prompts"] == compiled["data"]["prompts"]
    assert (data["rounds"], data["acceptance"]) == (0, None)
    assert "the plan refuses, so no draft: nothing pays" in output.err


def test_lines_are_labelled(compiled: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS) + "\n\n", encoding="utf-8")
    assert (
        main(["generate", str(compiled["folder"]), "--max-tokens", "9", "--prompt-file", str(tmp_path / "prompts.txt")])
        == 0
    )
    output = capsys.readouterr()
    assert {line[:4] for line in output.out.split("\n") if line.startswith("[")} == {"[1] ", "[2] "}
    assert "tokens/s, prefill" in output.err
    assert "acceptance" in output.err


def test_sampled_text_repeats_with_its_seed(compiled: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for seed in ("1", "1", "2"):
        sampling = ["--temperature", "1.5", "--top-k", "50", "--top-p", "0.9", "--seed", seed]
        assert generate(compiled["folder"], "--json", *sampling) == 0
        texts.append([entry["tokens"] for entry in json.loads(capsys.readouterr().out)["prompts"]])
    assert texts[0] == texts[1] != texts[2]


def test_one_sequence_is_printed_as_it_comes() -> None:
    out = io.StringIO()
    printer = Printer(out, 1)
    for piece, shown in (("a", "a"), ("b\nc", "ab\nc"), ("", "ab\nc")):
        printer.write(0, piece)
        assert out.getvalue() == shown
    printer.close()
    assert out.getvalue() == "ab\nc\n"


def test_several_sequences_are_printed_by_lines() -> None:
    out = io.StringIO()
    printer = Printer(out, 2)
    for index, piece in ((0, "a"), (1, "b"), (0, "c\nd"), (1, "e")):
        printer.write(index, piece)
    printer.close()
    assert out.getvalue() == "[1] ac\n[1] d\n[2] be\n"


def _longer_draft(folder: Path) -> list[str]:
    Plan("skip", "apply", "", 2, 32, (1,), 3, 0.9, 0.8, 1.2, 1.1).write(folder / "p.json")
    return ["--plan", str(folder / "p.json")]


def _static(folder: Path) -> list[str]:
    Plan("static", "apply", "", 2, 32, (1,), 0, 0.9, 0.8, 1.2, 1.1).write(folder / "p.json")
    return ["--plan", str(folder / "p.json")]


def _damaged(folder: Path) -> list[str]:
    (folder / "p.json").write_text('{"format": 1, "skipped": 3}')
    return ["--plan", str(folder / "p.json")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (_longer_draft, "drafts of 3 tokens need a step of width 4 (it has 1, 3)"),
        (_static, "a static plan is a program of its own"),
        (_damaged, "is no plan"),
        (lambda _: ["--plan", "none.json"], "none.json: No such file"),
        (
            lambda _: ["--max-tokens", "40"],
            "a prompt of 16 tokens and 40 new ones need a context of 55, the cache holds 48",
        ),
        (lambda _: ["--prompt", "a third"], "decodes 2 prompts together, got 3"),
        (lambda _: ["--context", "64"], "--context is decided when a model is compiled"),
        (lambda _: ["--verify"], "give the model in place of the compiled decoder"),
        (lambda _: ["--verify", "--temperature", "1"], "--verify compares greedy text"),
        (lambda _: ["--top-k", "4"], "give --temperature above 0"),
        (lambda _: ["--temperature", "nan"], "at least 0"),
    ],
)
def test_user_errors_of_a_saved_decoder(
    compiled: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: Callable[[Path], list[str]],
    message: str,
) -> None:
    assert generate(compiled["folder"], *options(tmp_path)) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prompt", "x" * 600], "a prompt of 600 tokens and 64 new ones need a context of 663"),
        (["--prompt", "x", "--context", "128"], "the model has 64 positions: a context of 128 is too long"),
        (["--prompt", "x", ""], "a prompt is empty"),
        ([], "no prompt: give --prompt TEXT"),
    ],
)
def test_user_errors_of_a_model(
    model: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["generate", str(model), *options]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_static_plan_is_another_program(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a sub-block, with an FFN of low rank, one of few neurons and int8: transformers' text with the same."""
    small = Plan("static", "apply", "", 2, 48, (2,), 0, 0.9, None, 1.2, 1.1, ((1, 24),), None, ((3, (1, 5, 40)),))
    plan = replace(small, int8=(0,))
    plan.write(tmp_path / "plan.json")
    options = ["--plan", str(tmp_path / "plan.json"), "--context", "48", "--json"]
    assert generate(model, *options, "--verify", "-o", str(tmp_path / "decoder")) == 0
    output = capsys.readouterr()
    texts = json.loads(output.out)["prompts"]
    assert "the plan's program is lossy" in output.err
    tokens = byte_tokenizer()(PROMPTS[0])["input_ids"]
    assert texts[0]["tokens"] != reference(build("llama"), tokens, 9)
    assert generate(tmp_path / "decoder", "--json") == 0
    assert json.loads(capsys.readouterr().out)["prompts"] == texts
    assert generate(tmp_path / "decoder", "--plan", str(tmp_path / "plan.json"), "--json") == 0
    capsys.readouterr()
    REFUSAL.write(tmp_path / "plan.json")
    assert generate(tmp_path / "decoder", "--plan", str(tmp_path / "plan.json")) == 1
    assert "compiled for another plan" in capsys.readouterr().err


def test_a_model_without_a_tokenizer(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(model / name, tmp_path / name)
    assert generate(tmp_path) == 1
    assert "has no tokenizer" in capsys.readouterr().err


def test_a_difference_is_exit_code_3(
    model: Path, compiled: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The decoder of the saved folder stands for the compiled one, and transformers' text is made another."""
    from compiler.decode.folder import load_decoder

    monkeypatch.setattr("compiler.decode.build.compile_decoder", lambda *_: load_decoder(compiled["folder"]))
    monkeypatch.setattr("compiler.decode.check.greedy_tokens", lambda *_, **__: [1] * 9)
    assert generate(model, "--verify", "--json") == 3
    output = capsys.readouterr()
    assert [found["prompt"] for found in json.loads(output.out)["differences"]] == [0, 1]
    assert "prompt 1 differs from transformers at new token" in output.err

"""`seerc adapt --method mod` from the command line, on a model two layers of which add nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compiler.adapt.plan import read_plan
from seerc.cli import main
from tests.compiler.adapt.conftest import build, silence
from tests.compiler.adapt.test_adapt_cli import adapt, folder

__all__ = ["folder"]  # a fixture of the other methods' tests: prompts, tokenizer, cost tables


@pytest.fixture(scope="module")
def routable(folder: Path) -> Path:
    """The same folder with the weights of a model whose layers 1 and 3 add nothing."""
    silence(build("llama", 6, 0.3), {2, 3, 6, 7}).save_pretrained(folder)
    return folder


def mod(folder: Path, *options: str) -> list[str]:
    files = ["--costs", str(folder / "cheap.json"), "--method", "mod", "--kl", "1e-5"]
    return adapt(folder, *files, *options)


def test_capacities_are_chosen_and_written(
    routable: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, picture = tmp_path / "plan.json", tmp_path / "front.png"
    assert main(mod(routable, "--json", "-o", str(plan), "--plot", str(picture))) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["decision"] == "apply"
    assert [(one["layer"], one["capacity"]) for one in data["routers"]] == [(1, 0.125), (3, 0.125)]
    assert data["predicted_speedup"] == pytest.approx(13 / (13 - 4 * 0.875), rel=1e-2)
    assert data["kl_held_out"] < 1e-5
    assert len(data["rivals"]) == 3
    assert [len(router.weights) for router in read_plan(plan).routers] == [32, 32]
    assert picture.read_bytes().startswith(b"\x89PNG")
    generate = ["generate", str(routable), "--plan", str(plan), "--context", "64", "--max-tokens", "9", "--verify"]
    assert main([*generate, "--prompt", "w5 w9 w40", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["differences"] == []


def test_refusal_names_how_often_a_batch_runs_a_layer(
    routable: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(mod(routable, "--batch", "32")) == 0
    text = capsys.readouterr().out
    assert "refuse: with" in text
    assert "1.000 at 0.5" in text


@pytest.mark.slow
def test_a_plan_that_applies_is_timed(routable: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(mod(routable, "--measure", "--context", "64", "--json")) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["measured_speedup"] > 0
    assert data["decision"] == ("apply" if data["measured_speedup"] >= 1 else "refuse")

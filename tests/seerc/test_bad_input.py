"""Bad input, end to end: one clear line and exit code 1, or a clean recovery; nothing half-written is ever loaded."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seerc
from compiler.native.program import Program
from seerc.cli import main
from tests.compiler.native.conftest import axpy_program

HOME = Path(__file__).resolve().parents[2]
MODELS = """
import torch

class Unknown(torch.nn.Module):
    def forward(self, x):
        return torch.linalg.svd(x)[1]

class DataDependent(torch.nn.Module):
    def forward(self, x):
        return x[x > 0]

class Raises(torch.nn.Module):
    def forward(self, x):
        raise KeyError("boom")

class HugeConstant(torch.nn.Module):
    def forward(self, x):
        return x + torch.ones(1000000, 1000000).sum()

class HugeResult(torch.nn.Module):
    def forward(self, x):
        return x.expand(1000000, 1000000) + 1

def unknown(): return Unknown(), (torch.rand(4, 4),)
def data_dependent(): return DataDependent(), (torch.rand(4),)
def raises(): return Raises(), (torch.rand(4),)
def huge_constant(): return HugeConstant(), (torch.rand(4),)
def huge_result(): return HugeResult(), (torch.rand(1000000),)
def huge_weight(): return torch.nn.Linear(1000000, 1000000), (torch.rand(1, 1000000),)
def broken(): raise ValueError("my own mistake")
def no_module(): return 3
def no_tensors(): return Raises(), 5
def small():
    torch.manual_seed(0)
    layers = torch.nn.Linear(64, 64), torch.nn.Softmax(-1), torch.nn.Linear(64, 64)
    return torch.nn.Sequential(*layers), (torch.rand(64, 64),)
"""

FUNCTION = "func.func @main(%a: tensor<4x4xf32>) -> tensor<4x4xf32> {{\n  {}\n  return %0 : tensor<4x4xf32>\n}}\n"
TEXTS = {
    "misspelt.mlir": FUNCTION.format("%0 = linalg.addd ins(%a : tensor<4x4xf32>)"),
    "cut.mlir": FUNCTION.format("%0 = tensor.empty() : tensor<4x4xf32>")[:80],
    "tosa.mlir": FUNCTION.format("%0 = tosa.tanh %a : (tensor<4x4xf32>) -> tensor<4x4xf32>"),
    "external.mlir": "func.func private @f()\nfunc.func @main(%a: tensor<4xf32>) -> tensor<4xf32> {\n"
    "  func.call @f() : () -> ()\n  return %a : tensor<4xf32>\n}\n",
    "dynamic.mlir": "func.func @main(%a: tensor<?xf32>) -> tensor<?xf32> {\n  return %a : tensor<?xf32>\n}\n",
    "complex.mlir": "func.func @main(%a: tensor<4xcomplex<f32>>) -> tensor<4xcomplex<f32>> {\n"
    "  return %a : tensor<4xcomplex<f32>>\n}\n",
    "huge.mlir": FUNCTION.format("%0 = linalg.exp ins(%a : tensor<4x4xf32>) outs(%a : tensor<4x4xf32>)"
    " -> tensor<4x4xf32>").replace("4x4", "1000000x1000000"),
    "empty.mlir": "",
    "empty.onnx": "",
    "random.onnx": "these bytes are no model",
    "random.pt2": "these bytes are no archive",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are no models, and factories of models that cannot be compiled."""
    made = tmp_path_factory.mktemp("bad")
    (made / "seerc_bad_models.py").write_text(MODELS)
    (made / "seerc_bad_import.py").write_text("value = 1 / 0\n")
    for name, text in TEXTS.items():
        (made / name).write_text(text)
    return made


@pytest.fixture(autouse=True)
def _there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.chdir(folder)


def error_of(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a failing command prints."""
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if "seerc" in line or "Error" in line]
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("seerc: error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("model", "messages"),
    [
        ("misspelt.mlir", ["misspelt.mlir:2:8: custom op 'linalg.addd' is unknown"]),
        ("cut.mlir", ["cut.mlir:2:"]),
        ("tosa.mlir", ["tosa.mlir:2:8: tosa.tanh has no lowering", "reproduce with: seerc compile tosa.mlir"]),
        ("external.mlir", ['external.mlir:1:1: the function "f" has no body']),
        ("dynamic.mlir", ["dynamic.mlir: arg0: tensor<?xf32> has a dynamic shape"]),
        ("complex.mlir", ["complex.mlir: arg0: tensor<4xcomplex<f32>> has elements that seerc has no kernels for"]),
        ("huge.mlir", ["huge.mlir: out of memory", "use a smaller model"]),
        ("empty.mlir", ["empty.mlir: expected @main"]),
        ("empty.onnx", ["empty.onnx: not a readable ONNX model: it is empty"]),
        ("random.onnx", ["random.onnx: not a readable ONNX model"]),
        ("random.pt2", ["random.pt2: not a .pt2 archive, or a truncated one"]),
        ("seerc_bad_models:unknown", ["seerc_bad_models.py:6: torch.aten._linalg_svd has no lowering"]),
        ("seerc_bad_models:data_dependent", ["data-dependent"]),
        ("seerc_bad_models:raises", ["torch.export cannot trace the model: KeyError: 'boom'"]),
        ("seerc_bad_models:huge_constant", ["out of memory (asked for 4000000000000 bytes at once)"]),
        ("seerc_bad_models:huge_weight", ["the factory failed: out of memory (asked for 4000000000000 bytes at once)"]),
        (
            "seerc_bad_models:huge_result",
            ["needs at least 8000.0 GB for weights, inputs"],
        ),
        ("seerc_bad_models:broken", ["the factory failed: ValueError: my own mistake (seerc_bad_models.py:"]),
        ("seerc_bad_models:no_module", ["returned int, not a torch.nn.Module"]),
        ("seerc_bad_models:no_tensors", ["the example inputs must be a tuple of tensors, got 5"]),
        ("seerc_bad_import:x", ["cannot be imported: ZeroDivisionError: division by zero (seerc_bad_import.py:1)"]),
    ],
)
def test_models_that_cannot_be_compiled(
    model: str, messages: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = error_of(["compile", model, "--cost-model", "none", "--jobs", "1", "-o", "program"], capsys)
    assert all(message in error for message in messages), error
    assert not (folder / "program").exists()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("compile seerc_bad_import:x --cost-model analitic", "unknown cost model 'analitic': did you mean analytic?"),
        ("compile seerc_bad_models:small --jobs -1 --cost-model none", "jobs must be at least 1, or 0 for one a CPU"),
        ("compile seerc_bad_models.py:small", "name the module, not its file: seerc_bad_models:small"),
        ("compile seerc_bad_models:small --report nowhere/x.html --cost-model none", "nowhere/x.html: No such file"),
        ("predict random.bin", "random.bin is not a text file: byte 0 is not UTF-8"),
        ("opt random.bin", "random.bin is not a text file"),
        ("run seerc_bad_models.py --input x.npz", "seerc_bad_models.py is not a seerc program"),
        ("cost collect seerc_bad_models:small -o d --per-workload 0", "--per-workload must be at least 1, got 0"),
        ("cost eval --data d --seeds 0", "--seeds must be at least 1, got 0"),
    ],
)
def test_wrong_arguments(command: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "random.bin").write_bytes(b"\xff\xfe\xfd")
    assert message in error_of(command.split(), capsys)


def test_shapes_that_the_model_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    error = error_of(["compile", "seerc_bad_models:small", "--input", "4x63xf32", "--cost-model", "none"], capsys)
    assert error.endswith("must have same reduction dim, but got [4, 63] X [64, 64].")


def test_wrong_arrays_at_a_call(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    y = np.ones((3, 64), np.float32)
    for x, message in ((np.ones(65, np.float32), "float32[65]"), (np.ones(64), "float64[64]")):
        np.savez(tmp_path / "in.npz", x=x, y=y)
        error = error_of(["run", str(saved / "saved"), "--input", str(tmp_path / "in.npz")], capsys)
        assert f"input 0 (x) must be float32[64], got {message}" in error


def test_the_reproducer_of_an_unknown_op_reproduces_it(capsys: pytest.CaptureFixture[str]) -> None:
    import shlex

    error = error_of(["compile", "seerc_bad_models:unknown", "--cost-model", "none"], capsys)
    words = shlex.split(error.partition("reproduce with: ")[2])
    assert words[0] == "seerc"
    assert main(words[1:]) == 1
    again = capsys.readouterr().err
    assert "torch.aten._linalg_svd" in again
    assert "seerc_bad_models.py:6" in again
    Path(words[2]).unlink()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("program")
    axpy_program(made).save(made / "saved")
    np.savez(made / "in.npz", x=np.ones(64, np.float32), y=np.ones((3, 64), np.float32))
    return made


def cut(name: str) -> Callable[[Path], None]:
    return lambda program: os.truncate(program / name, (program / name).stat().st_size // 2)


def remove(name: str) -> Callable[[Path], None]:
    return lambda program: (program / name).unlink()


def edit(**changes: Any) -> Callable[[Path], None]:
    def edited(program: Path) -> None:
        manifest = json.loads((program / "manifest.json").read_text())
        (program / "manifest.json").write_text(json.dumps(manifest | changes))

    return edited


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut("program.so"), "program.so is damaged: compile the model again"),
        (cut("weights.bin"), "weights.bin is damaged: compile the model again"),
        (cut("manifest.json"), "is not a seerc program: cannot read manifest.json"),
        (remove("program.so"), "cannot read p/program.so: No such file"),
        (remove("weights.bin"), "cannot read p/weights.bin: No such file"),
        (remove("manifest.json"), "is not a seerc program: cannot read manifest.json"),
        (edit(files={}), "program.so is damaged"),
        (edit(format=99), "has program format 99, this seerc reads 1: compile the model again"),
        (edit(isa=["avx1024"]), "needs a CPU with avx1024: compile the model on this machine"),
        (edit(inputs=[{"name": "x"}]), "manifest.json is damaged"),
        (edit(outputs=5), "manifest.json is damaged"),
        (edit(format=99, buckets=2, padding=[0]), "has program format 99"),
        (edit(buckets="two", padding=[0]), "is not a bucketed seerc program"),
        (edit(buckets=2, padding=[0]), "p/bucket-0 is not a seerc program"),
    ],
)
def test_a_damaged_program_is_not_loaded(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    shutil.copytree(saved / "saved", "p")
    damage(Path("p"))
    assert message in error_of(["run", "p", "--input", str(saved / "in.npz")], capsys)


@contextmanager
def full_disk(room: int) -> Generator[None]:
    """Every file that grows beyond `room` bytes fails to be written, as on a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.parametrize("room", [100, 3000])
def test_a_full_disk_leaves_the_old_program_and_nothing_else(saved: Path, tmp_path: Path, room: int) -> None:
    program = Program.load(saved / "saved")
    program.save(tmp_path / "p")
    with full_disk(room), pytest.raises(seerc.SeercError, match=r"cannot save to .*p: File too large"):
        program.save(tmp_path / "p")
    with full_disk(room), pytest.raises(seerc.SeercError, match=r"cannot save to .*new: File too large"):
        program.save(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
    assert seerc.load(tmp_path / "p")(np.ones(64, np.float32), np.ones((3, 64), np.float32))


def test_a_full_disk_at_the_output_of_run(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with full_disk(100):
        code = main(["run", str(saved / "saved"), "--input", str(saved / "in.npz"), "-o", str(tmp_path / "y.npz")])
    assert code == 1
    assert "File too large" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal, sys
import pyarrow.parquet as pq
from costmodel import record
from seerc.cli import main
record.RecordWriter.__dataclass_fields__["shard_rows"].default
record.RecordWriter.__init__.__defaults__ = (2, *record.RecordWriter.__init__.__defaults__[1:])
write, written = pq.write_table, []

def killed_half_way(table, file, **options):
    written.append(table)
    if len(written) == 3:
        file.write(b"PAR1 and then the power went out")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    write(table, file, **options)

if sys.argv[1] == "kill":
    pq.write_table = killed_half_way
sys.exit(main(sys.argv[2:]))
"""


def test_a_killed_collect_resumes(tmp_path: Path, folder: Path) -> None:
    from costmodel.record import from_table, read_table

    (tmp_path / "small.mlir").write_text("""
      func.func @main(%a: tensor<64x128xf32>, %b: tensor<64x128xf32>) -> tensor<64x128xf32> {
        %e = tensor.empty() : tensor<64x128xf32>
        %0 = linalg.add ins(%a, %b : tensor<64x128xf32>, tensor<64x128xf32>)
                        outs(%e : tensor<64x128xf32>) -> tensor<64x128xf32>
        return %0 : tensor<64x128xf32>
      }""")
    data = tmp_path / "data"
    command = ["cost", "collect", str(tmp_path / "small.mlir"), "-o", str(data), "--per-workload", "9", "--jobs", "1"]

    def collect(how: str) -> int:
        script = [sys.executable, "-c", KILLED, how, *command]
        return subprocess.run(script, cwd=HOME, capture_output=True, check=False).returncode

    assert collect("kill") == -signal.SIGKILL
    before = list(from_table(read_table(data)))
    assert len(before) == 4
    assert [p.name for p in data.iterdir() if p.suffix == ".tmp"], "the half shard is there"
    assert collect("resume") == 0
    after = list(from_table(read_table(data)))
    assert len(after) > len(before)
    assert len({record.key for record in after}) == len(after)
    assert set(before) <= set(after), "what was measured is not measured again"

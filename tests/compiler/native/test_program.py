"""Programs: calls, errors, saving and loading, damage, other machines, threads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compiler.native.buckets import BucketedProgram
from compiler.native.link import linkers
from compiler.native.main import Call, Loop, Pointer, emit_main
from compiler.native.manifest import TensorSpec, place_weights
from compiler.native.program import Program
from costmodel.errors import SeercError

W = np.arange(64, dtype=np.float32) / 64


def step(x: Any) -> Any:
    return x * W + x


@pytest.fixture
def arrays() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return rng.standard_normal(64, np.float32), rng.standard_normal((3, 64), np.float32)


def check(outputs: list[Any], x: Any, y: Any) -> None:
    np.testing.assert_allclose(outputs[0], step(step(x)), rtol=1e-6)
    np.testing.assert_allclose(outputs[1], step(y), rtol=1e-6)


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_arrays_in_arrays_out(axpy: Program, arrays: Any, threads: int | None) -> None:
    outputs = axpy(*arrays, threads=threads)
    assert all(isinstance(out, np.ndarray) for out in outputs)
    check(outputs, *arrays)


@pytest.mark.parametrize("linker", ["ld", "zig"])
def test_both_linkers_make_working_programs(make_axpy: Callable[..., Program], arrays: Any, linker: str) -> None:
    if linker not in linkers():
        pytest.skip(f"{linker} is not installed")
    check(make_axpy(64, linker)(*arrays), *arrays)


def test_tensors_in_tensors_out(axpy: Program, arrays: Any) -> None:
    x, y = (torch.from_numpy(a) for a in arrays)
    outputs = axpy(x.requires_grad_(), y.T.contiguous().T)
    assert all(isinstance(out, torch.Tensor) for out in outputs)
    check([out.numpy() for out in outputs], *arrays)


def test_strided_arrays_are_copied(axpy: Program, arrays: Any) -> None:
    x, y = arrays
    check(axpy(np.repeat(x, 2)[::2], np.asfortranarray(y)), x, y)


def test_bad_arguments(axpy: Program, arrays: Any) -> None:
    x, y = arrays
    with pytest.raises(SeercError, match=r"takes 2 inputs \(x: float32\[64\], y: float32\[3, 64\]\), got 1"):
        axpy(x)
    with pytest.raises(SeercError, match=r"input 0 \(x\) must be float32\[64\], got float64\[64\]"):
        axpy(x.astype(np.float64), y)
    with pytest.raises(SeercError, match=r"input 1 \(y\) must be float32\[3, 64\], got float32\[64\]"):
        axpy(x, x)
    with pytest.raises(SeercError, match=r"input 1 \(y\) must be float32\[3, 64\], got int64\[3, 64\]"):
        axpy(x, torch.ones(3, 64, dtype=torch.int64))
    with pytest.raises(SeercError, match="must be a NumPy array or a CPU torch tensor, got list"):
        axpy([1.0], y)
    with pytest.raises(SeercError, match="lies on meta"):
        axpy(x, torch.ones(3, 64, device="meta"))
    with pytest.raises(SeercError, match="threads must be at least 1, got 0"):
        axpy(x, y, threads=0)


def test_threads_of_python_may_call_at_once(axpy: Program) -> None:
    rng = np.random.default_rng(1)
    pairs = [(rng.standard_normal(64, np.float32), rng.standard_normal((3, 64), np.float32)) for _ in range(40)]
    with ThreadPoolExecutor(4) as pool:
        for (x, y), outputs in zip(pairs, pool.map(lambda pair: axpy(*pair, threads=1), pairs), strict=True):
            check(outputs, x, y)


def test_saved_program_runs_in_another_process(axpy: Program, arrays: Any, tmp_path: Path) -> None:
    axpy.save(tmp_path / "saved")
    np.savez(tmp_path / "in.npz", x=arrays[0], y=arrays[1])
    script = """
import sys, numpy
from compiler.native.program import Program
program = Program.load(sys.argv[1] + "/saved")
given = numpy.load(sys.argv[1] + "/in.npz")
numpy.savez(sys.argv[1] + "/out.npz", *program(given["x"], given["y"]))
assert program.plan == {"made": "by hand"}
assert "torch" not in sys.modules and "torch_mlir" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    check(list(np.load(tmp_path / "out.npz").values()), *arrays)


def test_a_program_compiled_anew_at_the_same_place_is_the_one_loaded(
    make_axpy: Callable[..., Program], tmp_path: Path
) -> None:
    make_axpy(64).save(tmp_path / "saved")
    old = Program.load(tmp_path / "saved")
    make_axpy(32).save(tmp_path / "saved")
    new = Program.load(tmp_path / "saved")
    assert new(np.ones(32, np.float32), np.ones((3, 32), np.float32))[0].shape == (32,)
    check(old(np.ones(64, np.float32), np.ones((3, 64), np.float32)), np.ones(64), np.ones((3, 64)))


def damage_length(folder: Path) -> None:
    with (folder / "weights.bin").open("r+b") as file:
        file.truncate(100)


def damage_byte(folder: Path) -> None:
    content = bytearray((folder / "program.so").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "program.so").write_bytes(content)


def remove_library(folder: Path) -> None:
    (folder / "program.so").unlink()


def cut_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text((folder / "manifest.json").read_text()[:50])


def edited(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        found = json.loads((folder / "manifest.json").read_text())
        found.update(changes)
        (folder / "manifest.json").write_text(json.dumps(found))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_length, "weights.bin is damaged"),
        (damage_byte, "program.so is damaged"),
        (remove_library, "cannot read .*program.so: No such file"),
        (cut_manifest, "is not a seerc program"),
        (edited(format=99), "has program format 99, this seerc reads 1"),
        (edited(isa=["avx", "avx1024"]), "needs a CPU with avx1024: compile the model on this machine"),
        (edited(inputs=[{}]), "manifest.json is damaged"),
        (edited(files={}), "program.so is damaged"),
    ],
)
def test_what_is_not_loaded(axpy: Program, tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    axpy.save(tmp_path / "saved")
    damage(tmp_path / "saved")
    with pytest.raises(SeercError, match=message) as caught:
        Program.load(tmp_path / "saved")
    assert "\n" not in str(caught.value)


def test_saving_replaces_only_programs_and_leaves_nothing_half_written(
    axpy: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("all of it")
    with pytest.raises(SeercError, match="precious exists and is not a seerc program"):
        axpy.save(precious)
    axpy.save(tmp_path / "saved")
    before = sorted(tmp_path.iterdir())

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("compiler.native.program.shutil.copyfile", full)
    with pytest.raises(SeercError, match=r"cannot save to .*saved: No space left on device"):
        axpy.save(tmp_path / "saved")
    assert sorted(tmp_path.iterdir()) == before
    monkeypatch.undo()
    Program.load(tmp_path / "saved")


def test_weights_lie_at_multiples_of_64_bytes() -> None:
    placed = place_weights([TensorSpec("a", (3,)), TensorSpec("b", (5,), "i1"), TensorSpec("c", (), "i64")])
    assert [(w.offset, w.nbytes) for w in placed] == [(0, 12), (64, 5), (128, 8)]


def test_steps_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="a step stride outside of a loop"):
        emit_main([Call("k", (Pointer("workspace", 0, 0, 4),))], 0, 0)
    with pytest.raises(ValueError, match="inputs have no number 1"):
        emit_main([Call("k", (Pointer("inputs", 1),))], 1, 0)
    with pytest.raises(ValueError, match="called with 1 and with 2 arguments"):
        emit_main([Call("k", (Pointer("null"),)), Loop(2, (Call("k", (Pointer("null"),) * 2),))], 0, 0)
    with pytest.raises(ValueError, match="pointer base 'stack'"):
        Pointer("stack")


def test_buckets_pad_cut_and_survive_saving(make_axpy: Callable[..., Program], tmp_path: Path) -> None:
    BucketedProgram([make_axpy(64), make_axpy(32)], [0.0, 0.0]).save(tmp_path / "buckets")
    program = BucketedProgram.load(tmp_path / "buckets")
    for size, bucket in ((20, 32), (32, 32), (40, 64)):
        x, y = np.full(size, 2, np.float32), np.ones((3, size), np.float32)
        weight = np.arange(size, dtype=np.float32) / bucket
        twice, rows = program(x, y)
        np.testing.assert_allclose(twice, 2 * (1 + weight) ** 2, rtol=1e-6)
        np.testing.assert_allclose(rows, np.broadcast_to(1 + weight, (3, size)), rtol=1e-6)
    tensor = program(torch.ones(20), torch.ones(3, 20))[1]
    assert isinstance(tensor, torch.Tensor)
    assert tensor.shape == (3, 20)
    with pytest.raises(SeercError, match=r"no bucket holds inputs of shapes \[65\], \[3, 65\]"):
        program(np.ones(65, np.float32), np.ones((3, 65), np.float32))


def test_buckets_without_a_padding_rule_match_exactly(make_axpy: Callable[..., Program]) -> None:
    program = BucketedProgram([make_axpy(32), make_axpy(64)], [None, None])
    assert program(np.ones(64, np.float32), np.ones((3, 64), np.float32))[0].shape == (64,)
    with pytest.raises(SeercError, match="no bucket"):
        program(np.ones(20, np.float32), np.ones((3, 20), np.float32))

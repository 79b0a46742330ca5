"""The C header and example, built and run as a user would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from compiler.native.header import emit_example, emit_header
from compiler.native.openmp import openmp_library
from compiler.native.program import Program

COMPILERS = [[path] for path in [shutil.which("cc")] if path]
if find_spec("ziglang") and not COMPILERS:
    COMPILERS = [[sys.executable, "-m", "ziglang", "cc"]]


@pytest.mark.skipif(not COMPILERS, reason="neither cc nor ziglang is installed")
def test_the_example_runs(make_axpy: Callable[[int], Program], tmp_path: Path) -> None:
    program = make_axpy(64)
    shutil.copyfile(program.folder / "program.so", tmp_path / "libaxpy-2.so")
    shutil.copyfile(program.folder / "weights.bin", tmp_path / "axpy-2.weights.bin")
    (tmp_path / "axpy-2.h").write_text(emit_header("axpy-2", program.manifest))
    (tmp_path / "example.c").write_text(emit_example("axpy-2", program.manifest))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(64, np.float32), rng.standard_normal((3, 64), np.float32)
    x.tofile(tmp_path / "x.bin")
    y.tofile(tmp_path / "y.bin")
    libraries = ["-Wl,--no-as-needed", str(tmp_path / "libaxpy-2.so"), str(openmp_library()), "-lm"]
    subprocess.run(
        [*COMPILERS[0], "-std=c11", "-Wall", "-Werror", "example.c", "-o", "example", *libraries],
        cwd=tmp_path, check=True, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    search = {**os.environ, "LD_LIBRARY_PATH": f"{tmp_path}:{openmp_library().parent}"}
    command = ["./example", "axpy-2.weights.bin", "x.bin", "y.bin"]
    done = subprocess.run(command, cwd=tmp_path, check=True, env=search, capture_output=True, text=True)
    printed = [np.array(line.split()[2:], np.float32) for line in done.stdout.splitlines()]
    for found, expected in zip(printed, program(x, y), strict=True):
        np.testing.assert_allclose(found, expected.ravel()[:8], rtol=1e-6)
    done = subprocess.run(["./example", "x.bin"], cwd=tmp_path, check=True, env=search, capture_output=True, text=True)
    assert done.stdout.startswith("output 0: 0 0 0")
    failed = subprocess.run(["./example", "none.bin"], cwd=tmp_path, check=False, env=search, capture_output=True)
    assert failed.returncode == 1
    assert failed.stderr == b"cannot read 256 bytes of none.bin\n"


def test_the_header_names_sizes(axpy: Program) -> None:
    header = emit_header("my-net", axpy.manifest)
    assert "#define MY_NET_WEIGHTS_BYTES 256" in header
    assert "#define MY_NET_INPUT1_BYTES 768 /* y: float float32[3, 64] */" in header
    assert re.search(r"int32_t seerc_run\(const void \*weights, .*void \*workspace\);", header)

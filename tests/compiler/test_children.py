"""Child processes: one that hangs, aborts, eats memory or raises loses its own task and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from compiler import children, driver, kernels
from compiler.cache import Cache
from compiler.children import compile_pool, outcome
from compiler.kernels import Compiled
from costmodel.errors import SeercError


def work(kind: str) -> str:
    """What a child does; it is found by name in the child."""
    if kind == "abort":
        os.abort()
    if kind == "hang":
        threading.Event().wait()
    if kind == "memory":
        return str(len(bytearray(children.MEMORY_BYTES)))
    if kind == "bug":
        raise IndexError("no such loop")
    return kind


def test_a_child_loses_only_its_own_task() -> None:
    kinds = ["abort", "fine", "hang", "memory", "bug", "also fine"]
    with compile_pool(1) as pool:
        limits = {"hang": 0.2}
        futures = [pool.schedule(work, args=(kind,), timeout=limits.get(kind, 60.0)) for kind in kinds]
        found = [outcome(future, kind, 0.2) for kind, future in zip(kinds, futures, strict=True)]
    assert [made for made in found if isinstance(made, str)] == ["fine", "also fine"]
    messages = [str(made) for made in found if isinstance(made, SeercError)]
    assert messages[0].startswith("abort: the compiler crashed (exit code ")
    assert messages[1:] == [
        "hang: no result after 0 s",
        "memory: needs more than the 8 GiB that a child process may have",
        "bug: IndexError: no such loop",
    ]


def crash_on_tiles(name: str, candidate: str) -> bytes:
    """compile_candidate of a compiler that aborts on everything but the plain lowering."""
    if 'algorithm = "plain"' not in candidate:
        os.abort()
    return kernels.compile_candidate(name, candidate)


def crash_always(name: str, candidate: str) -> bytes:
    """compile_candidate of a compiler that aborts."""
    os.abort()


MODEL = """func.func @main(%a: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %e = tensor.empty() : tensor<4x8xf32>
  %0 = linalg.exp ins(%a : tensor<4x8xf32>) outs(%e : tensor<4x8xf32>) -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}
"""


def test_a_kernel_that_crashes_the_compiler_falls_back(tmp_path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    import numpy as np

    import seerc

    (tmp_path / "exp.mlir").write_text(MODEL)
    monkeypatch.setattr(kernels, "compile_candidate", crash_on_tiles)
    monkeypatch.setattr(Cache, "get", lambda *_: None)
    program = seerc.compile(str(tmp_path / "exp.mlir"), cost_model="none", jobs=1)
    assert program.plan["fallbacks"] == 1
    assert "the compiler crashed" in caplog.text
    x = np.linspace(-1, 1, 32, dtype=np.float32).reshape(4, 8)
    np.testing.assert_allclose(program(x)[0], np.exp(x), rtol=1e-5)


def test_a_kernel_without_any_lowering_is_an_error_with_a_reproducer(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    import seerc
    from compiler.frontend.load import load_model

    (tmp_path / "exp.mlir").write_text(MODEL)
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "compile_candidate", crash_always)
        patch.setattr(Cache, "get", lambda *_: None)
        patch.setattr(driver.tempfile, "tempdir", str(tmp_path))
        with pytest.raises(SeercError, match=r"the compiler crashed .*; reproduce with: seerc compile ") as caught:
            seerc.compile(str(tmp_path / "exp.mlir"), cost_model="none", jobs=1)
    reproducer = str(caught.value).rpartition(" ")[2]
    assert load_model(reproducer).imported.inputs[0].shape == (4, 8)
    assert seerc.compile(reproducer, cost_model="none", jobs=1).plan["fallbacks"] == 0


def test_a_damaged_or_foreign_cache_entry_is_compiled_again(tmp_path) -> None:
    from compiler.driver import CompileOptions, lower_model
    from compiler.frontend.load import load_model

    (tmp_path / "exp.mlir").write_text(MODEL)
    stages = lower_model(load_model(str(tmp_path / "exp.mlir")).imported, CompileOptions("none", jobs=1))
    [(key, choice)] = stages.choices.items()
    cache = Cache(tmp_path / "cache")
    [made] = kernels.compile_all([(key, choice.candidate)], cache, 1)
    assert isinstance(made, Compiled)
    [entry] = [path for path in cache.folder.glob("??/*")]
    good = entry.read_bytes()
    for damage in (lambda: entry.write_bytes(good[:-9]), lambda: cache.put(entry.name, b"not a kernel")):
        damage()
        assert kernels.compile_all([(key, choice.candidate)], cache, 1) == [made]
        assert entry.read_bytes() == good


def test_the_caller_s_script_is_not_run_again() -> None:
    script = """
import numpy, sys
from compiler.children import compile_pool
print("once")
with compile_pool(1) as pool:
    print(pool.schedule(numpy.add, args=(1, 2)).result())
"""
    done = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["once", "3"]


def test_limits_are_never_raised() -> None:
    code = "import resource as r, compiler.children as c; r.setrlimit(r.RLIMIT_DATA, (1 << 30, 1 << 30))\n"
    code += "c.limit_resources(8 << 30); print(r.getrlimit(r.RLIMIT_DATA)[0], r.getrlimit(r.RLIMIT_CORE)[0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(1 << 30), "0"]

"""Weights on huge pages: the same bytes, once for equal files, and the same results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from compiler.driver import CompileOptions, compile_model
from compiler.frontend.load import from_module
from compiler.native.huge_pages import LEAST, PAGE, on_huge_pages, read_on_huge_pages
from compiler.native.marshal import address
from compiler.native.program import Program


def linear(width: int, inner: int) -> Program:
    torch.manual_seed(0)
    module = torch.nn.Linear(inner, width, bias=False)
    imported = from_module(module, (torch.zeros(1, inner),), "linear").imported
    return compile_model(imported, CompileOptions(cost_model="none"))


def test_results_stay_the_same_and_equal_weights_are_read_once(tmp_path: Path) -> None:
    first = linear(2048, LEAST // 8192)
    first.save(tmp_path / "program")
    second = Program.load(tmp_path / "program")
    x = np.random.default_rng(0).standard_normal((1, LEAST // 8192), dtype=np.float32)
    before = first(x)[0]
    on_huge_pages([first, second])
    assert not first.maps_weights
    assert first._weights is second._weights
    assert address(first._weights) % PAGE == 0
    np.testing.assert_array_equal(first(x)[0], before)
    np.testing.assert_array_equal(second(x, threads=2)[0], before)
    on_huge_pages([first])
    assert first._weights is second._weights


def test_small_weights_stay_mapped() -> None:
    program = linear(16, 16)
    on_huge_pages([program])
    assert program.maps_weights


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    data = np.random.default_rng(1).integers(0, 256, PAGE + 12_345, dtype=np.uint8)
    (tmp_path / "weights").write_bytes(data.tobytes())
    np.testing.assert_array_equal(read_on_huge_pages(tmp_path / "weights", len(data)), data)

"""Measuring one candidate: the arrays that a kernel reads while it is timed."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from compiler import measure
from compiler.driver import vector_unit
from compiler.target import detect_target
from passes.tiling.select import choose_all

SCALED = """
func.func @c0(%x: tensor<8x256xf32>, %w: tensor<256xf32> {seerc.constant}) -> tensor<8x256xf32>
    attributes {seerc.kind = "elementwise"} {
  %e = tensor.empty() : tensor<8x256xf32>
  %0 = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j)>,
      affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]}
      ins(%x, %w : tensor<8x256xf32>, tensor<256xf32>) outs(%e : tensor<8x256xf32>) {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %1 = arith.mulf %a, %b : f32
    linalg.yield %1 : f32
  } -> tensor<8x256xf32>
  return %0 : tensor<8x256xf32>
}
"""


def test_copies_of_constants_stay_as_they_are_while_the_kernel_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[bytes] = []

    def read(call: Any, arguments: list[list[ctypes.c_void_p]]) -> list[float]:
        """Instead of timing: what freed memory would be overwritten with, then the constant of each copy."""
        del call
        assert len([np.full(256, i, np.float32) for i in range(200)]) == 200
        found.extend(ctypes.string_at(pointers[1].value or 0, 1024) for pointers in arguments)
        return [1e-6] * 5

    monkeypatch.setattr(measure, "time_calls", read)
    target = detect_target()
    (choice,) = choose_all([SCALED], vector_unit(target), None, target)
    measure.measure_candidate("c0", choice.candidate, target.to_json(), 1.0)
    assert len(found) > 1
    assert len(set(found)) == 1
    values = np.frombuffer(found[0], np.float32)
    assert np.all(np.abs(values) > np.finfo(np.float32).tiny)  # denormals take a hundred times as long


def test_one_disturbed_batch_does_not_shorten_every_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven batches of empty calls take 300 ns a call, one takes ten times as long."""
    batches = iter([3e-7] * 3 + [3e-6] + [3e-7] * 4)
    monkeypatch.setattr(measure, "_idle_seconds", lambda *_: next(batches))
    monkeypatch.setattr(measure, "_seconds", lambda *_: 1.25e-6)  # 1 us of a kernel, and its call
    assert measure.time_calls(None, [[ctypes.c_void_p()]]) == pytest.approx([1e-6] * 25)

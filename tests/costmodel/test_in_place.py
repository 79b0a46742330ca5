"""Kernels in place: what is read from a text, and how reading, computing and calls add up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from costmodel.errors import SeercError
from costmodel.in_place import InPlace, KernelUse, kernel_use, read_in_place

GEMV = """
func.func private @gemv(%x: tensor<1x64xf32> {seerc.strides = array<i64: 64, 1>},
    %w: tensor<64x256xf32> {seerc.constant, seerc.strides = array<i64: 256, 1>})
    -> (tensor<1x256xf32> {seerc.strides = array<i64: 256, 1>}) attributes {seerc.kind = "contraction"} {
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty() : tensor<1x256xf32>
  %start = linalg.fill ins(%zero : f32) outs(%empty : tensor<1x256xf32>) -> tensor<1x256xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(i, j, k) -> (i, k)>, affine_map<(i, j, k) -> (k, j)>,
      affine_map<(i, j, k) -> (i, j)>], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%x, %w : tensor<1x64xf32>, tensor<64x256xf32>) outs(%start : tensor<1x256xf32>) attrs = {seerc.root} {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %p = arith.mulf %a, %b : f32
    %s = arith.addf %c, %p : f32
    linalg.yield %s : f32
  } -> tensor<1x256xf32>
  return %y : tensor<1x256xf32>
}"""


def test_a_contraction_streams_its_weight():
    use = kernel_use(f"module {{{GEMV}}}", 500.0)
    assert use == KernelUse(500.0, 64 * 256 * 4, True, 1.0)


def test_memory_bound_kernels_follow_the_bandwidth_of_the_footprint():
    fit = InPlace(read=1.0, alone=1.0, call_ns=0.0)
    use = KernelUse(predicted_ns=100.0, streamed_bytes=10_000.0, contraction=True)
    small, large = (fit.nanoseconds([use], lambda n, _: 200.0 if n < 1e6 else 10.0, f)[0] for f in (1e3, 1e9))
    assert small == pytest.approx(104.0, rel=1e-2)  # in cache: as long as alone, and half as long to read
    assert large == pytest.approx(1000.0, rel=1e-3)  # 10,000 bytes at 10 bytes a nanosecond
    halves = replace(fit, overlap=1.0).nanoseconds([use], lambda *_: 100.0)[0]
    assert halves == pytest.approx(200.0)  # one after the other


def test_time_grows_with_the_rows_and_with_what_is_predicted():
    fit = read_in_place()
    few, many = (KernelUse(1000.0, 1e6, True, rows) for rows in (1, 16))
    other, slow = (KernelUse(predicted, 0.0, False) for predicted in (1000.0, 2000.0))
    times = fit.nanoseconds([few, many, other, slow], lambda _, rows: 10.0 / rows)
    assert times[0] < times[1]
    assert times[2] < times[3]


def test_a_damaged_fit_is_refused(tmp_path):
    (tmp_path / "fit.json").write_text('{"speed": 1}')
    with pytest.raises(SeercError, match=r"tools/in_place\.py fit"):
        read_in_place(tmp_path / "fit.json")

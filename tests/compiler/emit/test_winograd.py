"""Winograd kernels against a direct convolution in float64."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from compiler.emit.candidate import emit_candidate
from compiler.emit.pack import pack_array
from compiler.native.openmp import load_openmp
from costmodel.region.linear import row_major
from passes.mlir import context, ir
from passes.region.read import read_region
from passes.region.structure import UnsupportedRegion
from passes.region.winograd import match_winograd
from passes.tiling.schedule import Schedule
from tests.compiler.emit.harness import Tensor, compiled, filled, generic, module

Array = np.ndarray[Any, Any]
OUTPUT = "d0, d1, d2, d3"


@dataclass(frozen=True)
class Convolution:
    """A channels-last convolution of a padded input, plus bias, plus residual, relu."""

    batch: int
    height: int
    width: int
    channels: int
    filters: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    constant: bool = True
    last: bool = True
    """Channels lie next to each other."""

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Input, weights, bias, and residual or result."""
        height = (self.height - 1) * self.stride + (self.kernel - 1) * self.dilation + 1
        width = (self.width - 1) * self.stride + (self.kernel - 1) * self.dilation + 1
        x = self._image(self.channels, height, width)
        weights = Tensor((self.filters, self.channels, self.kernel, self.kernel), constant=self.constant)
        return x, weights, Tensor((self.filters,), constant=True), self._image(self.filters, self.height, self.width)

    def _image(self, channels: int, height: int, width: int) -> Tensor:
        n, h, w, c = row_major((self.batch, height, width, channels))
        shape = (self.batch, channels, height, width)
        return Tensor(shape, strides=(n, c, h, w) if self.last else row_major(shape))

    def text(self, how: Schedule) -> str:
        x, w, bias, y = self.tensors()
        window = f"d0, d4, d2 * {self.stride} + d5 * {self.dilation}, d3 * {self.stride} + d6 * {self.dilation}"
        multiply_add = "%m = arith.mulf %a0, %a1 : f32\n%s = arith.addf %o, %m : f32\nyield %s"
        epilogue = "%s = arith.addf %a0, %a1 : f32\n%r = arith.maximumf %s, %z_c : f32\nyield %r"
        body = filled("%z", y, "0.0")
        body += generic("%i", [("%2", bias, "d1")], ("%z_e", y, OUTPUT), "pppp", "yield %a0")
        operands = [("%0", x, window), ("%1", w, "d1, d4, d5, d6")]
        body += generic("%c", operands, ("%i", y, OUTPUT), "pppprrr", multiply_add, root=True)
        body += generic("%r", [("%c", y, OUTPUT), ("%3", y, OUTPUT)], ("%z_e", y, OUTPUT), "pppp", epilogue)
        return module([x, w, bias, y], [y], body + f"return %r : {y.type}", how, "contraction")

    def values(self) -> list[Array]:
        rng = np.random.default_rng(0)
        x, weights, bias, residual = [rng.standard_normal(t.shape).astype(np.float32) for t in self.tensors()]
        return [x, weights * np.float32(1 / np.sqrt(9 * self.channels)), bias, residual]

    def expected(self, x: Array, weights: Array, bias: Array, residual: Array) -> Array:
        total = bias.astype(np.float64)[:, None, None] + residual
        for i in range(3):
            for j in range(3):
                window = x[:, :, i : i + self.height, j : j + self.width].astype(np.float64)
                total = total + np.einsum("nchw,fc->nfhw", window, weights[:, :, i, j], optimize=True)
        return np.maximum(total, 0)


def check(convolution: Convolution, how: Schedule, limit: float = 1e-6) -> None:
    values = convolution.values()
    (result,) = compiled(convolution.text(how)).run(*values)
    expected = convolution.expected(*values)
    assert np.linalg.norm(result - expected) / np.linalg.norm(expected) <= limit


SHAPES = [
    Convolution(1, 8, 8, 16, 32),
    Convolution(1, 7, 7, 16, 16),
    Convolution(1, 5, 6, 19, 21),
    Convolution(2, 9, 11, 8, 40),
    Convolution(1, 3, 2, 5, 3),
    Convolution(2, 1, 13, 33, 50),
]


@pytest.mark.parametrize("convolution", SHAPES, ids=str)
@pytest.mark.parametrize("algorithm", ["winograd2", "winograd4"])
def test_matches_direct(convolution: Convolution, algorithm: str) -> None:
    check(convolution, Schedule(algorithm, vector=16, vectors=2, rows=3, unroll=2, row_tile=6, parallel=False))


@pytest.mark.parametrize("convolution", SHAPES[2:4], ids=str)
@pytest.mark.parametrize("algorithm", ["winograd2", "winograd4"])
def test_narrow_vectors(convolution: Convolution, algorithm: str) -> None:
    check(convolution, Schedule(algorithm, vector=8, vectors=3, rows=4, parallel=False))


@pytest.mark.parametrize(("order", "row_tile"), [("columns-rows", 0), ("columns-rows", 4), ("rows-columns", 4)])
def test_two_threads(order: str, row_tile: int) -> None:
    load_openmp().omp_set_num_threads(2)
    how = Schedule(algorithm="winograd4", vector=16, vectors=1, rows=4, row_tile=row_tile, order=order)
    check(Convolution(2, 15, 18, 24, 40), how)


@pytest.mark.parametrize("parallel", [False, True])
def test_several_chunks(parallel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compiler.emit.winograd_plan.CHUNK_ELEMENTS", {parallel: 10_000})
    load_openmp().omp_set_num_threads(2)
    check(
        Convolution(1, 22, 19, 16, 24),
        Schedule(algorithm="winograd4", vector=8, vectors=2, rows=2, row_tile=2, parallel=parallel),
    )


def test_many_channels_stay_accurate() -> None:
    check(Convolution(1, 8, 8, 512, 32), Schedule(algorithm="winograd4", vector=16, vectors=2, rows=4), 1.5e-6)


def test_result_does_not_depend_on_threads() -> None:
    convolution = Convolution(1, 30, 30, 16, 64)
    kernel = compiled(convolution.text(Schedule(algorithm="winograd4", vector=16, vectors=2, rows=8, row_tile=16)))
    results: list[Array] = []
    for threads in (1, 2, 3):
        load_openmp().omp_set_num_threads(threads)
        results += kernel.run(*convolution.values())
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@contextmanager
def before_a_forbidden_page(array: Array) -> Generator[int]:
    """The address of a copy of `array` that ends where memory may not be touched."""
    page = mmap.PAGESIZE
    size = -(-array.nbytes // page) * page
    memory = mmap.mmap(-1, size + page)
    anchor = ctypes.c_char.from_buffer(memory)
    start = ctypes.addressof(anchor)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(start + size), ctypes.c_size_t(page), 0) == 0
    ctypes.memmove(start + size - array.nbytes, array.ctypes.data, array.nbytes)
    yield start + size - array.nbytes
    del anchor
    memory.close()


@pytest.mark.parametrize("algorithm", ["winograd2", "winograd4"])
def test_touches_nothing_beyond_its_arguments(algorithm: str) -> None:
    convolution = Convolution(2, 7, 9, 19, 21)
    kernel = compiled(convolution.text(Schedule(algorithm=algorithm, vector=16, rows=4, parallel=False)))
    x, weights, bias, residual = convolution.values()
    assert kernel.kernel.packing is not None
    packed, scratch = pack_array(weights, kernel.kernel.packing), np.zeros(kernel.kernel.scratch_bytes, np.uint8)
    with (
        before_a_forbidden_page(x) as a,
        before_a_forbidden_page(packed) as b,
        before_a_forbidden_page(bias) as c,
        before_a_forbidden_page(residual) as d,
        before_a_forbidden_page(residual) as result,
        before_a_forbidden_page(scratch) as memory,
    ):
        child = os.fork()
        if child == 0:
            kernel.call([a, b, c, d, result, memory])
            os._exit(0)
        _, status = os.waitpid(child, 0)
    assert status == 0


def test_match_names_the_roles() -> None:
    with context():
        parsed = ir.Module.parse(Convolution(2, 9, 11, 8, 40).text(Schedule("winograd4")))
        shape = match_winograd(read_region(parsed))
    assert shape is not None
    assert (shape.batch, shape.filters, shape.height, shape.width) == ("d0", "d1", "d2", "d3")
    assert (shape.channels, shape.kernel_height, shape.kernel_width) == ("d4", "d5", "d6")
    assert (shape.tiles(4), shape.tiles(2)) == ((2, 3, 3), (2, 5, 6))
    assert (shape.source.argument, shape.weights.argument) == (0, 1)


@pytest.mark.parametrize(
    "convolution",
    [
        Convolution(1, 8, 8, 16, 16, kernel=5),
        Convolution(1, 8, 8, 16, 16, kernel=1),
        Convolution(1, 8, 8, 16, 16, stride=2),
        Convolution(1, 8, 8, 16, 16, dilation=2),
        Convolution(1, 8, 8, 16, 16, constant=False),
        Convolution(1, 8, 8, 16, 16, last=False),
    ],
    ids=str,
)
def test_refuses_other_convolutions(convolution: Convolution) -> None:
    text = convolution.text(Schedule("winograd4"))
    with context():
        parsed = ir.Module.parse(text)
        assert match_winograd(read_region(parsed)) is None
    with pytest.raises(UnsupportedRegion, match="kernel: not a 3x3 convolution"):
        emit_candidate(text)

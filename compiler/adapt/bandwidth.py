"""How fast a core streams weights through a contraction, by how many bytes they are together and by rows.

With one row it is the memory's bandwidth; with more the arithmetic hides behind the reading as far as this machine lets
it. Measured once a machine, on the kernels that the compiler makes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from compiler.cache import cache_folder, cache_key
from compiler.driver import CompileOptions, compile_model
from compiler.frontend.load import from_module
from compiler.native.huge_pages import on_huge_pages
from compiler.target import detect_target
from costmodel.files import write_atomically
from costmodel.in_place import Bandwidth

VERSION = "6"
_DEPTH = 1024
_MEGABYTES = (2, 8, 32, 64, 96, 128, 192, 256, 512)
"""Footprints with one row."""
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
_FEW_MEGABYTES = (8, 128, 256, 512)
"""Footprints with more rows; with many the arithmetic is what takes time, and the largest are left out."""
_MANY_ROWS = 32
_RUNS = 15
_ROUNDS = 3
"""Each with pages of its own: where they lie costs up to a third, and the best round counts."""


def read_bandwidth(say: Callable[[str], None] = lambda _: None) -> Bandwidth:
    """Bytes per nanosecond of one thread by footprint in bytes and rows, interpolated between measured ones."""
    core = replace(detect_target(), cores=1)  # whatever this process may use
    path = cache_folder() / "bandwidth" / f"{cache_key(VERSION, core.hash)[:16]}.json"
    if not path.exists():
        say("measuring how fast this machine streams weights (two and a half minutes, once)")
        path.parent.mkdir(parents=True, exist_ok=True)
        rounds = [[_measure(*point) for point in _points()] for _ in range(_ROUNDS)]
        best = [(*point, max(rates)) for point, *rates in zip(_points(), *rounds, strict=True)]
        write_atomically(path, json.dumps(best).encode())
    return interpolated(json.loads(path.read_text()))


def _points() -> list[tuple[int, int]]:
    """(bytes, rows) to measure."""
    few = [(n, rows) for rows in _ROWS[1:] for n in _FEW_MEGABYTES if rows < _MANY_ROWS or n < _FEW_MEGABYTES[-2]]
    return [(n << 20, rows) for n, rows in [*((n, 1) for n in _MEGABYTES), *few]]


def interpolated(points: list[tuple[int, int, float]]) -> Bandwidth:
    """Of (bytes, rows, bytes per ns): log-linear along both, over footprints as far as there are some."""
    curves = {
        rows: np.array([(np.log(size), np.log(rate)) for size, r, rate in sorted(points) if r == rows])
        for rows in sorted({rows for _, rows, _ in points})
    }
    logs = np.log(list(curves))

    @lru_cache(maxsize=4096)
    def bandwidth(footprint: float, rows: float) -> float:
        at = np.log(max(footprint, 1.0))
        rates = [float(np.interp(at, curve[:, 0], curve[:, 1])) for curve in curves.values()]
        return float(np.exp(np.interp(np.log(max(rows, 1.0)), logs, rates)))

    return bandwidth


def _measure(size: int, rows: int) -> float:
    """Of a product of `rows` rows with a packed matrix of `size` bytes; lower quartile of several runs."""
    import torch

    with torch.no_grad():
        layer = torch.nn.Linear(_DEPTH, size // (4 * _DEPTH), bias=False)
        layer.weight.fill_(0.5)
        program = compile_model(from_module(layer, (torch.zeros(rows, _DEPTH),), "stream").imported, CompileOptions())
    on_huge_pages([program])
    vectors, seconds = np.ones((rows, _DEPTH), np.float32), list[float]()
    for _ in range(_RUNS):
        begin = time.perf_counter()
        program(vectors, threads=1)
        seconds.append(time.perf_counter() - begin)
    return size / (float(np.quantile(seconds[3:], 0.25)) * 1e9)

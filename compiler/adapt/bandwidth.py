"""How fast a core reads weights again and again, by how many bytes they are together: measured once a machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from compiler.cache import cache_folder, cache_key
from compiler.driver import CompileOptions, compile_model
from compiler.frontend.load import from_module
from compiler.target import detect_target
from costmodel.files import write_atomically
from costmodel.in_place import Bandwidth

VERSION = "2"
_DEPTH = 1024
_MEGABYTES = (2, 8, 32, 64, 96, 128, 192, 512)
_RUNS = 15


def read_bandwidth(say: Callable[[str], None] = lambda _: None) -> Bandwidth:
    """Bytes per nanosecond of one thread by footprint in bytes, interpolated between measured ones."""
    path = cache_folder() / "bandwidth" / f"{cache_key(VERSION, detect_target().hash)[:16]}.json"
    if not path.exists():
        say("measuring how fast this machine reads weights")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({n << 20: _measure(n << 20) for n in _MEGABYTES}).encode())
    return _interpolated(path)


def _interpolated(path: Path) -> Bandwidth:
    known = {float(size): float(rate) for size, rate in json.loads(path.read_text()).items()}
    sizes, rates = np.log(list(known)), list(known.values())
    return lambda footprint: float(np.interp(np.log(max(footprint, 1.0)), sizes, rates))


def _measure(size: int) -> float:
    """Of a matrix-vector product whose packed matrix has `size` bytes; lower quartile of several runs."""
    import torch

    with torch.no_grad():
        layer = torch.nn.Linear(_DEPTH, size // (4 * _DEPTH), bias=False)
        layer.weight.fill_(0.5)
        program = compile_model(from_module(layer, (torch.zeros(1, _DEPTH),), "stream").imported, CompileOptions())
    vector, seconds = np.ones((1, _DEPTH), np.float32), list[float]()
    for _ in range(_RUNS):
        begin = time.perf_counter()
        program(vector, threads=1)
        seconds.append(time.perf_counter() - begin)
    return size / (float(np.quantile(seconds[3:], 0.25)) * 1e9)

"""Packed matrix products of seerc against torch.mm (MKL), one thread: `python tools/bench_gemm.py [--json OUT]`.

Both contestants alternate in one process; the figure is the ratio of medians. The weight is constant, so seerc packs
it ahead of time. Shapes are (M, N, K) of the zoo's linear layers, the skinny ones of decoding among them.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compiler.driver import vector_unit
from compiler.emit.pack import pack_array
from compiler.kernels import Compiled, compile_candidate
from compiler.measure import load_kernel
from compiler.target import detect_target
from costmodel.protocol import load_cost_model
from passes.tiling.select import choose

SHAPES = {
    "square 768": (768, 768, 768),
    "BERT projection": (128, 256, 256),
    "BERT up": (128, 1024, 256),
    "BERT down": (128, 256, 1024),
    "MiniLM up": (128, 1536, 384),
    "MiniLM down": (128, 384, 1536),
    "ViT up": (197, 768, 192),
    "MLP": (32, 512, 512),
    "SmolLM2 gate, M=1": (1, 1536, 576),
    "SmolLM2 down, M=1": (1, 576, 1536),
    "SmolLM2 gate, M=4": (4, 1536, 576),
    "SmolLM2 down, M=4": (4, 576, 1536),
    "SmolLM2 gate, M=8": (8, 1536, 576),
}


def workload(m: int, n: int, k: int) -> str:
    """A matrix product with a constant right operand, stored as torch.nn.Linear stores it ([N, K])."""
    return f"""#a = affine_map<(d0, d1, d2) -> (d0, d2)>
#b = affine_map<(d0, d1, d2) -> (d2, d1)>
#c = affine_map<(d0, d1, d2) -> (d0, d1)>
module {{
  func.func @gemm(
      %a: tensor<{m}x{k}xf32>, %b: tensor<{k}x{n}xf32> {{seerc.constant, seerc.strides = array<i64: 1, {k}>}})
      -> tensor<{m}x{n}xf32> attributes {{seerc.kind = "contraction"}} {{
    %zero = arith.constant 0.0 : f32
    %empty = tensor.empty() : tensor<{m}x{n}xf32>
    %fill = linalg.fill ins(%zero : f32) outs(%empty : tensor<{m}x{n}xf32>) -> tensor<{m}x{n}xf32>
    %0 = linalg.generic {{indexing_maps = [#a, #b, #c], iterator_types = ["parallel", "parallel", "reduction"]}}
        ins(%a, %b : tensor<{m}x{k}xf32>, tensor<{k}x{n}xf32>)
        outs(%fill : tensor<{m}x{n}xf32>) attrs = {{seerc.root}} {{
    ^bb0(%x: f32, %y: f32, %acc: f32):
      %1 = arith.mulf %x, %y : f32
      %2 = arith.addf %acc, %1 : f32
      linalg.yield %2 : f32
    }} -> tensor<{m}x{n}xf32>
    return %0 : tensor<{m}x{n}xf32>
  }}
}}
"""


def measure(shape: tuple[int, int, int], cost_model: str, seconds: float) -> dict[str, Any]:
    """Median seconds of both, their ratio (above 1: seerc is faster), and the error against float64."""
    m, n, k = shape
    target = detect_target()
    choice = choose(workload(m, n, k), vector_unit(target), load_cost_model(cost_model, target), target)
    compiled = Compiled.from_bytes(compile_candidate("gemm", choice.candidate))
    call = load_kernel("gemm", compiled)
    rng = np.random.default_rng(0)
    a, weight = rng.standard_normal((m, k), np.float32), rng.standard_normal((n, k), np.float32)
    packed = pack_array(weight, compiled.packing) if compiled.packing is not None else weight
    c, scratch = np.empty((m, n), np.float32), np.empty(max(compiled.scratch_bytes, 64), np.uint8)
    pointers = [ctypes.c_void_p(x.ctypes.data) for x in (a, packed, c, scratch)]
    left, right = torch.from_numpy(a), torch.from_numpy(weight).t()
    call(*pointers)
    reference = a.astype(np.float64) @ weight.T.astype(np.float64)
    error = float(np.abs(c - reference).max() / np.abs(reference).max())
    ours, theirs = _alternate(lambda: call(*pointers), lambda: torch.mm(left, right), seconds)
    flops = 2 * m * n * k
    return {
        "shape": shape, "schedule": str(choice.schedule), "error": error, "ratio": theirs / ours,
        "seerc_gflops": flops / ours / 1e9, "torch_gflops": flops / theirs / 1e9,
    }  # fmt: skip


def _alternate(ours: Any, theirs: Any, seconds: float) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    counts = [max(1, int(0.001 / _once(run))) for run in (ours, theirs)]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for run, count, found in zip((ours, theirs), counts, times, strict=True):
            begin = time.perf_counter()
            for _ in range(count):
                run()
            found.append((time.perf_counter() - begin) / count)
    return statistics.median(times[0]), statistics.median(times[1])


def _once(run: Any) -> float:
    run()
    begin = time.perf_counter()
    run()
    return max(time.perf_counter() - begin, 1e-7)


def _line(name: str, found: dict[str, Any]) -> str:
    speeds = f"{found['seerc_gflops']:7.1f} {found['torch_gflops']:7.1f} GFLOP/s"
    return f"{name:20} {speeds}  ratio {found['ratio']:.2f}  error {found['error']:.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cost-model", default="default")
    parser.add_argument("--seconds", type=float, default=2.0, help="per shape")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, Any] = {}
    for name, shape in SHAPES.items():
        rows[name] = measure(shape, options.cost_model, options.seconds)
        print(_line(name, rows[name]))
    geomean = statistics.geometric_mean(r["ratio"] for name, r in rows.items() if name != "square 768")
    print(f"geometric mean of the ratio over the {len(rows) - 1} shapes of the zoo: {geomean:.2f}")
    if options.json:
        options.json.write_text(
            json.dumps({"geomean": geomean, "torch": torch.__version__, "shapes": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()

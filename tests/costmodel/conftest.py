"""Workload texts and synthetic records whose latency follows a known law."""

# ruff: noqa: E501
from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from costmodel.record import Record, make_record
from costmodel.target import Target
from costmodel.text import join_candidate

TARGET = Target("synthetic", calibration_ns=1000.0)


def matmul_text(m: int, n: int, k: int, gelu: bool = False) -> str:
    """A region of a matrix product with a constant right-hand side, as docs/architecture.md prints it."""
    epilogue = (
        f"""
    %3 = linalg.generic {{indexing_maps = [#map3, #map4, #map3], iterator_types = ["parallel", "parallel"]}} ins(%2, %arg2 : tensor<{m}x{n}xf32>, tensor<{n}xf32>) outs(%0 : tensor<{m}x{n}xf32>) {{
    ^bb0(%in: f32, %in_1: f32, %out: f32):
      %4 = arith.addf %in, %in_1 : f32
      %5 = math.erf %4 : f32
      %6 = arith.mulf %4, %5 : f32
      linalg.yield %6 : f32
    }} -> tensor<{m}x{n}xf32>"""
        if gelu
        else ""
    )
    return f"""#map = affine_map<(d0, d1, d2) -> (d0, d2)>
#map1 = affine_map<(d0, d1, d2) -> (d2, d1)>
#map2 = affine_map<(d0, d1, d2) -> (d0, d1)>
#map3 = affine_map<(d0, d1) -> (d0, d1)>
#map4 = affine_map<(d0, d1) -> (d1)>
module {{
  func.func private @region_0(%arg0: tensor<{m}x{k}xf32> {{seerc.strides = array<i64: {k}, 1>}}, %arg1: tensor<{k}x{n}xf32> {{seerc.constant, seerc.strides = array<i64: 1, {k}>}}, %arg2: tensor<{n}xf32> {{seerc.constant}}) -> (tensor<{m}x{n}xf32> {{seerc.strides = array<i64: {n}, 1>}}) attributes {{seerc.kind = "contraction"}} {{
    %cst = arith.constant 0.000000e+00 : f32
    %0 = tensor.empty() : tensor<{m}x{n}xf32>
    %1 = linalg.fill ins(%cst : f32) outs(%0 : tensor<{m}x{n}xf32>) -> tensor<{m}x{n}xf32>
    %2 = linalg.generic {{indexing_maps = [#map, #map1, #map2], iterator_types = ["parallel", "parallel", "reduction"]}} ins(%arg0, %arg1 : tensor<{m}x{k}xf32>, tensor<{k}x{n}xf32>) outs(%1 : tensor<{m}x{n}xf32>) attrs =  {{seerc.root}} {{
    ^bb0(%in: f32, %in_0: f32, %out: f32):
      %7 = arith.mulf %in, %in_0 : f32
      %8 = arith.addf %out, %7 : f32
      linalg.yield %8 : f32
    }} -> tensor<{m}x{n}xf32>{epilogue}
    return %{3 if gelu else 2} : tensor<{m}x{n}xf32>
  }}
}}
"""


def schedule_text(rows: int, vectors: int, unroll: int = 1) -> str:
    """A schedule attribute; the fields it leaves out take their defaults."""
    return f"{{rows = {rows} : i64, unroll = {unroll} : i64, vectors = {vectors} : i64}}"


def law(m: int, n: int, k: int, rows: int, vectors: int, unroll: int) -> dict[str, float]:
    """The known cost law: multiply-adds on padded tiles, slowed down by spills, short chains and loop control."""
    need = rows * vectors + vectors + 2
    spills = 3.0 * max(0, need - 16)
    tiles = -(-m // rows) * -(-n // (8 * vectors))
    step = max(rows * vectors / 2, 4.0) + 1.7 * spills + 1.1 / unroll
    return {
        "latency_ns": 120.0 + tiles * (step * k + 25.0) / 3.0,
        "registers": float(min(16, need)),
        "spills": spills,
        "vector_utilisation": n // 8 * 8 / n,
        "code_bytes": 200.0 + 9.0 * rows * vectors * unroll,
        "instructions": tiles * k * (rows * vectors + rows + vectors + spills),
    }


def synthetic_records(networks: int = 6, seed: int = 0) -> list[Record]:
    """Records of several networks; the first workload of each is shared with the next network."""
    generator = np.random.default_rng(seed)
    records: list[Record] = []
    sizes = [tuple(int(x) for x in 2 ** generator.uniform((0, 4, 4), (9, 10, 10))) for _ in range(4 * networks)]
    for i, (m, n, k) in enumerate(sizes):
        names = {f"net{i // 4}": 2} | ({f"net{(i // 4 + 1) % networks}": 1} if i % 4 == 0 else {})
        text = matmul_text(m, n, k, gelu=bool(i % 2))
        for j, (rows, vectors, unroll) in enumerate(itertools.product((1, 2, 4, 6, 8), (1, 2, 4), (1, 4))):
            metrics: dict[str, float | None] = dict(law(m, n, k, rows, vectors, unroll))
            metrics["latency_ns"] = (metrics["latency_ns"] or 0.0) * float(np.exp(generator.normal(0, 0.02)))
            candidate = join_candidate(text, schedule_text(rows, vectors, unroll))
            records.append(make_record(candidate, TARGET, metrics, networks=names, heuristic=j == 0, seed=seed))
    return records


@pytest.fixture(scope="session")
def target() -> Target:
    """The target of the synthetic records."""
    return TARGET


@pytest.fixture(scope="session")
def matmul() -> Callable[..., str]:
    """`matmul(m, n, k, gelu=False)` gives a workload text."""
    return matmul_text


@pytest.fixture(scope="session")
def schedule() -> Callable[..., str]:
    """`schedule(rows, vectors, unroll=1)` gives a schedule attribute."""
    return schedule_text


@pytest.fixture(scope="session")
def records() -> list[Record]:
    """720 records of 24 workloads and 6 networks."""
    return synthetic_records()

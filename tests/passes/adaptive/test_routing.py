"""Static top-k: ties, infinities and NaN, and where the chosen tokens go."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from passes.adaptive.routing import route
from passes.adaptive.rows import loops
from passes.fusion.generic import shape
from passes.mlir import arith, context, func, ir

sys.path.insert(0, str(Path(__file__).parent.parent / "fusion"))
from fusion_evaluate import evaluate

ROWS, TOKENS = 200, 7


def routes_text(count: int) -> str:
    """@main(stream [B * T, 1], w [1]) -> ranks, chosen rows and slot rows as i64."""
    with context(), ir.Location.unknown():
        module, f32 = ir.Module.create(), ir.F32Type.get()
        i64 = ir.IntegerType.get_signless(64)
        with ir.InsertionPoint(module.body):

            @func.FuncOp.from_py_func(
                ir.RankedTensorType.get([ROWS * TOKENS, 1], f32), ir.RankedTensorType.get([1], f32), name="main"
            )
            def main(stream: ir.Value, router: ir.Value) -> list[ir.Value]:
                made = route(stream, router, ROWS, count, 0.0)
                found = made.ranks, made.chosen_rows, made.slot_rows
                return [loops([v], [[0]], shape(v), i64, lambda s: [arith.extsi(i64, s[0])]) for v in found]

        return str(module)


@pytest.mark.parametrize("count", [1, 3, TOKENS])
def test_top_k_is_a_stable_sort_and_slots_keep_the_order(count: int) -> None:
    rng = np.random.default_rng(count)
    values = np.array([-np.inf, -1, -0.0, 0.0, 1, np.inf, np.nan], np.float32)
    scores = rng.choice(values, (ROWS, TOKENS))
    ranks, rows, slots = evaluate(routes_text(count), [scores.reshape(-1, 1).copy(), np.ones(1, np.float32)])
    safe = np.where(np.isnan(scores), -np.inf, scores)
    order = np.argsort(-safe, axis=1, kind="stable")
    assert (np.argsort(order, axis=1) == ranks.reshape(ROWS, TOKENS)).all()
    chosen = np.sort(order[:, :count], axis=1)
    assert (rows.reshape(ROWS, count) == chosen + TOKENS * np.arange(ROWS)[:, None]).all()
    assert (slots[rows] == np.arange(ROWS * count)).all()  # the inverse

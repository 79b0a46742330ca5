"""`seerc adapt --method static`: a lossy program under a KL budget."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from seerc.cli.adapt import Outcome
from seerc.cli.output import table

if TYPE_CHECKING:
    from compiler.adapt.costs import Costs
    from compiler.adapt.plan import Plan
    from compiler.adapt.static import StaticDecision
    from compiler.adapt.study import Study


def adapt_static(args: argparse.Namespace, study: Study, costs: Costs, tell: Callable[[str], None]) -> Outcome:
    """Predict and measure every variant of every sub-block, then choose."""
    from compiler.adapt.alternatives import alternatives
    from compiler.adapt.neurons import activity_of
    from compiler.adapt.static import decide_static, measure_choices, static_plan
    from compiler.adapt.variant_times import predicted_times, times_by_bytes
    from compiler.decode.source import load_source
    from compiler.decode.step_module import StepShape

    ways = alternatives(study.stream, lambda: activity_of(study.calibration), args.variants)
    if args.costs:
        times = times_by_bytes(costs)
    else:
        shape = StepShape(args.batch, 1, args.context)
        times = predicted_times(load_source(args.model).model, study.stream, shape, ways, tell)
    choices = measure_choices(study.calibration, costs, ways, times, "skip" in args.variants, tell)
    found = decide_static(choices, study.calibration, study.held_out, costs, args.kl, tell)
    plan = static_plan(found, args.kl, args.batch, args.context)
    extra = {
        "kl_sum": found.selection.loss,
        "kl": found.measured_kl,
        "kl_held_out": found.held_out_kl,
        "bound_gap": found.selection.gap,
        "variants": {f"{block}": found.variants[block][index].name for block, index in _changed(found)},
        "front": [{"time": time, "kl_sum": loss} for time, loss in found.front],
    }
    points = [(1 - time, loss) for time, loss in found.front]
    return Outcome(plan, extra, points, "sum of single KL, nats a token", _tables(plan, found))


def _changed(found: StaticDecision) -> list[tuple[int, int]]:
    """(sub-block, index of its variant) of all that are not whole."""
    return [(block, index) for block, index in enumerate(found.selection.chosen) if index]


def _tables(plan: Plan, found: StaticDecision) -> list[Any]:
    rows = [
        (
            "head" if block == len(found.variants) - 1 else f"{'AF'[block % 2]}{block // 2 + 1}",
            row[0].time / 1e6,
            row[index].name,
            row[index].time / 1e6,
            row[index].loss,
        )
        for block, (row, index) in enumerate(zip(found.variants, found.selection.chosen, strict=True))
    ]
    return [
        table(("sub-block", "predicted ms", "variant", "its ms", "single KL"), rows),
        "",
        f"predicted speed-up {plan.predicted_speedup:.3f}",
    ]

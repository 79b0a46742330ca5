"""`seerc adapt --method mod`: which tokens each layer is left to."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from seerc.cli.adapt import Outcome
from seerc.cli.output import table

if TYPE_CHECKING:
    from compiler.adapt.depth_times import DepthTimes
    from compiler.adapt.mod import ModDecision, Routing
    from compiler.adapt.plan import Plan
    from compiler.adapt.study import Study


def adapt_mod(args: argparse.Namespace, study: Study, times: DepthTimes, tell: Callable[[str], None]) -> Outcome:
    """Measure what routed layers lose, choose which, fit their routers, decide."""
    from compiler.adapt.mod import decide_mod

    found = decide_mod(study.calibration, study.held_out, times, args.kl, tell)
    points = [(1 - time, loss) for time, loss in found.front]
    extra = _extra(found, args.batch)
    return Outcome(_plan(args, found), extra, points, "sum of single KL, nats a token", _tables(found, times))


def _plan(args: argparse.Namespace, found: ModDecision) -> Plan:
    from compiler.adapt.plan import Plan

    chosen = found.routed
    pays, within = chosen.speedup >= 1 + args.margin, chosen.kl <= args.kl
    return Plan(
        method="mod",
        decision="apply" if chosen.capacities and pays and within else "refuse",
        why=_why(args, found),
        batch=args.batch,
        context=args.context,
        skipped=(),
        draft_length=0,
        acceptance=chosen.agreement,
        acceptance_low=None,
        predicted_speedup=chosen.speedup,
        predicted_speedup_low=chosen.speedup,
        routers=found.routers,
    )


def _why(args: argparse.Namespace, found: ModDecision) -> str:
    from compiler.adapt.capacity import CAPACITIES, run_probability

    chosen = found.chosen
    runs = ", ".join(f"{run_probability(args.batch, k):.3f} at {k:g}" for k in CAPACITIES if k < 1)
    return (
        f"with {len(chosen.capacities)} layers routed a step is predicted to be {chosen.speedup:.3f} times as fast "
        f"(asked for: {1 + args.margin:g}); KL on held-out texts {found.routed.kl:.4f} nats a token (budget "
        f"{args.kl:g}), with an oracle in place of the routers {chosen.kl:.4f}, and {found.measured_kl:.4f} on "
        f"calibration texts; no selection within the limit is more than "
        f"{found.selection.gap:.2%} faster; at batch {args.batch} a routed layer runs with a probability of {runs}"
    )


def _extra(found: ModDecision, batch: int) -> dict[str, Any]:
    return {
        "kl_sum": found.selection.loss,
        "kl": found.measured_kl,
        "kl_held_out": found.routed.kl,
        "oracle": _routing(found.chosen),
        "bound_gap": found.selection.gap,
        "runs": [[layer, chance] for layer, chance in found.runs(batch).items()],
        "losses": [list(row) for row in found.losses],
        "rivals": [_routing(rival) for rival in found.rivals],
        "front": [{"time": time, "kl_sum": loss} for time, loss in found.front],
    }


def _routing(one: Routing) -> dict[str, Any]:
    return {
        "name": one.name,
        "capacities": [[layer, capacity] for layer, capacity in sorted(one.capacities.items())],
        "kl_held_out": one.kl,
        "agreement": one.agreement,
        "taken": one.share,
        "predicted_speedup": one.speedup,
    }


def _tables(found: ModDecision, times: DepthTimes) -> list[Any]:
    from compiler.adapt.capacity import CAPACITIES

    capacities = found.chosen.capacities
    rows = [
        (layer, time(times.batch, 1.0) / 1e6, f"{capacities.get(layer, 1.0):g}", *_padded(losses, len(CAPACITIES) - 1))
        for layer, (time, losses) in enumerate(zip(times.layers, found.losses, strict=True))
    ]
    names = [f"KL at {capacity:g}" for capacity in CAPACITIES if capacity < 1]
    ways = [
        (one.name, len(one.capacities), f"{one.share:.2f}", one.kl, one.agreement, one.speedup)
        for one in (found.routed, found.chosen, *found.rivals)
    ]
    return [
        table(("layer", "predicted ms", "capacity", *names), rows),
        "",
        table(("placement", "routed", "tokens taken", "KL", "agreement", "speed-up"), ways, "held-out texts"),
        "",
    ]


def _padded(losses: Sequence[float], columns: int) -> list[Any]:
    """The losses below capacity 1; nothing for a layer that stays whole."""
    return [*losses[:-1], *[""] * (columns - len(losses) + 1)]

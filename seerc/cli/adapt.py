"""decide from predicted times where a transformer may do less, or that it should not

seerc adapt zoo:smollm2 --method skip --batch 1 --context 512
seerc adapt build/model --method static --kl 0.05 --calibration prompts.txt --json
seerc adapt build/model --method skip -o plan.json --plot front.png

skip: lossless self-speculation. A draft without some attention and FFN sub-blocks proposes tokens, the full model
verifies them. static: a lossy program whose sub-blocks are left out or of low rank, within a KL budget.
Half of the prompts are held out: nothing is chosen on them, and they decide with a lower confidence bound.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seerc.cli.output import add_json_flag, progress, report, table

if TYPE_CHECKING:
    from compiler.adapt.costs import Costs
    from compiler.adapt.skip import SkipDecision
    from compiler.adapt.static import StaticDecision
    from compiler.adapt.study import Study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL, the method and its limits, the texts, where the plan and the plot go."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="zoo:smollm2, or a local Hugging Face folder of a causal language model")
    add("--method", choices=("skip", "static"), default="skip", help="default: skip")
    add("--calibration", type=Path, metavar="FILE", help="prompts, one a line; half are held out (default: built in)")
    add("--batch", type=_positive, default=1, metavar="B", help="sequences decoded together (default: 1)")
    add("--context", type=_positive, default=512, metavar="T", help="tokens before the present one (default: 512)")
    add("--tokens", type=_positive, default=48, metavar="N", help="generated tokens a prompt (default: 48)")
    add("--evaluations", type=_positive, default=60, metavar="N", help="skip: the search may spend (default: 60)")
    add("--margin", type=float, default=0.05, metavar="X", help="skip: apply above a speed-up of 1 + X (default: .05)")
    add("--kl", type=float, default=0.05, metavar="NATS", help="static: KL budget a token (default: .05)")
    add("--costs", type=Path, metavar="FILE.json", help="step times from a file in place of predictions")
    add("--seed", type=int, default=0, metavar="N", help="which prompts are held out")
    add("-o", dest="output", type=Path, metavar="PLAN.json", help="write the plan, for `seerc generate`")
    add("--plot", type=Path, metavar="FILE.png", help="draw the Pareto front")
    add_json_flag(parser)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def run(args: argparse.Namespace) -> int:
    """Study the model, decide, write and print what was decided."""
    from compiler.adapt.cost_table import read_costs
    from compiler.adapt.predict import predicted_costs
    from compiler.adapt.prompts import BUILT_IN, read_prompts
    from compiler.adapt.study import open_study
    from compiler.decode.source import load_source

    prompts = read_prompts(args.calibration or BUILT_IN)
    with progress(f"{args.model}") as tell:
        tell("loading")
        source = load_source(args.model)
        predicted = None if args.costs else predicted_costs(source.model, args.batch, args.context, tell)
        study = open_study(source, prompts, args.tokens, args.seed, tell)
        costs = predicted or read_costs(args.costs, study.stream.blocks)
        if args.method == "skip":
            _skip(args, study, costs, tell)
        else:
            _static(args, study, costs, tell)
    return 0


def _skip(args: argparse.Namespace, study: Study, costs: Costs, tell: Callable[[str], None]) -> None:
    from compiler.adapt.plan import Plan
    from compiler.adapt.skip import SkipOptions, decide_skips

    options = SkipOptions(evaluations=args.evaluations, margin=args.margin)
    found = decide_skips(study.calibration, study.held_out, costs, options, tell)
    plan = Plan(
        method="skip",
        decision="apply" if found.apply else "refuse",
        why=found.why,
        batch=args.batch,
        context=args.context,
        skipped=found.skipped,
        draft_length=found.point.draft_length,
        acceptance=found.held_out.acceptance,
        acceptance_low=found.acceptance_low,
        predicted_speedup=found.point.speedup,
        predicted_speedup_low=found.low_point.speedup,
    )
    front = [
        {
            "skipped": list(point.skipped),
            "time_saved": point.time_saved,
            "acceptance": point.acceptance,
            "draft_length": point.draft_length,
            "predicted_speedup": point.predicted_speedup,
        }
        for point in found.front
    ]
    extra = {"acceptance_calibration": found.calibration.acceptance, "evaluations": found.evaluations, "front": front}
    _finish(args, plan, [(point.time_saved, point.acceptance) for point in found.front], "acceptance")
    report(args, _data(plan, extra), *_skip_tables(costs, plan, found))


def _static(args: argparse.Namespace, study: Study, costs: Costs, tell: Callable[[str], None]) -> None:
    from compiler.adapt.plan import Plan
    from compiler.adapt.static import decide_static

    found = decide_static(study.calibration, study.held_out, costs, args.kl, tell)
    changed, within = bool(found.change.skipped or found.change.shares), found.held_out_kl <= args.kl
    why = (
        f"single losses sum to {found.selection.loss:.4f} nats a token (budget {args.kl:g}); together they lose "
        f"{found.measured_kl:.4f}, on held-out texts {found.held_out_kl:.4f}; no selection within the budget is more "
        f"than {found.selection.gap:.2%} faster"
    )
    plan = Plan(
        method="static",
        decision="apply" if changed and within else "refuse",
        why=why,
        batch=args.batch,
        context=args.context,
        skipped=tuple(sorted(found.change.skipped)),
        draft_length=0,
        acceptance=found.held_out_agreement,
        acceptance_low=None,
        predicted_speedup=found.predicted_speedup,
        predicted_speedup_low=found.predicted_speedup,
        low_rank=found.ranks,
    )
    extra = {
        "kl_sum": found.selection.loss,
        "kl": found.measured_kl,
        "kl_held_out": found.held_out_kl,
        "bound_gap": found.selection.gap,
        "front": [{"time": time, "kl_sum": loss} for time, loss in found.front],
    }
    _finish(args, plan, [(1 - time, loss) for time, loss in found.front], "sum of single KL, nats a token")
    report(args, _data(plan, extra), *_static_tables(plan, found))


def _data(plan: Any, extra: dict[str, Any]) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(plan), **extra}


def _finish(args: argparse.Namespace, plan: Any, front: list[tuple[float, float]], label: str) -> None:
    """Write the files that were asked for."""
    if args.output is not None:
        plan.write(args.output)
    if args.plot is not None:
        from compiler.adapt.figure import draw_front

        draw_front(args.plot, front, label, f"{args.model}, batch {args.batch}, context {args.context}")


def _skip_tables(costs: Costs, plan: Any, found: SkipDecision) -> list[Any]:
    times = costs(1).blocks
    rows = [
        (f"{'AF'[block % 2]}{block // 2 + 1}", time / 1e6, "skipped" if block in found.skipped else "")
        for block, time in enumerate(times)
    ]
    front = [
        (len(p.skipped), f"{p.time_saved:.1%}", p.acceptance, p.draft_length, p.predicted_speedup) for p in found.front
    ]
    return [
        table(("sub-block", "predicted ms", "draft"), rows),
        "",
        table(("skipped", "time saved", "acceptance", "draft length", "speed-up"), front, "front (calibration texts)"),
        "",
        f"acceptance {found.calibration.acceptance:.3f} on calibration, {plan.acceptance:.3f} on held-out texts "
        f"(at least {plan.acceptance_low:.3f}); {found.evaluations:.0f} evaluations",
        f"{plan.decision}: {plan.why}",
    ]


def _static_tables(plan: Any, found: StaticDecision) -> list[Any]:
    rows = [
        (f"{'AF'[block % 2]}{block // 2 + 1}", variants[0].time / 1e6, variants[index].name, variants[index].loss)
        for block, (variants, index) in enumerate(zip(found.variants, found.selection.chosen, strict=True))
    ]
    return [
        table(("sub-block", "predicted ms", "variant", "single KL"), rows),
        "",
        f"predicted speed-up {plan.predicted_speedup:.3f}",
        f"{plan.decision}: {plan.why}",
    ]

"""decide from predicted times where a transformer may do less, or that it should not

seerc adapt zoo:smollm2 --method skip --batch 1 --context 512
seerc adapt zoo:smollm2 --method skip --int8-drafts -o plan.json
seerc adapt build/model --method static --kl 0.05 --calibration prompts.txt --json
seerc adapt build/model --method skip -o plan.json --plot front.png

skip: lossless self-speculation. A draft without some attention and FFN sub-blocks proposes tokens, the full model
verifies them; with --int8-drafts its weights have 8 bits. static: a lossy program, within a KL budget, whose sub-blocks
are left out or made smaller. mod: a lossy program whose layers are left to the tokens that need them (mixture of
depths), with routers fitted on the calibration texts.
Half of the prompts are held out: nothing is chosen on them, and they decide with a lower confidence bound.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costmodel.errors import SeercError
from seerc.cli.output import add_json_flag, progress, report, table

if TYPE_CHECKING:
    from compiler.adapt.costs import Costs
    from compiler.adapt.plan import Plan
    from compiler.adapt.skip import SkipDecision
    from compiler.adapt.study import Study
    from compiler.adapt.timed_rounds import Timer


VARIANTS = ("full", "skip", "low-rank", "small-ffn", "int8", "r-sparse")


@dataclass(frozen=True)
class Outcome:
    """What a method decided, and what is written and printed of it."""

    plan: Plan
    extra: dict[str, Any]
    front: list[tuple[float, float]]  # (share of a step saved, quality)
    label: str
    tables: list[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL, the method and its limits, the texts, where the plan and the plot go."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="zoo:smollm2, or a local Hugging Face folder of a causal language model")
    add("--method", choices=("skip", "static", "mod"), default="skip", help="default: skip")
    add("--calibration", type=Path, metavar="FILE", help="prompts, one a line; half are held out (default: built in)")
    add("--batch", type=_positive, default=1, metavar="B", help="sequences decoded together (default: 1)")
    add("--context", type=_positive, default=512, metavar="T", help="tokens before the present one (default: 512)")
    add("--tokens", type=_positive, default=48, metavar="N", help="generated tokens a prompt (default: 48)")
    add("--evaluations", type=_positive, default=60, metavar="N", help="skip: the search may spend (default: 60)")
    add(
        "--margin",
        type=float,
        default=0.05,
        metavar="X",
        help="skip, mod: apply above a speed-up of 1 + X (default: .05)",
    )
    add("--int8-drafts", action="store_true", help="skip: drafts run with weights of 8 bits, the text stays the same")
    add("--kl", type=float, default=0.05, metavar="NATS", help="static, mod: KL budget a token (default: .05)")
    add(
        "--variants",
        type=_variants,
        default=VARIANTS[:5],
        metavar="LIST",
        help="static: some of "
        f"{', '.join(VARIANTS)} (default: the first five; plans with the other refuse: no kernels)",
    )
    add(
        "--measure",
        action="store_true",
        help="skip: decide from rounds that are timed here; all: compile a plan that applies, refuse it if slower",
    )
    add("--costs", type=Path, metavar="FILE.json", help="step times from a file in place of predictions")
    add("--seed", type=int, default=0, metavar="N", help="which prompts are held out")
    add("-o", dest="output", type=Path, metavar="PLAN.json", help="write the plan, for `seerc generate`")
    add("--plot", type=Path, metavar="FILE.png", help="draw the Pareto front")
    add_json_flag(parser)


def _variants(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    unknown = next((part for part in found if part not in VARIANTS), None)
    if unknown is not None:
        raise argparse.ArgumentTypeError(f"{unknown} is none of {', '.join(VARIANTS)}")
    return found


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def run(args: argparse.Namespace) -> int:
    """Study the model, decide, write and print what was decided."""
    from compiler.adapt.prompts import BUILT_IN, read_prompts
    from compiler.adapt.study import open_study
    from compiler.decode.source import load_source
    from seerc.cli.adapt_mod import adapt_mod
    from seerc.cli.adapt_static import adapt_static

    if args.int8_drafts and args.method != "skip":
        raise SeercError(f"--int8-drafts: --method {args.method} drafts nothing (static: try --variants full,int8)")
    prompts = read_prompts(args.calibration or BUILT_IN)
    with progress(f"{args.model}") as tell:
        tell("loading")
        source = load_source(args.model)
        predicted = None if args.costs else _predicted(args, source.model, tell)
        study = open_study(source, prompts, args.tokens, args.seed, tell, args.int8_drafts)
        method = {"skip": _skip, "static": adapt_static, "mod": adapt_mod}[args.method]
        outcome = method(args, study, predicted or _tabled(args, study.stream.blocks), tell)
        plan = _measured(args, outcome.plan, study, tell) if args.measure else outcome.plan
    _finish(args, plan, outcome.front, outcome.label)
    report(args, _data(plan, outcome.extra), *outcome.tables, *_verdict(plan))
    return 0


def _predicted(args: argparse.Namespace, model: Any, tell: Callable[[str], None]) -> Any:
    from compiler.adapt.depth_times import predicted_times
    from compiler.adapt.predict import predicted_costs
    from compiler.adapt.variant_times import one_width
    from compiler.decode.step_module import StepShape

    if args.method == "static":
        return one_width(model, StepShape(args.batch, 1, args.context), tell)
    if args.method == "mod":
        return predicted_times(model, args.batch, args.context, tell)
    return predicted_costs(model, args.batch, args.context, tell, args.int8_drafts)


def _tabled(args: argparse.Namespace, blocks: int) -> Any:
    from compiler.adapt.cost_table import DRAFT, read_costs
    from compiler.adapt.depth_times import tabled_times

    costs = read_costs(args.costs, blocks)
    if args.int8_drafts != (costs(1).draft is not None):
        raise SeercError(f'{args.costs}: --int8-drafts and a row "{DRAFT}" go together')
    return tabled_times(costs, blocks // 2, args.batch) if args.method == "mod" else costs


def _measured(args: argparse.Namespace, plan: Plan, study: Study, tell: Callable[[str], None]) -> Plan:
    from compiler.adapt.measure import measured, prompts_of

    return measured(plan, args.model, prompts_of(study.held_out.texts), args.tokens, tell)


def _round_timer(args: argparse.Namespace, study: Study, costs: Costs, tell: Callable[[str], None]) -> Timer:
    from compiler.adapt.timed_rounds import round_timer

    texts = study.calibration.texts
    return round_timer(args.model, texts, args.batch, args.context, args.int8_drafts, costs, tell)


def _verdict(plan: Plan) -> list[str]:
    ratio = plan.measured_speedup
    return [*([] if ratio is None else [f"measured speed-up {ratio:.3f}"]), f"{plan.decision}: {plan.why}"]


def _skip(args: argparse.Namespace, study: Study, costs: Costs, tell: Callable[[str], None]) -> Outcome:
    from compiler.adapt.plan import Plan
    from compiler.adapt.skip import SkipOptions, decide_skips

    options = SkipOptions(evaluations=args.evaluations, margin=args.margin)
    timer = _round_timer(args, study, costs, tell) if args.measure else None
    found = decide_skips(study.calibration, study.held_out, costs, options, tell, timer)
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
        stop_below=found.point.stop_below,
        int8=tuple(range(study.stream.blocks + 1)) if args.int8_drafts else (),
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
    points = [(point.time_saved, point.acceptance) for point in found.front]
    return Outcome(plan, extra, points, "acceptance", _skip_tables(costs, plan, found))


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
    from compiler.adapt.costs import drafting

    times = zip(costs(1).blocks, drafting(costs).blocks, strict=True)
    rows = [
        (
            f"{'AF'[block % 2]}{block // 2 + 1}",
            full / 1e6,
            "skipped" if block in found.skipped else f"{draft / 1e6:.3f}",
        )
        for block, (full, draft) in enumerate(times)
    ]
    front = [
        (len(p.skipped), f"{p.time_saved:.1%}", p.acceptance, p.draft_length, p.predicted_speedup) for p in found.front
    ]
    return [
        table(("sub-block", "predicted ms", "of the draft"), rows),
        "",
        table(("skipped", "time saved", "acceptance", "draft length", "speed-up"), front, "front (calibration texts)"),
        "",
        f"acceptance {found.calibration.acceptance:.3f} on calibration, {plan.acceptance:.3f} on held-out texts "
        f"(at least {plan.acceptance_low:.3f}); {found.evaluations:.0f} evaluations",
    ]

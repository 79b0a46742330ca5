"""`seerc adapt --method static` at several budgets, with and without variants that have no kernels: measured once.

    python tools/static_budgets.py zoo:smollm2 --json docs/results/adaptive/static-smollm2.json \
        --plot docs/figures/adaptive-static-smollm2.png --plans build/adaptive/static-smollm2

The plans are of variants that compile; time one with
`seerc adapt MODEL --method static --kl X --measure`, or run it with `seerc generate MODEL --plan PLAN`.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from compiler.adapt.alternatives import COMPILED, KINDS, alternatives
from compiler.adapt.figure import draw_fronts
from compiler.adapt.neurons import activity_of
from compiler.adapt.prompts import BUILT_IN, read_prompts
from compiler.adapt.static import FULL, SKIP, Choices, StaticDecision, decide_static, measure_choices, static_plan
from compiler.adapt.study import open_study
from compiler.adapt.variant_times import one_width, predicted_times
from compiler.decode.source import load_source
from compiler.decode.step_module import StepShape
from costmodel.files import write_atomically


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.02, 0.05, 0.1])
    parser.add_argument("--prompts", type=Path, default=BUILT_IN)
    parser.add_argument("--limit", type=int, default=16, help="prompts; half are held out")
    parser.add_argument("--tokens", type=int, default=32, help="generated tokens a prompt")
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--losses", type=Path, help="of an earlier --json with the same model and texts")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--plans", type=Path, help="folder for a plan of each budget")
    args = parser.parse_args()
    torch.set_num_threads(1)
    run(args)


def run(args: argparse.Namespace) -> None:
    """Measure all variants, decide at every budget, write."""
    source = load_source(args.model)
    shape = StepShape(1, 1, args.context)
    costs = one_width(source.model, shape, _say)
    study = open_study(source, read_prompts(args.prompts)[: args.limit], args.tokens, tell=_say)
    ways = alternatives(study.stream, lambda: activity_of(study.calibration), KINDS)
    times = predicted_times(load_source(args.model).model, study.stream, shape, ways, _say)
    every = measure_choices(study.calibration, costs, ways, times, tell=_say, known=losses_of(args.losses))
    write_atomically(args.json, (json.dumps({"variants": rows_of(every)}, indent=1) + "\n").encode())
    sets = {"compiled": with_kinds(every, COMPILED), "what if": every}
    sets |= {f"skip and {kind}": with_kinds(every, (kind,)) for kind in KINDS}
    found = {
        name: [decide_static(choices, study.calibration, study.held_out, costs, budget) for budget in args.budgets]
        for name, choices in sets.items()
    }
    record = {
        "model": args.model,
        "prompts": args.limit,
        "tokens": args.tokens,
        "context": args.context,
        "held_out_tokens": study.held_out.measure(()).tokens,
        "step_ms": sum(costs(1).blocks) / 1e6 + costs(1).rest / 1e6,
        "variants": rows_of(every),
        "results": {n: [row(b, d) for b, d in zip(args.budgets, ds, strict=True)] for n, ds in found.items()},
    }
    write_atomically(args.json, (json.dumps(record, indent=1) + "\n").encode())
    if args.plot:
        fronts = {name: [(1 - time, loss) for time, loss in found[name][0].front] for name in ("compiled", "what if")}
        draw_fronts(args.plot, fronts, "sum of single KL, nats a token", f"{args.model}, static, batch 1")
    if args.plans:
        for budget, decision in zip(args.budgets, found["compiled"], strict=True):
            args.plans.mkdir(parents=True, exist_ok=True)
            static_plan(decision, budget, 1, args.context).write(args.plans / f"kl-{budget:g}.json")
    for name, rows in record["results"].items():
        for one in rows:
            print(name, one)


def losses_of(path: Path | None) -> dict[tuple[int, str], float]:
    """Losses by sub-block and variant of an earlier run; times are predicted anew."""
    rows = [] if path is None else json.loads(path.read_text())["variants"]
    return {(block, one["name"]): float(one["loss"]) for block, row in enumerate(rows) for one in row}


def rows_of(choices: Choices) -> list[list[dict[str, Any]]]:
    """Every variant of every sub-block, for JSON."""
    return [[asdict(variant) for variant in row] for row in choices.variants]


def with_kinds(choices: Choices, kinds: tuple[str, ...]) -> Choices:
    """Whole, left out, and these kinds."""
    kept = [
        [i for i, (v, w) in enumerate(zip(vs, ws, strict=True)) if v.name in (FULL, SKIP) or (w and w.kind in kinds)]
        for vs, ws in zip(choices.variants, choices.ways, strict=True)
    ]
    variants = tuple(tuple(row[i] for i in at) for row, at in zip(choices.variants, kept, strict=True))
    ways = tuple(tuple(row[i] for i in at) for row, at in zip(choices.ways, kept, strict=True))
    return Choices(variants, ways, choices.rest)


def row(budget: float, found: StaticDecision) -> dict[str, Any]:
    """What is reported of one decision."""
    names = [vs[index].name for vs, index in zip(found.variants, found.selection.chosen, strict=True)]
    return {
        "budget": budget,
        "chosen": dict(Counter(name for name in names if name != FULL)),
        "kl_sum": found.selection.loss,
        "kl": found.measured_kl,
        "kl_held_out": found.held_out_kl,
        "agreement_held_out": found.held_out_agreement,
        "within": found.held_out_kl <= budget,
        "predicted_speedup": found.predicted_speedup,
        "bound_gap": found.selection.gap,
    }


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()

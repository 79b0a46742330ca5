"""The plan of a rival's skip set, for `tools/bench_generate.py`: its search, predicted costs, best draft length.

    python tools/rival_plan.py swift build/adaptive/layerskip build/adaptive/swift.json --prompts FILE --published

SWIFT's own ratio, 45 % of the sub-blocks that it may skip, unless --count says otherwise. --published: drafts of up to
25 tokens that end with one under .8, as SWIFT's do, in place of the best draft length; SWIFT's draft tree is priced
(tokens a round and widths from recorded drafts, predicted costs) and printed, not run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from compiler.adapt.comb_tree import speculate_comb
from compiler.adapt.confidence_stop import draft_chances, speculate_stopping
from compiler.adapt.plan import Plan
from compiler.adapt.predict import predicted_costs
from compiler.adapt.prompts import BUILT_IN, read_prompts
from compiler.adapt.searches import SEARCHES
from compiler.adapt.speculation import LONGEST_DRAFT, best_speculation
from compiler.adapt.study import open_study
from compiler.adapt.trials import Trials
from compiler.decode.source import load_source

RATIO = 0.45
STOP = 0.8


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("search", choices=SEARCHES)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--prompts", type=Path, default=BUILT_IN)
    parser.add_argument("--count", type=int, help="sub-blocks to skip")
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=48, help="generated tokens a prompt")
    parser.add_argument("--published", action="store_true", help="SWIFT's confidence stop")
    args = parser.parse_args()
    torch.set_num_threads(1)
    source = load_source(args.model)
    costs = predicted_costs(source.model, 1, args.context, print)
    study = open_study(source, read_prompts(args.prompts), args.tokens, tell=print)
    count = args.count or int(len(study.stream.choosable) * RATIO)
    skipped = SEARCHES[args.search](Trials(study.calibration, args.evaluations), count, costs, 0)
    held_out = study.held_out.measure(skipped)
    points = {
        "best length": best_speculation(costs, skipped, held_out.acceptance),
        "published": speculate_stopping(costs, skipped, draft_chances(held_out, LONGEST_DRAFT, STOP), STOP),
        "published, with its tree": speculate_comb(costs, skipped, held_out, STOP),
    }
    for name, point in points.items():
        print(f"{name}: {point.tokens_per_round:.2f} tokens a round, predicted speed-up {point.speedup:.3f}")
    best = points["published" if args.published else "best length"]
    plan = Plan(
        method="skip",
        decision="apply",
        why=f"{args.search}, {count} sub-blocks, {args.evaluations} evaluations",
        batch=1,
        context=args.context,
        skipped=tuple(sorted(skipped)),
        draft_length=best.draft_length,
        acceptance=held_out.acceptance,
        acceptance_low=None,
        predicted_speedup=best.speedup,
        predicted_speedup_low=best.speedup,
        stop_below=best.stop_below,
    )
    plan.write(args.out)
    print(plan)


if __name__ == "__main__":
    main()

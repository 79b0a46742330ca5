"""Compare the searches for skip sets: held-out acceptance at equal numbers of skipped sub-blocks and of evaluations.

python tools/bench_adapt.py --out docs/results/adaptive/search.jsonl

One line a (seed, number of sub-blocks, search): each seed splits the built-in prompts anew into calibration texts, on
which the searches work, and held-out texts, on which their sets are then measured. What a line of the file already
holds is not run again, so a run that was stopped goes on. `--summary` prints the means.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from compiler.adapt.confidence import wilson_low
from compiler.adapt.continuations import continue_prompts
from compiler.adapt.costs import Costs, StepCosts
from compiler.adapt.oracle import Oracle
from compiler.adapt.prompts import BUILT_IN, read_prompts
from compiler.adapt.searches import SEARCHES
from compiler.adapt.stream import ResidualStream
from compiler.adapt.study import take
from compiler.adapt.trials import Trials
from compiler.decode.source import load_source
from compiler.zoo.files import cache_folder
from costmodel.files import write_atomically

FIRST = 8  # the searches that measure little, and the main rival, run for all seeds before the rest


def flat_costs(blocks: int) -> Costs:
    """Attention .8 ms, FFN 1.2 ms, the rest 12 ms, 5 % more a token: roughly SmolLM2 on two cores. Sizes are fixed."""
    return lambda width: StepCosts(
        tuple((0.8e6, 1.2e6)[block % 2] * (1 + 0.05 * (width - 1)) for block in range(blocks)),
        12e6 * (1 + 0.05 * (width - 1)),
    )


def main() -> None:
    """Run what is missing, or print the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="zoo:smollm2", help="zoo:smollm2 or a Hugging Face folder")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl", help="results, added to")
    parser.add_argument("--prompts", type=Path, default=BUILT_IN)
    parser.add_argument("--counts", type=int, nargs="+", default=[11, 5, 16], help="skipped sub-blocks")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--calibration", type=int, default=16, metavar="N", help="texts to search on")
    parser.add_argument("--held-out", type=int, default=32, metavar="N", help="texts to judge on")
    parser.add_argument("--tokens", type=int, default=50, metavar="N", help="generated tokens a text")
    parser.add_argument("--searches", nargs="+", choices=SEARCHES, default=list(SEARCHES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    if args.summary:
        print(summary(_lines(args.out)))
        return
    torch.set_num_threads(args.threads)
    _run(args)


def _run(args: argparse.Namespace) -> None:
    loaded = load_source(args.model)
    texts = continue_prompts(loaded.model, loaded.tokenizer, read_prompts(args.prompts), 64, cache_folder() / "adapt")
    stream = ResidualStream(loaded.model)
    for names in (args.searches[:FIRST], args.searches[FIRST:]):
        for seed in range(args.seeds):
            done = {(line["seed"], line["count"], line["search"]) for line in _lines(args.out)}
            todo = [(n, name) for n in args.counts for name in names if (seed, n, name) not in done]
            if not todo:
                continue
            order = random.Random(seed).sample(range(len(texts.starts)), len(texts.starts))
            parts = order[: args.calibration], order[args.calibration :][: args.held_out]
            calibration, held_out = (Oracle(stream, take(texts, part, args.tokens)) for part in parts)
            for count, name in todo:
                line = _compared(name, count, seed, calibration, held_out, args.evaluations)
                write_atomically(args.out, "".join(json.dumps(one) + "\n" for one in [*_lines(args.out), line]))
                print(json.dumps({key: value for key, value in line.items() if key != "skipped"}), flush=True)


def _compared(
    name: str, count: int, seed: int, calibration: Oracle, held_out: Oracle, evaluations: int
) -> dict[str, Any]:
    """One search, and what its set is worth on both parts."""
    trials = Trials(calibration, evaluations)
    began = time.process_time()
    skipped = SEARCHES[name](trials, count, flat_costs(calibration.stream.blocks), seed)
    seconds = time.process_time() - began
    seen, fresh = calibration.measure(skipped), held_out.measure(skipped)
    return {
        "seed": seed,
        "count": count,
        "search": name,
        "skipped": sorted(skipped),
        "evaluations": round(trials.spent, 2),
        "cpu_s": round(seconds, 1),
        "acceptance_calibration": seen.acceptance,
        "acceptance": fresh.acceptance,
        "acceptance_low": wilson_low(fresh.hits, fresh.tokens),
        "overlap": fresh.mean_overlap,
        "kl": fresh.mean_kl,
        "held_out_prompts": len(fresh.valid),
        "held_out_tokens": fresh.tokens,
    }


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def summary(lines: Iterable[dict[str, Any]]) -> str:
    """Mean held-out acceptance over seeds (and its standard deviation) by search and count."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for line in lines:
        groups.setdefault((line["search"], line["count"]), []).append(line)
    rows = [
        "| search | skipped | held-out acceptance | calibration | evaluations | seeds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for (name, count), members in sorted(
        groups.items(), key=lambda item: (item[0][1], -mean(x["acceptance"] for x in item[1]))
    ):
        rates = [line["acceptance"] for line in members]
        spread = f" ({stdev(rates):.3f})" if len(rates) > 1 else ""
        seen, spent = (mean(line[key] for line in members) for key in ("acceptance_calibration", "evaluations"))
        rows.append(f"| {name} | {count} | {mean(rates):.3f}{spread} | {seen:.3f} | {spent:.0f} | {len(rates)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()

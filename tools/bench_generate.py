"""Plain and speculative decoding of one model, side by side: tokens per second, acceptance, equal text.

    python tools/bench_generate.py build/adaptive/layerskip --plans seer=plan.json swift=swift.json \
        --prompts held-out.txt --tokens 64 --json docs/results/adaptive/generate-layerskip.json

All contestants are one decoder with one set of weights: `plain` decodes token by token, a plan drafts and verifies, and
`transformers` is the model's own `generate` with its cache. In every round each contestant decodes every prompt once,
in shuffled order. A ratio above 1 means faster than plain; greedy text must be that of plain decoding.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compiler.adapt.plan import read_plan
from compiler.adapt.prompts import BUILT_IN, read_prompts
from compiler.decode.build import compile_decoder
from compiler.decode.check import greedy_tokens
from compiler.decode.decoder import Decoder
from compiler.decode.export import DecoderOptions
from compiler.decode.generate import Draft, Request, Statistics, generate
from compiler.decode.source import load_source
from compiler.decode.text import encode
from compiler.driver import CompileOptions
from costmodel.files import write_atomically

Run = Callable[[Sequence[int]], tuple[list[int], float, Statistics]]
"""New tokens of a prompt, the seconds of decoding without prefill, and what speculation did."""


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--plans", nargs="*", default=[], metavar="NAME=FILE")
    parser.add_argument("--prompts", type=Path, default=BUILT_IN)
    parser.add_argument("--limit", type=int, default=16, help="prompts")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--transformers", action="store_true", help="time transformers' generate, too")
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    write_atomically(args.json, (json.dumps(bench(args), indent=1) + "\n").encode())


def bench(args: argparse.Namespace) -> dict[str, Any]:
    """Times of all contestants."""
    import torch

    torch.set_num_threads(args.threads)
    plans = {name: read_plan(Path(path)) for name, _, path in (p.partition("=") for p in args.plans)}
    drafts = {name: Draft(plan.skipped, plan.draft_length) for name, plan in plans.items()}
    source = load_source(args.model)
    prompts = encode(source.tokenizer, read_prompts(args.prompts)[: args.limit])
    widths = tuple({1, *(draft.length + 1 for draft in drafts.values())})
    options = DecoderOptions(1, args.context, widths, skippable=True)
    decoder = compile_decoder(source, options, CompileOptions(), print).decoder(args.threads)
    request = Request(args.tokens)
    runs = {"plain": ours(decoder, request, None)} | {n: ours(decoder, request, d) for n, d in drafts.items()}
    if args.transformers:
        runs["transformers"] = theirs(source.model, request)
    times, found, texts = alternate(runs, prompts, args.rounds)
    count = {name: sum(map(len, texts[name])) for name in runs}
    report = {
        name: {
            "tokens_per_s": float(count[name] / np.median(times[name])),
            "ratio": float(np.median(times["plain"] / times[name]) * count[name] / count["plain"]),
            "ratio_low_high": (np.quantile(times["plain"] / times[name], [0.05, 0.95])).tolist(),
            "acceptance": found[name].acceptance if found[name].rounds else None,
            "tokens_per_round": 1 + found[name].accepted / found[name].rounds if found[name].rounds else None,
            "predicted_ratio": plans[name].predicted_speedup if name in plans else None,
            "draft": {"skip": list(drafts[name].skip), "length": drafts[name].length} if name in drafts else None,
            "same_text": texts[name] == texts["plain"],
        }
        for name in runs
    }
    print(json.dumps(report, indent=1))
    settings = {k: getattr(args, k) for k in ("model", "tokens", "context", "rounds", "threads")}
    return {**settings, "prompts": len(prompts), "contestants": report}


def alternate(
    runs: dict[str, Run], prompts: Sequence[Sequence[int]], rounds: int
) -> tuple[dict[str, Any], dict[str, Statistics], dict[str, list[list[int]]]]:
    """Seconds by contestant and round over all prompts; statistics and texts of the last round."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    found: dict[str, Statistics] = {}
    texts: dict[str, list[list[int]]] = {}
    order = list(runs)
    for _ in range(rounds):
        random.Random(len(times[order[0]])).shuffle(order)
        sums, found = dict.fromkeys(runs, 0.0), {name: Statistics() for name in runs}
        texts = {name: [] for name in runs}
        for prompt in prompts:
            for name in order:
                tokens, seconds, statistics = runs[name](prompt)
                sums[name] += seconds
                texts[name].append(tokens)
                for field in ("rounds", "drafted", "accepted"):
                    setattr(found[name], field, getattr(found[name], field) + getattr(statistics, field))
        for name, seconds in sums.items():
            times[name].append(seconds)
    return {name: np.array(t) for name, t in times.items()}, found, texts


def ours(decoder: Decoder, request: Request, draft: Draft | None) -> Run:
    """Decoding with a compiled decoder."""

    def run(prompt: Sequence[int]) -> tuple[list[int], float, Statistics]:
        statistics, tokens = Statistics(), list[int]()
        begin = time.perf_counter()
        for part in generate(decoder, [prompt], request, draft, statistics):
            tokens += part[0]
        return tokens, time.perf_counter() - begin - statistics.prefill_s, statistics

    return run


def theirs(model: Any, request: Request) -> Run:
    """transformers' generate, prefill included."""

    def run(prompt: Sequence[int]) -> tuple[list[int], float, Statistics]:
        begin = time.perf_counter()
        tokens = greedy_tokens(model, prompt, request)
        return tokens, time.perf_counter() - begin, Statistics()

    return run


if __name__ == "__main__":
    main()

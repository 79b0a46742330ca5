"""Plain and speculative decoding of one model, side by side: tokens per second, acceptance, equal text.

    python tools/bench_generate.py build/adaptive/layerskip --plans seer=plan.json swift=swift.json \
        --prompts held-out.txt --tokens 64 --json docs/results/adaptive/generate-layerskip.json

`plain` decodes token by token, a plan drafts and verifies with the same step programs (plans whose drafts have weights
of 8 bits share a second decoder), a plan of `--method mod` has a program of its own, and `transformers` is the model's
own `generate` with its cache. In every round each contestant decodes every prompt once, in shuffled order. A ratio
above 1 means faster than plain; greedy text must be that of plain decoding, but for mod plans.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from compiler.adapt.plan import read_plan
from compiler.adapt.prompts import BUILT_IN, read_prompts
from compiler.decode.alternate import Prompts, Run, Timed, alternate, decoding
from compiler.decode.build import compile_decoder, planned_options
from compiler.decode.check import greedy_tokens
from compiler.decode.decoder import Decoder
from compiler.decode.export import DecoderOptions
from compiler.decode.generate import Request, Statistics, planned_draft
from compiler.decode.source import load_source
from compiler.decode.text import encode
from compiler.driver import CompileOptions
from costmodel.errors import SeercError
from costmodel.files import write_atomically


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
    applied = {name: {**asdict(plan), "decision": "apply"} for name, plan in plans.items()}
    drafts = {name: planned_draft(plan) for name, plan in applied.items() if plan["method"] != "mod"}
    if not all(drafts.values()):
        raise SeercError("a static plan is another program: `seerc adapt --method static --measure` times it")
    source = load_source(args.model)
    prompts = encode(source.tokenizer, read_prompts(args.prompts)[: args.limit])
    decoders: dict[bool, Decoder] = {}
    for int8 in sorted({draft.int8 for draft in drafts.values() if draft}) or [False]:
        widths = tuple(
            {1, *(width for draft in drafts.values() if draft and draft.int8 == int8 for width in draft.widths)}
        )
        options = DecoderOptions(1, args.context, widths, skippable=True, draft_int8=int8)
        decoders[int8] = compile_decoder(source, options, CompileOptions(), print).decoder(args.threads)
    request = Request(args.tokens)
    runs = {"plain": decoding(decoders[min(decoders)], request)}
    runs |= {name: decoding(decoders[draft.int8], request, draft) for name, draft in drafts.items() if draft}
    for name, plan in applied.items():
        if plan["method"] == "mod":
            options = planned_options(plan, 1, args.context)
            decoder = compile_decoder(source, options, CompileOptions(), print, plan).decoder(args.threads)
            runs[name] = decoding(decoder, request)
    if args.transformers:
        runs["transformers"] = theirs(source.model, request)
    found = alternate(runs, [[prompt] for prompt in prompts], args.rounds)
    report = {
        name: {
            **row(timed, found["plain"]),
            "predicted_ratio": plans[name].predicted_speedup if name in plans else None,
            "draft": asdict(draft) if (draft := drafts.get(name)) else None,
        }
        for name, timed in found.items()
    }
    print(json.dumps(report, indent=1))
    settings = {k: getattr(args, k) for k in ("model", "tokens", "context", "rounds", "threads")}
    return {**settings, "prompts": len(prompts), "contestants": report}


def row(timed: Timed, plain: Timed) -> dict[str, Any]:
    """What is reported of one contestant."""
    ratios, did = timed.ratios(plain), timed.statistics
    return {
        "tokens_per_s": float(timed.tokens / np.median(timed.seconds)),
        "ratio": float(np.median(ratios)),
        "ratio_low_high": np.quantile(ratios, [0.05, 0.95]).tolist(),
        "acceptance": did.acceptance if did.rounds else None,
        "tokens_per_round": 1 + did.accepted / did.rounds if did.rounds else None,
        "same_text": timed.texts == plain.texts,
    }


def theirs(model: Any, request: Request) -> Run:
    """transformers' generate, prefill included."""

    def run(prompts: Prompts) -> tuple[list[list[int]], float, Statistics]:
        begin = time.perf_counter()
        tokens = [greedy_tokens(model, prompt, request) for prompt in prompts]
        return tokens, time.perf_counter() - begin, Statistics()

    return run


if __name__ == "__main__":
    main()

"""The program of a static plan beside the plain one: time of a step of one token, tokens per second, equal text.

    python tools/bench_static.py zoo:smollm2 --plan plan.json --json docs/results/adaptive/int8-smollm2.json

Both run in one process, step by step and prompt by prompt in turn, on one thread. The text of the plan's program is
compared with that of transformers under the same weights.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compiler.adapt.lossy_model import apply_to_model, silenced
from compiler.adapt.plan import read_plan
from compiler.adapt.predict import Predictor, placed_uses
from compiler.adapt.prompts import BUILT_IN, read_prompts
from compiler.decode.alternate import alternate, decoding
from compiler.decode.build import compile_decoder, planned_options
from compiler.decode.check import differences
from compiler.decode.decoder import Decoder
from compiler.decode.export import DecoderOptions, import_step, without
from compiler.decode.generate import Request
from compiler.decode.int8 import int8_matrices, with_int8_weights
from compiler.decode.source import load_source
from compiler.decode.text import encode
from compiler.driver import CompileOptions, decide
from costmodel.files import write_atomically


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, default=BUILT_IN)
    parser.add_argument("--limit", type=int, default=4, help="prompts")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--steps", type=int, default=200, help="steps of each program that are timed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    write_atomically(args.json, (json.dumps(bench(args), indent=1) + "\n").encode())


def bench(args: argparse.Namespace) -> dict[str, Any]:
    """Times of both, measured and predicted, and where texts differ."""
    plan, source = read_plan(args.plan), load_source(args.model)
    prompts = encode(source.tokenizer, read_prompts(args.prompts)[: args.limit])
    predicted, decoders = dict[str, float](), dict[str, Decoder]()
    for name, options in (("plain", None), ("plan", asdict(plan))):
        if options:
            apply_to_model(source.model, plan)
        made = planned_options(options, plan.batch, plan.context)
        decoders[name] = compile_decoder(source, made, CompileOptions(), print).decoder(1)
        predicted[name] = predicted_ms(source.model, made)
    request = Request(args.tokens)
    steps = step_times(decoders, prompts[0], args.steps)
    runs = {name: decoding(decoder, request) for name, decoder in decoders.items()}
    found = alternate(runs, [[prompt] for prompt in prompts], args.rounds)
    with silenced(source.model, plan.skipped):
        differing = differences(source.model, prompts, found["plan"].texts, request)
    report: dict[str, Any] = {
        **{k: getattr(args, k) for k in ("model", "limit", "tokens", "steps", "rounds")},
        "predicted_step_ms": predicted,
        "predicted_speedup": predicted["plain"] / predicted["plan"],
        "step_ms": {n: {"best": min(t) * 1e3, "median": float(np.median(t)) * 1e3} for n, t in steps.items()},
        "tokens_per_s": {n: float(t.tokens / np.median(t.seconds)) for n, t in found.items()},
        "speedup": float(np.median(found["plan"].ratios(found["plain"]))),
        "speedup_low_high": np.quantile(found["plan"].ratios(found["plain"]), [0.05, 0.95]).tolist(),
        "differences": [{**asdict(one), "tie": one.tie} for one in differing],
    }
    print(json.dumps(report, indent=1))
    return report


def predicted_ms(model: Any, options: DecoderOptions) -> float:
    """Of a step of one token, from the text of its kernels."""
    step, predictor = import_step(model, options.shapes()[0], "step-1"), Predictor.here()
    step = with_int8_weights(step, int8_matrices(model, options.int8))
    step = without(step, options.removed) if options.removed else step
    made, planned = decide(step, predictor.options)
    latencies = {key: choice.predicted["latency_ns"].value for key, choice in made.choices.items()}
    return predictor.placed_costs(placed_uses(planned, latencies)).rest / 1e6


def step_times(decoders: dict[str, Decoder], prompt: list[int], count: int) -> dict[str, list[float]]:
    """Seconds of steps of one token after the prompt, in turn."""
    found: dict[str, list[float]] = {name: [] for name in decoders}
    for decoder in decoders.values():
        decoder.prefill([prompt] * decoder.batch)
    for _ in range(count):
        for name, decoder in decoders.items():
            token = np.full((decoder.batch, 1), prompt[-1])
            begin = time.perf_counter()
            decoder.step(token)
            found[name].append(time.perf_counter() - begin)
    return found


if __name__ == "__main__":
    main()

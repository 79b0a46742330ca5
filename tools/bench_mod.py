"""What mixture of depths saves in compiled programs: measured, and as the cost model predicts it.

python tools/bench_mod.py [--tokens 128,256,512] [--widths 128,256,512] [--capacity 0.5] [--seconds 1]

For each size: one dense block (x + f(x)) and the same block behind a router, as programs for one sequence, single
thread, timed in alternation. JSON lines go to docs/results/adaptive/mod_latency.jsonl; sizes that are there are left
alone, unless their timing was noisy.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import seerc
from compiler.mod.depths import MixtureOfDepths
from compiler.mod.transformer import Block, BlockShape
from compiler.timing import Contestant, alternate
from costmodel.files import write_atomically

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "adaptive" / "mod_latency.jsonl"
LAYERS = 2


class Stack(nn.Module):
    """Layers on one sequence, positions built in."""

    def __init__(self, layers: list[nn.Module], tokens: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.register_buffer("positions", torch.arange(tokens))

    def forward(self, x: Tensor) -> Tensor:
        """[1, T, d] -> [1, T, d]."""
        for layer in self.layers:
            y = layer(x, self.positions)
            x = y if isinstance(layer, MixtureOfDepths) else x + y
        return x


def main() -> None:
    """Compiles, checks, times, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", default="128,256,512")
    parser.add_argument("--widths", default="128,256,512")
    parser.add_argument("--capacity", type=float, default=0.5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    args.results.parent.mkdir(parents=True, exist_ok=True)
    for tokens in map(int, args.tokens.split(",")):
        for width in map(int, args.widths.split(",")):
            key = {"tokens": tokens, "width": width, "capacity": args.capacity}
            lines = (
                [json.loads(line) for line in args.results.read_text().splitlines()] if args.results.is_file() else []
            )
            if not any(all(line[k] == v for k, v in key.items()) for line in lines):
                lines.append(key | measure(tokens, width, args.capacity, args.seconds))
                write_atomically(args.results, "".join(json.dumps(line) + "\n" for line in lines))
                print(json.dumps(lines[-1]), flush=True)


def measure(tokens: int, width: int, capacity: float, seconds: float) -> dict[str, Any]:
    """Milliseconds of both programs, measured and predicted, and the share of the predicted saving that is real."""
    torch.manual_seed(0)
    shape = BlockShape(width, width // 64)
    dense = Stack([Block(shape) for _ in range(LAYERS)], tokens).eval()
    sparse = Stack([MixtureOfDepths(Block(shape), capacity) for _ in range(LAYERS)], tokens).eval()
    x = torch.randn(1, tokens, width)
    programs = {"dense": seerc.compile(dense, (x,)), "mod": seerc.compile(sparse, (x,))}
    with torch.no_grad():
        errors = [float(np.abs(programs[n](x)[0] - m(x).numpy()).max()) for n, m in (("dense", dense), ("mod", sparse))]
    timings = alternate([Contestant(n, lambda p=p: p(x, threads=1)) for n, p in programs.items()], seconds)
    measured = {name: timing.ms for name, timing in timings.items()}
    predicted = {name: predicted_ms(program) for name, program in programs.items()}
    saved = {k: v["dense"] - v["mod"] for k, v in (("measured", measured), ("predicted", predicted))}
    return {
        "layers": LAYERS,
        "measured_ms": {k: round(v, 4) for k, v in measured.items()},
        "predicted_ms": {k: round(v, 4) for k, v in predicted.items()},
        "saving_measured": round(saved["measured"] / measured["dense"], 4),
        "saving_predicted": round(saved["predicted"] / predicted["dense"], 4),
        "measured_over_predicted_saving_ms": round(saved["measured"] / saved["predicted"], 4),
        "noisy": any(t.noisy for t in timings.values()),
        "max_error": max(errors),
    }


def predicted_ms(program: Any) -> float:
    """The sum over the plan's kernels of latency times calls."""
    return sum(k["predicted"]["latency_ns"][0] * k["calls"] for k in program.plan["kernels"]) / 1e6


if __name__ == "__main__":
    main()

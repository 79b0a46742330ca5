"""Mixture of depths on multi-query associative recall, beside what it has to beat.

python tools/train_mqar.py [-o build/adaptive/mqar] [--seeds 3] [--steps N] [--arms dense,mod,...]

Arms, on the same task and seeds; those with routers start from the dense one (compiler/mod/recall.py):
- dense: the shallowest decoder that solves the task (two layers: one finds each value's key, one looks up);
- mod: both layers at the plan's capacity, learned routing;
- random: the same with random routing;
- shallow: one dense layer, half of dense's block FLOPs;
- other: every other layer at capacity 12.5 %, as the MoD paper places them;
- arank: as many MoD layers of the same capacity as `other`, placed by the ARank of the dense arm (gamma-MoD);
- quarter: both layers at capacity 25 %.

Appends one JSON line a training to docs/results/adaptive/mqar.jsonl; those that are there already are not run again.
Weights go to build/adaptive/mqar/ARM-SEED.safetensors.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from compiler.mod.arank import arank, lowest_rank_layers
from compiler.mod.depth_decoder import DecoderShape, DepthDecoder
from compiler.mod.mqar import RecallTask
from compiler.mod.recall import RecallOptions, route_recall, score_recall, train_recall
from compiler.mod.transformer import BlockShape
from costmodel.errors import SeercError
from costmodel.files import write_atomically

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "adaptive" / "mqar.jsonl"
TASK = RecallTask(vocabulary=80, tokens=64, pairs=4, noise=False)  # (64, 4) of Zoology's grid, which has no noise
BLOCK = BlockShape(width=64, heads=1, theta=100.0)
CAPACITIES = {
    "dense": (1.0, 1.0),
    "mod": (0.5, 0.5),
    "random": (0.5, 0.5),
    "shallow": (1.0,),
    "other": (1.0, 0.125),
    "quarter": (0.25, 0.25),
}
UNROUTED = ("dense", "shallow")
ARMS = ("dense", "mod", "random", "shallow", "other", "arank", "quarter")


def main() -> None:
    """Trains every arm and seed that has no line yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=Path("build/adaptive/mqar"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=RecallOptions.steps)
    parser.add_argument("--arms", default=",".join(ARMS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    args.results.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(args.seeds):
        options = RecallOptions(TASK, steps=args.steps, seed=seed)
        for arm in args.arms.split(","):
            key = {"arm": arm, "seed": seed, "options": asdict(options), "block": asdict(BLOCK)}
            if key not in [{k: row[k] for k in key} for row in rows(args.results)]:
                row = {**key, **run(arm, options, args.out)}
                lines = [*rows(args.results), row]
                write_atomically(args.results, "".join(json.dumps(line) + "\n" for line in lines))
                print(
                    f"{arm} {seed}: accuracy {row['accuracy']:.4f}, decoding {row['causal_accuracy']:.4f}", flush=True
                )
    summarise(rows(args.results))


def rows(path: Path) -> list[dict[str, Any]]:
    """The lines so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def run(arm: str, options: RecallOptions, out: Path) -> dict[str, Any]:
    """One training: its weights on disk, its numbers returned; `train_cpu_s` is without that of the dense model."""
    dense = None if arm in UNROUTED else trained_dense(options, out)
    ranks = dense_ranks(dense, options) if dense is not None and arm == "arank" else None
    capacities = placed(ranks) if ranks else CAPACITIES[arm]
    shape = DecoderShape(options.task.vocabulary, options.task.tokens, capacities, BLOCK, arm == "random")
    begin = time.process_time()
    if dense is None:
        model, steps = train_recall(shape, options)
    else:
        model, steps = route_recall(shape, dense, options), options.settling
    seconds = time.process_time() - begin
    write_atomically(out / f"{arm}-{options.seed}.safetensors", save(dict(model.state_dict())))
    found = {
        "capacities": capacities,
        "block_flops": shape.block_flops(),
        "steps": steps,
        "train_cpu_s": round(seconds, 1),
    }
    return found | ({"aranks": ranks} if ranks else {}) | asdict(score_recall(model, options))


def trained_dense(options: RecallOptions, out: Path) -> DepthDecoder:
    """The dense arm of this seed."""
    path = out / f"dense-{options.seed}.safetensors"
    if not path.is_file():
        raise SeercError(f"{path}: missing: arms with routers start from the arm `dense`; run that first")
    model = DepthDecoder(DecoderShape(options.task.vocabulary, options.task.tokens, CAPACITIES["dense"], BLOCK)).eval()
    model.load_state_dict(load_file(path))
    return model


def dense_ranks(dense: DepthDecoder, options: RecallOptions) -> list[float]:
    """The ARank of each layer, on 50 sequences as in the paper."""
    ids, _ = options.task.batch(50, torch.Generator().manual_seed(options.seed))
    with torch.no_grad():
        return [arank(weights) for weights in dense.attention(ids)]


def placed(ranks: Sequence[float]) -> tuple[float, ...]:
    """Capacities with as many MoD layers as `other`, those of the lowest ranks."""
    sparse = [c for c in CAPACITIES["other"] if c < 1]
    chosen = lowest_rank_layers(ranks, len(sparse))
    return tuple(sparse[0] if layer in chosen else 1.0 for layer in range(len(ranks)))


def summarise(lines: Sequence[dict[str, Any]]) -> None:
    """A line an arm: block FLOPs against dense, accuracy by seed."""
    dense = next((row["block_flops"] for row in lines if row["arm"] == "dense"), None)
    for arm in dict.fromkeys(row["arm"] for row in lines):
        found = [row for row in lines if row["arm"] == arm]
        share = f"{found[0]['block_flops'] / dense:.3f} of dense" if dense else str(found[0]["block_flops"])
        accuracy, causal = ([row[k] for row in found] for k in ("accuracy", "causal_accuracy"))
        print(f"{arm:8s} block FLOPs {share}, accuracy {sum(accuracy) / len(found):.4f} {shown(accuracy)}", end="")
        print(f", decoding {sum(causal) / len(found):.4f} {shown(causal)}")


def shown(values: Sequence[float]) -> str:
    """In brackets."""
    return "[" + " ".join(f"{v:.3f}" for v in values) + "]"


if __name__ == "__main__":
    main()

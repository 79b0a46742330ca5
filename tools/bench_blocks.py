"""Predicted and measured times of decoding steps, sub-block by sub-block, over batch, width and context.

    python tools/bench_blocks.py predict MODEL build/blocks/NAME --batches 1 4 8 --widths 1 2 4 8 16 --contexts 64 512
    python tools/bench_blocks.py repredict build/blocks/NAME               # after a new fit of tools/in_place.py
    python tools/bench_blocks.py measure build/blocks/NAME                 # on a quiet machine; resumes
    python tools/bench_blocks.py report build/blocks/NAME --json docs/results/adaptive/blocks-NAME.json

MODEL is zoo:smollm2 or a Hugging Face folder. Predictions are written before anything is measured. A block's measured
time is the sum of its kernels' in their places in a run; a step's is the time of the whole program.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, astuple
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from compiler.adapt.predict import HOST_NS, PlacedUse, Predictor, placed_uses, step_costs
from compiler.decode.export import import_step, skippable
from compiler.decode.source import load_source
from compiler.decode.step_module import StepShape
from compiler.driver import CompileOptions, build_program, lower_model
from compiler.frontend.specs import examples
from compiler.native.huge_pages import on_huge_pages
from compiler.native.program import Program
from compiler.profile import time_calls
from costmodel.files import write_atomically
from costmodel.in_place import KernelUse

ROUNDS = 3
SECONDS = 1.0


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    predict = actions.add_parser("predict")
    predict.add_argument("model")
    repredict, measure, report = (actions.add_parser(name) for name in ("repredict", "measure", "report"))
    for action in (predict, repredict, measure, report):
        action.add_argument("folder", type=Path)
    for name, default in (("batches", [1]), ("widths", [1, 2, 4, 8]), ("contexts", [512])):
        predict.add_argument(f"--{name}", type=int, nargs="+", default=default)
    for action in (measure, report):
        action.add_argument("--threads", type=int, default=1)
    report.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    if args.action == "predict":
        shapes = [StepShape(b, q, t) for b, q, t in product(args.batches, args.widths, args.contexts)]
        predict_all(args.model, args.folder, shapes)
    elif args.action == "repredict":
        repredict_all(sorted(args.folder.glob("*/predicted.json")))
    elif args.action == "measure":
        measure_all([path.parent for path in sorted(args.folder.glob("*/predicted.json"))], args.threads)
    else:
        write_report(args.folder, args.threads, args.json)


def predict_all(spec: str, folder: Path, shapes: Sequence[StepShape]) -> None:
    """A program for each shape, with its predicted costs."""
    model, predictor = load_source(spec).model, Predictor.here(print)
    for shape in shapes:
        target = folder / f"{shape.batch}-{shape.width}-{shape.context}"
        if (target / "predicted.json").exists():
            continue
        step = skippable(import_step(model, shape, spec))
        stages = lower_model(step, CompileOptions())
        build_program(step, stages).save(target)
        latencies = {key: choice.predicted["latency_ns"].value for key, choice in stages.choices.items()}
        placed = placed_uses(stages.planned, latencies)
        record = {
            "model": spec,
            "shape": asdict(shape),
            "costs": predictor.placed_costs(placed).numbers(),
            "placed": [one.block for one in placed],
            "uses": [astuple(one.use) for one in placed],
        }
        write_atomically(target / "predicted.json", json.dumps(record).encode())
        print(target, flush=True)


def repredict_all(paths: Sequence[Path]) -> None:
    """Costs with today's fit and bandwidth, from what was predicted of each kernel alone."""
    predictor = Predictor.here(print)
    for path in paths:
        record = json.loads(path.read_text())
        uses = zip(record["uses"], record["placed"], strict=True)
        placed = [PlacedUse(KernelUse(*use), block) for use, block in uses]
        record["costs"] = predictor.placed_costs(placed).numbers()
        write_atomically(path, json.dumps(record).encode())


def measure_all(folders: Sequence[Path], threads: int) -> None:
    """Nanoseconds of each block and of the whole step of every program, the cache half full; medians of ROUNDS rounds
    over all of them, as the machine drifts."""
    name = f"measured-{threads}.json"
    missing = [folder for folder in folders if not (folder / name).exists()]
    found = [[measure_once(folder, threads) for folder in missing] for _ in range(ROUNDS)]
    for folder, rounds in zip(missing, zip(*found, strict=True), strict=True):
        record = json.loads((folder / "predicted.json").read_text())
        costs = step_costs(record["placed"], np.median([calls for _, calls in rounds], axis=0).tolist())
        step = float(np.median([step for step, _ in rounds]))
        measured = {
            "step": step,
            "steps": [step for step, _ in rounds],
            "blocks": costs.blocks,
            "rest": costs.rest - HOST_NS,
        }
        write_atomically(folder / name, json.dumps(measured).encode())
        print(folder, f"{step / 1e6:.2f} ms", flush=True)


def measure_once(folder: Path, threads: int) -> tuple[float, Any]:
    """(median of whole steps, nanoseconds of every call), with the weights on huge pages, as decoders have them."""
    program = Program.load(folder)
    on_huge_pages([program])
    inputs, outputs = examples(program.inputs), examples(program.outputs)
    inputs[1][:], inputs[-1][:] = inputs[2].shape[3] // 2, True
    run, whole = program.bind(inputs, outputs), list[float]()
    start = time.perf_counter()
    while len(whole) < 15 or time.perf_counter() - start < SECONDS:
        begin = time.perf_counter_ns()
        run(threads)
        whole.append(time.perf_counter_ns() - begin)
    return float(np.median(whole[3:])), time_calls(program, inputs, threads, SECONDS)[1]


def write_report(folder: Path, threads: int, path: Path) -> None:
    """Errors of blocks, of v(q) and of whole steps, over all shapes that were measured."""
    rows = [_row(p) for p in sorted(folder.glob(f"*/measured-{threads}.json"))]
    one = {(r["batch"], r["context"]): r for r in rows if r["width"] == 1}
    for row in rows:
        base = one.get((row["batch"], row["context"]))
        if base is not None:
            row["v"] = row["step_ns"] / base["step_ns"]
            row["v_predicted"] = row["predicted_ns"] / base["predicted_ns"]
    errors = np.abs([e for row in rows for e in row.pop("block_errors")])
    steps = np.abs([row["predicted_ns"] / row["step_ns"] - 1 for row in rows])
    verify = np.abs([row["v_predicted"] / row["v"] - 1 for row in rows if row.get("v") and row["width"] > 1])
    summary = {
        "model": rows[0].pop("model"),
        "threads": threads,
        "blocks": len(errors),
        "block_error_median": float(np.median(errors)),
        "block_error_90": float(np.quantile(errors, 0.9)),
        "step_error_median": float(np.median(steps)),
        "v_error_median": float(np.median(verify)) if len(verify) else None,
        "shapes": [{k: v for k, v in row.items() if k != "model"} for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(summary, indent=1) + "\n").encode())
    print(json.dumps({k: v for k, v in summary.items() if k != "shapes"}))


def _row(path: Path) -> dict[str, Any]:
    record, measured = json.loads((path.parent / "predicted.json").read_text()), json.loads(path.read_text())
    predicted = record["costs"]
    errors = (np.array(predicted["blocks"]) / np.array(measured["blocks"]) - 1).tolist()
    return {
        "model": record["model"],
        **{k: record["shape"][k] for k in ("batch", "width", "context")},
        "step_ns": measured["step"],
        "predicted_ns": sum(predicted["blocks"]) + predicted["rest"] - HOST_NS,
        "block_error": float(np.median(np.abs(errors))),
        "attention_error": float(np.median(errors[0::2])),
        "ffn_error": float(np.median(errors[1::2])),
        "block_errors": errors,
    }


if __name__ == "__main__":
    main()

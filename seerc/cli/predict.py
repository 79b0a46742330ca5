"""predict what an MLIR text will cost, with intervals

seerc predict regions.mlir --metric latency_ns --metric spills

Predicts every function with an operation marked seerc.root, as `seerc-fuse` writes them; a model of your own data
(docs/own-data.md) predicts every function. The intervals should hold the
measured value in 90 % of cases.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seerc.cli.output import add_json_flag, read_text, report, table

if TYPE_CHECKING:
    from costmodel.protocol import Value
    from seerc.api import FunctionPrediction


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, which metrics, which schedules."""
    add = parser.add_argument
    add("file", type=Path, metavar="FILE.mlir", help="the text")
    add("--metric", action="append", metavar="M", help="only this metric; can be repeated (default: all)")
    add("--schedules", type=Path, metavar="FILE", help="try these schedules on each function: one {...} a line")
    add("--cost-model", default="default", metavar="NAME", help="default, analytic, a plugin, or a folder")
    add_json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Predicts, and prints a table for each function and schedule."""
    from compiler.target import detect_target
    from costmodel.errors import unknown_name
    from costmodel.protocol import load_cost_model, metrics_of
    from seerc.api import predict

    target = detect_target()
    model = load_cost_model(args.cost_model, target)
    known = metrics_of(model)
    for metric in args.metric or ():
        if metric not in known:
            raise unknown_name("metric", metric, known)
    lines = read_text(args.schedules).splitlines() if args.schedules else []
    schedules = [line.strip() for line in lines if line.strip()]
    text = read_text(args.file)
    found = predict(text, cost_model=model or args.cost_model, target=target, metrics=args.metric, schedules=schedules)
    functions = [
        {
            "name": f.name,
            "workload": f.workload,
            "schedule": f.schedule,
            "metrics": {metric: value._asdict() for metric, value in f.metrics.items()},
        }
        for f in found
    ]
    data = {"functions": functions, "cost_model": args.cost_model, "target": target.name}
    report(args, data, *_tables(found, known))
    return 0


def _tables(found: Sequence[FunctionPrediction], known: Mapping[str, str]) -> Iterator[Any]:
    """A table for each function and schedule; where all have one metric, one table of them, to compare them in."""
    if all(len(f.metrics) == 1 for f in found):
        rows = [(f.name, f.schedule, m, v.value, _interval(v), known[m]) for f in found for m, v in f.metrics.items()]
        yield table(("function", "schedule", "metric", "value", "90 % interval", "what it is"), rows)
        return
    for number, f in enumerate(found):
        rows = [(metric, v.value, _interval(v), known[metric]) for metric, v in f.metrics.items()]
        yield ("\n" if number else "") + f"{f.name} {f.schedule or ''}".rstrip()
        yield table(("metric", "value", "90 % interval", "what it is"), rows)


def _interval(value: Value) -> str:
    return f"{value.low:.4g} to {value.high:.4g}"

"""cost datasets and models: collect, train, eval, merge

seerc cost collect zoo:bert zoo:resnet18 -o run1
seerc cost merge run1 run2 -o data.parquet
seerc cost train data.parquet -o my-model
seerc cost eval my-model --data data.parquet --split unseen-networks
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from costmodel.errors import SeercError
from seerc.cli.output import add_json_flag, report, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand for each job."""
    jobs = parser.add_subparsers(dest="job", metavar="JOB", required=True)
    collect = jobs.add_parser("collect", help="measure the workloads of models under many schedules; resumes")
    collect.add_argument("models", nargs="*", metavar="MODEL", help="whose workloads (default: the whole zoo)")
    collect.add_argument("-o", dest="output", type=Path, metavar="FOLDER", required=True, help="the dataset folder")
    collect.add_argument("--per-workload", type=int, default=48, metavar="N", help="schedules of each (default: 48)")
    collect.add_argument("--jobs", type=int, default=0, metavar="N", help="processes; default: one a CPU")
    collect.add_argument("--seed", type=int, default=0, metavar="N", help="of the sample (default: 0)")
    collect.set_defaults(job_run=_collect)
    train = jobs.add_parser("train", help="train a cost model on records")
    train.add_argument("data", type=Path, metavar="DATA", help="a dataset folder or Parquet file")
    train.add_argument("-o", dest="output", type=Path, metavar="FOLDER", required=True, help="where the model goes")
    train.add_argument("--model", default="xgboost", metavar="ARCH", help="the architecture (default: xgboost)")
    train.set_defaults(job_run=_train)
    evaluate = jobs.add_parser("eval", help="retrain on one side of a split, score on the other, beside baselines")
    evaluate.add_argument("model", nargs="?", default="default", help="default, an architecture, or a model folder")
    evaluate.add_argument("--data", type=Path, metavar="DATA", required=True, help="a dataset folder or Parquet file")
    evaluate.add_argument("--split", default="unseen-networks", metavar="NAME", help="or unseen-shapes, random")
    evaluate.add_argument("--seeds", type=int, default=5, metavar="N", help="splits to draw (default: 5)")
    evaluate.set_defaults(job_run=_evaluate)
    merge = jobs.add_parser("merge", help="join datasets; of equal candidates the successful one is kept")
    merge.add_argument("data", type=Path, nargs="+", metavar="DATA", help="dataset folders or Parquet files")
    merge.add_argument("-o", dest="output", type=Path, metavar="FILE", required=True, help="the Parquet file to write")
    merge.set_defaults(job_run=_merge)
    for job in (collect, train, evaluate, merge):
        add_json_flag(job)


def run(args: argparse.Namespace) -> int:
    """Run the chosen job."""
    return args.job_run(args)


def _collect(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from compiler.collect import CollectOptions, collect, workloads_of
    from compiler.frontend.load import load_model
    from compiler.zoo import MODELS

    _at_least("--per-workload", args.per_workload, 1)
    _at_least("--jobs", args.jobs, 0)
    specs = args.models or [f"zoo:{name}" for name in MODELS]
    with Progress(console=Console(stderr=True)) as progress:
        models = [load_model(spec).imported for spec in progress.track(specs, description="importing")]
        workloads = workloads_of(models)
        bar = progress.add_task("measuring", total=None)
        options = CollectOptions(args.per_workload, args.seed, args.jobs)
        added = collect(
            workloads, args.output, options, lambda done, total: progress.update(bar, completed=done, total=total)
        )
    data = {"workloads": len(workloads), "added": added, "folder": str(args.output)}
    report(args, data, f"measured {added} candidates of {len(workloads)} workloads into {args.output}")
    return 0


def _train(args: argparse.Namespace) -> int:
    from costmodel.train import train

    model = train(args.data, args.output, args.model)
    report(args, {"model": model.name, "folder": str(args.output)}, f"wrote {args.output}")
    return 0


def _merge(args: argparse.Namespace) -> int:
    from costmodel.record import merge

    count = merge(args.data, args.output)
    report(args, {"records": count, "file": str(args.output)}, f"wrote {count} records to {args.output}")
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from costmodel.evaluate import evaluate

    _at_least("--seeds", args.seeds, 1)
    result = evaluate(args.data, args.split, args.model, range(args.seeds), _tell)
    contestants = {args.model: result["metrics"], **result["baselines"]}
    rows = [(metric, *(_cell(c.get(metric)) for c in contestants.values())) for metric in result["metrics"]]
    title = f"{result['rows']} records of {result['workloads']} workloads, split {result['split']}"
    report(args, result, table(("metric", *contestants), rows, title))
    return 0


def _at_least(flag: str, value: int, least: int) -> None:
    if value < least:
        raise SeercError(f"{flag} must be at least {least}, got {value}")


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def _cell(value: dict[str, Any] | None) -> str:
    return "-" if value is None else f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"

"""cost datasets and models: collect, train, pretrain, eval, merge

seerc cost collect zoo:bert hf:qwen3#1 ops:100 graphs:20 -o run1
seerc cost merge run1 run2 -o data.parquet
seerc cost train data.parquet -o my-model
seerc cost train my-texts.jsonl --target cycles -o my-model
seerc cost pretrain corpus/data/file/mlir/train-00000.parquet -o encoder
seerc cost eval my-model --data data.parquet --split unseen-networks
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from costmodel.errors import SeercError
from seerc.cli.output import add_json_flag, report, table

Jobs = Any
"""What `add_subparsers` gives; its class has no public name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand for each job."""
    jobs = parser.add_subparsers(dest="job", metavar="JOB", required=True)
    for add in (_add_collect, _add_train, _add_pretrain, _add_eval, _add_merge):
        add_json_flag(add(jobs))


def _add_collect(jobs: Jobs) -> argparse.ArgumentParser:
    collect = jobs.add_parser("collect", help="measure workloads under many schedules; resumes")
    collect.add_argument(
        "specs",
        nargs="*",
        metavar="SPEC",
        help="a MODEL, or hf:ARCH, hf:all, ops:COUNT or graphs:COUNT with #SEED (default: the whole zoo)",
    )
    collect.add_argument("--suite", action="store_true", help="the specs that the shipped dataset is made from")
    collect.add_argument(
        "--again", type=Path, metavar="DATA", help="instead, the candidates of a dataset: on a machine of your own"
    )
    collect.add_argument("-o", dest="output", type=Path, metavar="FOLDER", required=True, help="the dataset folder")
    collect.add_argument("--per-workload", type=int, default=48, metavar="N", help="schedules of each (default: 48)")
    collect.add_argument("--jobs", type=int, default=0, metavar="N", help="processes; default: one a CPU")
    collect.add_argument(
        "--ray", default="", metavar="ADDRESS", help="measure on a Ray cluster: auto, HOST:PORT, or local for a new one"
    )
    collect.add_argument("--seed", type=int, default=0, metavar="N", help="of the sample (default: 0)")
    collect.add_argument("--variant", default="", metavar="NAME", help="of this machine: avx2 or avx512-256")
    collect.add_argument(
        "--share", type=float, default=1.0, metavar="X", help="of the workloads, at random (default: 1)"
    )
    collect.add_argument(
        "--kinds",
        nargs="+",
        default=(),
        metavar="KIND",
        help="only contraction, elementwise, reduction or row workloads",
    )
    collect.set_defaults(job_run=_collect)
    return collect


def _add_train(jobs: Jobs) -> argparse.ArgumentParser:
    train = jobs.add_parser("train", help="train a cost model on records, or on texts and numbers of your own")
    train.add_argument("data", type=Path, metavar="DATA", help="a dataset; with --target also .jsonl or a folder")
    train.add_argument("-o", dest="output", type=Path, metavar="FOLDER", required=True, help="where the model goes")
    train.add_argument("--model", metavar="ARCH", help="the architecture (default: seer; with --target: text)")
    train.add_argument("--target", action="append", metavar="COLUMN", help="learn this column of your own data")
    train.add_argument("--text", metavar="COLUMN", help="where its MLIR text is (default: text, mlir, ...)")
    train.add_argument("--group", metavar="COLUMN", help="keep its equal rows together when errors are measured")
    train.set_defaults(job_run=_train)
    return train


def _add_pretrain(jobs: Jobs) -> argparse.ArgumentParser:
    pretrain = jobs.add_parser("pretrain", help="pretrain a transformer's encoder on MLIR texts alone; resumes")
    pretrain.add_argument(
        "data",
        type=Path,
        nargs="+",
        metavar="DATA",
        help="shards of the IR corpus, other .parquet or .jsonl files, or folders of .mlir files",
    )
    pretrain.add_argument("-o", dest="output", type=Path, metavar="FOLDER", required=True, help="the encoder's folder")
    pretrain.add_argument("--text", metavar="COLUMN", help="where the MLIR text is (default: source, text, mlir, ...)")
    pretrain.add_argument("--epochs", type=int, default=10, metavar="N", help="at most (default: 10)")
    pretrain.add_argument("--seconds", type=float, default=0.0, metavar="S", help="as many epochs as fit; at least one")
    pretrain.add_argument("--exclude", type=Path, metavar="RECORDS", help="leave out functions that are its workloads")
    pretrain.set_defaults(job_run=_pretrain)
    return pretrain


def _add_eval(jobs: Jobs) -> argparse.ArgumentParser:
    evaluate = jobs.add_parser("eval", help="retrain on one side of a split, score on the other, beside baselines")
    evaluate.add_argument(
        "models",
        nargs="*",
        default=["default"],
        metavar="MODEL",
        help="default, an architecture, or a model folder; options in braces: 'bag{tokenizer=ops}'",
    )
    evaluate.add_argument("--data", type=Path, metavar="DATA", required=True, help="a dataset folder or Parquet file")
    evaluate.add_argument(
        "--split",
        default="unseen-networks",
        metavar="NAME",
        help="or dissimilar-programs, unseen-shapes, unseen-ops, unseen-targets, random",
    )
    evaluate.add_argument("--seeds", type=int, default=10, metavar="N", help="splits to draw (default: 10)")
    evaluate.add_argument("--rows", type=int, default=0, metavar="N", help="train on workloads of N rows in all")
    evaluate.add_argument("--results", type=Path, metavar="FILE", help="JSON lines of trials: resumes, and appends")
    evaluate.add_argument("--predictions", type=Path, metavar="FILE", help="Parquet: predictions of the first seed")
    evaluate.set_defaults(job_run=_evaluate)
    return evaluate


def _add_merge(jobs: Jobs) -> argparse.ArgumentParser:
    merge = jobs.add_parser("merge", help="join datasets; of equal candidates the successful one is kept")
    merge.add_argument("data", type=Path, nargs="+", metavar="DATA", help="dataset folders or Parquet files")
    merge.add_argument("-o", dest="output", type=Path, metavar="FILE", required=True, help="the Parquet file to write")
    merge.set_defaults(job_run=_merge)
    return merge


def run(args: argparse.Namespace) -> int:
    """Run the chosen job."""
    return args.job_run(args)


def _collect(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from compiler.collect import CollectOptions, collect
    from compiler.target import local_target
    from compiler.workloads.records import recorded_workloads
    from compiler.workloads.sources import suite, workloads_from
    from compiler.zoo import MODELS

    _at_least("--per-workload", args.per_workload, 1)
    _at_least("--jobs", args.jobs, 0)
    if args.again and (args.specs or args.suite):
        raise SeercError("--again takes its candidates from a dataset: leave SPEC and --suite away")
    specs = [*args.specs, *(suite() if args.suite else ())] or [f"zoo:{name}" for name in MODELS]
    with Progress(console=Console(stderr=True)) as progress:
        first = progress.add_task("importing", total=None)
        workloads = (
            recorded_workloads(args.again, local_target(args.variant))
            if args.again
            else workloads_from(
                specs, args.output, args.jobs, lambda done, total: progress.update(first, completed=done, total=total)
            )
        )
        bar = progress.add_task("measuring", total=None)
        options = CollectOptions(
            args.per_workload, args.seed, args.jobs, args.variant, args.share, tuple(args.kinds), args.ray
        )
        added = collect(
            workloads, args.output, options, lambda done, total: progress.update(bar, completed=done, total=total)
        )
    data = {"workloads": len(workloads), "added": added, "folder": str(args.output)}
    report(args, data, f"measured {added} candidates of {len(workloads)} workloads into {args.output}")
    return 0


def _train(args: argparse.Namespace) -> int:
    if args.target:
        return _train_texts(args)
    from costmodel.train import train

    if args.text or args.group:
        raise SeercError("--text and --group are for data of your own: name a column to learn with --target")
    model = train(args.data, args.output, args.model or "seer")
    report(args, {"model": model.name, "folder": str(args.output)}, f"wrote {args.output}")
    return 0


def _train_texts(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from costmodel.train_texts import train_texts

    made = train_texts(
        args.data, args.output, args.target, text=args.text, group=args.group, model=args.model or "text", tell=_tell
    )
    held_out = [asdict(h) for h in made.held_out]
    data = {"model": made.model.name, "folder": str(args.output), "rows": made.rows, "unusable": len(made.unusable)}
    title = f"wrote {args.output}; {made.rows} rows. Errors on held-out groups, beside those of the median"
    columns = ("column", "rows", "groups", "mae", "median_mae", "mdape", "median_mdape", "rank", "coverage")
    report(args, {**data, "held_out": held_out}, table(columns, [[h[c] for c in columns] for h in held_out], title))
    return 0


def _pretrain(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from costmodel.neural.pretraining import OPTIONS, pretrain

    _at_least("--epochs", args.epochs, 1)
    _at_least("--seconds", args.seconds, 0)
    options = replace(OPTIONS, epochs=args.epochs, max_seconds=args.seconds)
    data = pretrain(args.data, args.output, text=args.text, exclude=args.exclude, options=options, tell=_tell)
    loss = "" if data["token_loss"] is None else f"{data['token_loss']:.3f} nats a masked word, "
    said = f"{data['texts']} functions, {data['epochs']} epochs, {data['seconds']} s; {loss}"
    said = f"wrote {args.output}: {said}{data['unigram_loss']:.3f} by frequency alone"
    report(args, data, said)
    return 0


def _merge(args: argparse.Namespace) -> int:
    from costmodel.record import merge

    count = merge(args.data, args.output)
    report(args, {"records": count, "file": str(args.output)}, f"wrote {count} records to {args.output}")
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from costmodel.evaluate import EvaluationOptions, evaluate

    _at_least("--seeds", args.seeds, 1)
    _at_least("--rows", args.rows, 0)
    seeds = tuple(range(args.seeds))
    options = EvaluationOptions(tuple(args.models), args.split, seeds, args.rows, args.results, args.predictions)
    result = evaluate(args.data, options, _tell)
    contestants = {**result["models"], **result["baselines"]}
    rows = [(metric, *(_cell(c.get(metric)) for c in contestants.values())) for metric in result["metrics"]]
    title = f"{result['rows']} records of {result['workloads']} workloads, split {result['split']}"
    report(args, result, table(("metric", *contestants), rows, title))
    return 0


def _at_least(flag: str, value: float, least: int) -> None:
    if value < least:
        raise SeercError(f"{flag} must be at least {least}, got {value}")


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def _cell(value: dict[str, Any] | None) -> str:
    return "-" if value is None else f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"

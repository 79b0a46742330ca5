"""time compiled models beside their peers

seerc bench zoo:bert zoo:resnet18 --peers eager,compile --threads 1
seerc bench --all --json --output results.jsonl

Peers: eager (PyTorch), compile (torch.compile), and our compiler with another cost model: none (the fixed heuristic),
analytic, or an artefact's folder. Calls of the contestants alternate in one process a model. A ratio above 1 means that
seerc is faster; its interval holds 95 % of the ratios when rounds are resampled.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from costmodel.errors import SeercError
from seerc.cli.output import add_json_flag, progress, report, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Models, peers, threads, time."""
    add = parser.add_argument
    add("models", metavar="MODEL", nargs="*", help="as for `seerc compile`")
    add("--all", action="store_true", help="every zoo model that is installed")
    add("--peers", default="eager", metavar="LIST", help="eager, compile, cost models, by commas (default: eager)")
    add("--input", action="append", default=[], metavar="SPEC", help="an input of the model, as for `seerc compile`")
    add("--threads", type=int, default=0, metavar="N", help="default: OMP_NUM_THREADS or one a CPU")
    add("--seconds", type=float, default=2.0, metavar="S", help="timed for each contestant (default: 2)")
    add("--cost-model", default="default", metavar="NAME", help="as for `seerc compile`")
    add("--no-cache", action="store_true", help="compile every kernel again, so that compile_s is that of a first time")
    add("--output", type=Path, metavar="FILE.jsonl", help="keep finished models there, and do not measure them again")
    add_json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Measure each model in its own process; exit code 1 if one could not be measured, 3 if one computes wrongly."""
    from compiler.bench import BenchOptions, bench_models, for_models, summary
    from compiler.check import agrees

    models = _models(args)
    peers = tuple(peer.strip() for peer in args.peers.split(",") if peer.strip())
    options = BenchOptions(
        models[0], tuple(args.input), peers, args.threads, args.seconds, args.cost_model, not args.no_cache
    )
    results: list[dict[str, Any]] = []
    measured = bench_models(for_models(models, options), args.output)
    for number, model in enumerate(models, 1):
        with progress(f"{model} ({number} of {len(models)})"):
            result = next(measured)
        results.append(result)
        print(_line(result), file=sys.stderr)
    data = summary(results)
    report(args, data, "", _table(data["models"]), _footer(data))
    if data["failed"]:
        return 1
    wrong = [m for m in data["models"] if m["checked"] and not agrees(_number(m["max_rel_err"]))]
    return 3 if wrong else 0


def _models(args: argparse.Namespace) -> list[str]:
    from compiler.zoo.registry import MODELS, is_installed

    if args.all == bool(args.models):
        raise SeercError("say which models: seerc bench zoo:NAME..., or --all for the whole zoo")
    if args.input and len(args.models) != 1:
        raise SeercError("--input goes with one model")
    return args.models or [f"zoo:{m.name}" for m in MODELS.values() if is_installed(m)]


def _line(result: dict[str, Any]) -> str:
    if "error" in result:
        return f"{result['model']}: FAILED: {result['error']}"
    ratios = ", ".join(f"{peer['ratio']:.2f}x {name}" for name, peer in result["peers"].items())
    return f"{result['model']}: {result['seerc_ms']:.3g} ms, {ratios or 'no peer'}" + (
        " (noisy)" if result["noisy"] else ""
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _table(models: list[dict[str, Any]]) -> Any:
    peers = list(dict.fromkeys(name for m in models for name in m["peers"]))
    columns = ["model", "threads", "seerc ms", "error", "fallbacks", "compile s"]
    columns += [text for name in peers for text in (f"{name} ms", "ratio [95 %]")]
    rows = [_row(m, peers) for m in models]
    return table([*columns, "noisy"], rows)


def _row(model: dict[str, Any], peers: list[str]) -> tuple[object, ...]:
    error = model["max_rel_err"]
    row: list[object] = [model["model"], model["threads"], f"{model['seerc_ms']:.3g} ± {model['seerc_iqr_ms'] / 2:.2g}"]
    row += [None if error is None else f"{error:.0e}", model["fallbacks"], model["compile_s"]]
    for name in peers:
        peer = model["peers"].get(name)
        row += [f"{peer['ms']:.3g} ± {peer['iqr_ms'] / 2:.2g}" if peer else None]
        row += [f"{peer['ratio']:.2f} [{peer['low']:.2f}, {peer['high']:.2f}]" if peer else None]
    return (*row, ", ".join(model["noisy"]) or "no")


def _footer(data: dict[str, Any]) -> str:
    from compiler.timing import NOISE

    lines = ["", f"ms: median ± half the interquartile range of the calls, on {data['machine']['cpu']}"]
    lines += [f"geometric mean against {name}: {value:.2f}x" for name, value in data["geomean"].items()]
    versions = {m["seerc_version"]: "seerc" for m in data["models"]}
    versions |= {peer["version"]: name for m in data["models"] for name, peer in m["peers"].items()}
    lines += [f"{name}: {version}" for version, name in versions.items()]
    lines += [f"{m['model']}: no {name}: {why}" for m in data["models"] for name, why in m["absent"].items()]
    lines += [f"{f['model']}: FAILED: {f['error']}" for f in data["failed"]]
    lines += [NOISE] if data["noisy"] else []
    return "\n".join(lines)

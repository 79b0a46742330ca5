"""compile a model to native code

seerc compile zoo:minilm --verify --bench --report report.html
seerc compile zoo:minilm -o build/minilm
seerc compile zoo:mlp --emit asm
seerc compile zoo:mlp -o build/mlp --bucket input=8x512 --bucket input=32x512

MODEL is zoo:NAME, package.module:factory, a local Hugging Face folder, or a .pt2, .onnx or .mlir file. Without -o and
--emit the program is compiled, timed kernel by kernel, and reported.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costmodel.errors import SeercError
from costmodel.files import write_atomically
from seerc.cli.output import add_json_flag, progress, report, table

if TYPE_CHECKING:
    from compiler.driver import CompileOptions, Stages
    from compiler.frontend.model import LoadedModel
    from compiler.native.program import Program

STAGES = ("torch", "linalg", "regions", "scheduled", "loops", "llvm", "asm", "obj", "so")
BENCH_SECONDS = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL, where the program goes, how to decide, what to check."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="what to compile; `seerc zoo` lists the built-in models")
    add("-o", dest="output", type=Path, metavar="OUT", help="save the program (or what --emit makes) there")
    add("--input", action="append", metavar="SPEC", help="an input like 1x128xi64 or ids=1x128xi64; once for each")
    add("--bucket", action="append", metavar="SHAPES", help="input shapes like ids=1x32,mask=1x32; once a bucket")
    add("--pad", action="append", metavar="NAME=VALUE", help="what fills an input up to its bucket; default: 0")
    add("--cost-model", default="default", metavar="NAME", help="default, none, analytic, a plugin, or a folder")
    add("--caution", type=float, default=0.0, metavar="X", help="keep the heuristic's schedule unless X is saved (.1)")
    add("--tune", type=int, default=0, metavar="N", help="measure up to N schedules where the cost model is unsure")
    add("--threads", type=int, metavar="N", help="for --verify and --bench; default: OMP_NUM_THREADS or one a CPU")
    add("--jobs", type=int, default=0, metavar="N", help="processes that compile kernels; default: one a CPU")
    add("--no-cache", action="store_true", help="compile every kernel again")
    add("--emit", choices=STAGES, metavar="STAGE", help=f"write a stage on the way instead: {', '.join(STAGES)}")
    add("--verify", action="store_true", help="compare with PyTorch on example inputs; exit code 3 if it differs")
    add("--bench", action="store_true", help="time the program beside eager PyTorch")
    add("--report", type=Path, metavar="FILE.html", help="write what was decided and measured as one HTML file")
    add_json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Import, compile, save, check, report."""
    from compiler.frontend.load import load_model
    from compiler.target import detect_target
    from costmodel.protocol import load_cost_model

    _check(args)
    _options(args)
    load_cost_model(args.cost_model, detect_target())  # a wrong name costs no import
    begin = time.perf_counter()
    with progress(f"importing {args.model}"):
        model = load_model(args.model, args.input)
    import_s = time.perf_counter() - begin
    if args.bucket:
        from seerc.cli.buckets import compile_in_buckets

        return compile_in_buckets(args, model)
    return _compile(args, model, import_s) if args.emit is None or _measures(args) else _emit_only(args, model)


def _measures(args: argparse.Namespace) -> bool:
    return args.verify or args.bench or args.report is not None


def _check(args: argparse.Namespace) -> None:
    """What argparse cannot say."""
    if args.bucket and (args.output is None or args.emit is not None or _measures(args)):
        raise SeercError("--bucket saves a program: give -o FOLDER, and neither --emit, --verify, --bench nor --report")
    if args.pad and not args.bucket:
        raise SeercError("--pad goes with --bucket, which says the shapes to fill up to")
    if args.emit in ("obj", "so") and args.output is None:
        raise SeercError(f"--emit {args.emit} writes files: say where with -o FOLDER")
    if args.emit is not None and _measures(args) and args.output is None:
        raise SeercError("--emit with --verify, --bench or --report writes to a file: say where with -o")
    if args.threads is not None and args.threads < 1:
        raise SeercError(f"--threads must be at least 1, got {args.threads}")


def _options(args: argparse.Namespace) -> CompileOptions:
    from compiler.driver import CompileOptions

    return CompileOptions(
        args.cost_model, cache=not args.no_cache, jobs=args.jobs, tune=args.tune, caution=args.caution
    )


def _emit_only(args: argparse.Namespace, model: LoadedModel) -> int:
    from compiler.stages import emit

    options = _options(args)
    with progress(f"compiling {model.imported.name}"):
        found = emit(args.emit, model, options, args.output)
    if isinstance(found, str):
        _write_text(args, found)
    else:
        report(args, {"files": [str(p) for p in found]}, "\n".join(f"wrote {p}" for p in found))
    return 0


def _write_text(args: argparse.Namespace, text: str) -> None:
    if args.output is not None:
        write_atomically(args.output, text)
        report(args, {"files": [str(args.output)]}, f"wrote {args.output}")
    else:
        report(args, {"stage": args.emit, "text": text}, text.rstrip("\n"))


def _compile(args: argparse.Namespace, model: LoadedModel, import_s: float) -> int:
    from compiler.driver import build_program, lower_model

    options = _options(args)
    begin = time.perf_counter()
    with progress(f"compiling {model.imported.name}") as say:
        stages = lower_model(model.imported, options, say)
        lowered = time.perf_counter()
        program = build_program(model.imported, stages)
    end = time.perf_counter()
    seconds = {"import": import_s, **stages.seconds, "link and pack": end - lowered}
    emitted = _save(args, model, stages, program)
    measured = _measure(args, model, program)
    data: dict[str, Any] = {
        "model": model.imported.name,
        "program": str(args.output) if args.output is not None and args.emit is None else None,
        "files": emitted,
        "import_s": round(import_s, 3),
        "compile_s": round(end - begin, 3),
        "seconds": {name: round(s, 3) for name, s in seconds.items()},
        "target": program.plan["target"],
        "cost_model": program.plan["cost_model"],
        "fallbacks": program.plan["fallbacks"],
        **measured,
    }
    if args.report is not None:
        from compiler.report.html import render

        write_atomically(args.report, render(data, program.plan, stages))
        data["report"] = str(args.report)
    report(args, data, _seconds(seconds), "", _kernels(data["kernels"]), _summary(data))
    return 0 if data["ok"] else 3


def _save(args: argparse.Namespace, model: LoadedModel, stages: Stages, program: Program) -> list[str]:
    """Writes the program, or what --emit asks for beside the checks; the files of the latter."""
    if args.output is None:
        return []
    if args.emit is None:
        program.save(args.output)
        return []
    from compiler.stages import emit_stages

    found = emit_stages(args.emit, model, stages, args.output)
    if isinstance(found, str):
        write_atomically(args.output, found)
        return [str(args.output)]
    return [str(p) for p in found]


def _measure(args: argparse.Namespace, model: LoadedModel, program: Program) -> dict[str, Any]:
    """The checks and times that were asked for; the kernels with or without their times."""
    import math

    from compiler.bench import BenchOptions, compare
    from compiler.check import TOLERANCE, agrees, program_error
    from compiler.profile import profile

    error, bench = None, None
    if args.verify:
        with progress("comparing with PyTorch"):
            error = program_error(program, model, args.threads)
    if args.bench:
        with progress("timing beside eager PyTorch"):
            options = BenchOptions(args.model, threads=args.threads or 0, seconds=BENCH_SECONDS)
            bench = compare(program, model, options)
    times = {}
    if args.bench or args.report or args.output is None:
        with progress("timing each kernel"):
            times = {t.kernel: t for t in profile(program, model.example_inputs)}
    return {
        "verified": args.verify,
        "ok": error is None or agrees(error),
        "max_rel_err": error if error is not None and math.isfinite(error) else None,
        "tolerance": TOLERANCE,
        "bench": bench,
        "kernels": [_kernel(entry, times.get(entry["kernel"])) for entry in program.plan["kernels"]],
    }


def _kernel(entry: dict[str, Any], time_: Any) -> dict[str, Any]:
    """The plan's entry with what was measured: ns of one call, and of all calls of a run."""
    measured = {
        "measured_ns": time_ and time_.call_ns,
        "runs": time_ and time_.calls,
        "total_ns": time_ and time_.total_ns,
    }
    return entry | measured


def _seconds(seconds: dict[str, float]) -> Any:
    rows = [(name, f"{s:.2f} s") for name, s in [*seconds.items(), ("total", sum(seconds.values()))]]
    return table(("stage", "time"), rows)


def _kernels(kernels: list[dict[str, Any]]) -> Any:
    """One row a kernel: what it computes and how, predicted beside measured."""
    from compiler.report.words import duration, schedule_words, shapes_words

    rows: list[tuple[object, ...]] = []
    for k in kernels:
        predicted, measured = k["predicted"].get("latency_ns"), k["measured_ns"]
        words = schedule_words(k["schedule"]) + (" (fallback)" if k["fallback"] else "")
        words += f" (best of {k['trials']} measured)" if k["trials"] else ""
        rows.append(
            (
                k["kernel"][:7],
                k["kind"],
                shapes_words(k["inputs"], k["results"]),
                words,
                k["runs"] or k["calls"],
                duration(predicted[0]) if predicted else None,
                duration(measured) if measured is not None else None,
            )
        )
    columns = ("kernel", "kind", "shapes", "schedule", "calls", "predicted", "measured")
    return table(columns, rows, title="plan (times of one call on one thread)")


def _summary(data: dict[str, Any]) -> str:
    lines = [f"\n{data['model']}: imported in {data['import_s']:.1f} s, compiled in {data['compile_s']:.1f} s"]
    lines += [f"cost model {data['cost_model']}; {data['fallbacks']} calls on the plain lowering"]
    if data["verified"]:
        verdict = "agrees with" if data["ok"] else "DIFFERS from"
        error = "not finite" if data["max_rel_err"] is None else f"{data['max_rel_err']:.1e}"
        lines.append(f"{verdict} PyTorch: max relative error {error} (at most {data['tolerance']:.0e})")
    if data["bench"]:
        lines += _bench_lines(data["bench"])
    lines += [f"saved to {data['program']}"] if data["program"] else []
    lines += [f"wrote {path}" for path in data["files"]]
    lines += [f"report: {data['report']}"] if "report" in data else []
    return "\n".join(lines)


def _bench_lines(bench: dict[str, Any]) -> list[str]:
    from compiler.timing import NOISE

    threads = f"{bench['threads']} thread" + ("s" if bench["threads"] > 1 else "")
    lines = [f"seerc {bench['seerc_ms']:.3g} ms ({threads})"]
    for name, peer in bench["peers"].items():
        interval = f"[{peer['low']:.2f}, {peer['high']:.2f}]"
        lines.append(f"{name} {peer['ms']:.3g} ms: seerc is {peer['ratio']:.2f}x as fast, 95 % {interval}")
    lines += [f"{name}: {reason}" for name, reason in bench["absent"].items()]
    lines += [f"noisy ({', '.join(bench['noisy'])}): {NOISE.partition(': ')[2]}"] if bench["noisy"] else []
    return lines

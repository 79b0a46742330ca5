"""build, examine and audit a corpus of source code paired with LLVM IR

seerc corpus build pypi:ziglang debian:lapack -o build/corpus
seerc corpus stats build/corpus
seerc corpus audit build/corpus
seerc corpus pairs build/corpus --language rust --limit 3
seerc corpus capture -o build/captured -- make -j2

SOURCE is a folder, pypi:NAME, debian:NAME, debian-rust:NAME, debian-binary:NAME, captured:DIR (what `capture` noted),
zoo:NAME (the stages of a built-in model), or @FILE of such words. A build that was stopped goes on where it was when
the same command runs again. `audit` exits with 3 where it finds something.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from costmodel.errors import SeercError
from seerc.cli.output import add_json_flag, progress, report, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command each for building, counting, checking and reading."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    capture = actions.add_parser("capture", help="run a build, and note what its compilers are called with")
    capture.add_argument(
        "-o", dest="output", type=Path, metavar="DIR", required=True, help="the notes, for captured:DIR"
    )
    capture.add_argument("words", nargs="+", metavar="COMMAND", help="the build, after --: -- make -j2")
    _add_build(
        actions.add_parser("build", help="compile sources into a corpus, or go on with one", fromfile_prefix_chars="@")
    )
    stats = actions.add_parser("stats", help="count pairs, functions, reasons and licences")
    stats.add_argument("--plot", type=Path, metavar="FILE", help="draw pairs by language (.svg, .png, .pdf)")
    audit = actions.add_parser("audit", help="check hashes, duplicates, leakage, licences and rows; exits with 3")
    pairs = actions.add_parser("pairs", help="print pairs, one JSON object a line")
    pairs.add_argument("--kind", choices=("file", "function"), default="function", help="default: function")
    pairs.add_argument("--language", metavar="NAME", help="only this language")
    pairs.add_argument("--split", choices=("train", "valid", "test"), help="only this split")
    pairs.add_argument("--limit", type=int, metavar="N", help="at most so many")
    for action in (stats, audit, pairs):
        action.add_argument("folder", type=Path, metavar="DIR", help="a corpus that `seerc corpus build` wrote")
    for action in (capture, stats, audit):
        add_json_flag(action)


def _add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="a folder, package, or @FILE of them")
    parser.add_argument("-o", dest="output", type=Path, metavar="DIR", required=True, help="the corpus")
    parser.add_argument("--licence", choices=("permissive", "any"), default="permissive", help="default: permissive")
    parser.add_argument(
        "--languages", metavar="LIST", default="", help="languages or frontends, by comma; default: all"
    )
    parser.add_argument("--levels", metavar="LIST", default="Oz", help="of O0, O2, Oz, by comma; default: Oz")
    parser.add_argument("--jobs", type=int, metavar="N", help="worker processes; default: one a CPU")
    parser.add_argument(
        "--ray", default="", metavar="ADDRESS", help="compile on a Ray cluster: auto, HOST:PORT, or local for a new one"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="at most N files of a language from each source")
    parser.add_argument(
        "--max-tokens", type=int, metavar="N", default=4096, help="leave out function pairs of N or more; default: 4096"
    )
    parser.add_argument("--benchmark", type=Path, metavar="FILE", help="texts or hashes that must not be in the corpus")
    parser.add_argument("--minutes", type=float, metavar="N", help="stop compiling after N minutes; go on another time")
    add_json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Dispatch."""
    return {"capture": _capture, "build": _build, "stats": _stats, "audit": _audit, "pairs": _pairs}[args.action](args)


def _capture(args: argparse.Namespace) -> int:
    from ir_corpus.capture import capture

    code, calls = capture(args.words, args.output)
    if code:
        raise SeercError(f"{args.words[0]} failed with exit code {code}; {calls} calls of compilers were noted")
    report(args, {"calls": calls}, f"{calls} calls of compilers; seerc corpus build captured:{args.output} -o DIR")
    return 0


def _build(args: argparse.Namespace) -> int:
    from ir_corpus.build import Options, build
    from ir_corpus.sandbox import isolation

    options = Options(
        tuple(args.sources),
        tuple(filter(None, args.languages.split(","))),
        tuple(filter(None, args.levels.split(","))),
        args.licence,
        args.jobs or len(os.sched_getaffinity(0)),
        args.limit,
        args.max_tokens,
        args.benchmark,
        args.minutes,
        args.ray,
    )
    with progress("corpus") as detail:
        done = build(options, args.output, detail)
    data = _counted(args.output)
    how = {
        "compiled": done.compiled,
        "resumed": done.resumed,
        "seconds": round(done.seconds, 1),
        "compiler_cpu_seconds": round(done.spent.compilers, 1),
        "worker_cpu_seconds": round(done.spent.workers, 1),
        "sandbox": isolation(),
    }
    text = (
        f"{done.compiled} compilations now, {done.resumed} from the journal, {done.seconds:.0f} s ({isolation()}); "
        f"all of the corpus: {done.spent.compilers:.0f} CPU s of compilers, {done.spent.workers:.0f} of their workers"
    )
    report(args, {**data, "build": how}, _table(data), text)
    return 0


def _counted(folder: Path) -> dict[str, Any]:
    """The counts of a manifest; `reasons` over all languages."""
    from ir_corpus.store import read_manifest

    manifest = read_manifest(folder)
    reasons: dict[str, int] = {}
    for counts in manifest["reasons"].values():
        for reason, count in counts.items():
            reasons[reason] = reasons.get(reason, 0) + count
    names = ("pairs", "files", "functions", "functions_under_4096_tokens", "licences", "splits")
    later = {name: manifest.get(name, {}) for name in ("functions_within_max_tokens",)}
    return {**{name: manifest[name] for name in names}, **later, "reasons": dict(sorted(reasons.items()))}


def _table(data: dict[str, Any]) -> Any:
    languages = sorted({*data["pairs"], *data["functions"]})
    columns = ("language", "files", "file pairs", "function pairs", "under 4,096 tokens")
    shares = data["functions_under_4096_tokens"]
    rows = [
        (name, data["files"].get(name, 0), data["pairs"].get(name, 0), data["functions"].get(name, 0), shares.get(name))
        for name in languages
    ]
    totals = [sum(row[column] for row in rows) for column in (1, 2, 3)]
    return table(columns, [*rows, ("all", *totals, None)])


def _stats(args: argparse.Namespace) -> int:
    data = _counted(args.folder)
    if args.plot is not None:
        from ir_corpus.plots import plot

        plot(data, args.plot)
    reasons = table(("reason", "count"), list(data["reasons"].items()), "Reasons")
    licences = table(("licence", "rows"), list(data["licences"].items()), "Licences")
    report(args, data, _table(data), "", reasons, "", licences)
    return 0


def _audit(args: argparse.Namespace) -> int:
    from ir_corpus.audit import audit

    with progress("audit") as detail:
        findings = audit(args.folder, detail)
    rows = [{"check": finding.check, "rows": finding.rows, "detail": finding.detail} for finding in findings]
    data = {"ok": not findings, "findings": rows}
    shown = table(("check", "rows", "detail"), [tuple(row.values()) for row in rows]) if rows else "nothing found"
    report(args, data, shown)
    return 3 if findings else 0


def _pairs(args: argparse.Namespace) -> int:
    from dataclasses import asdict
    from itertools import islice

    from ir_corpus.store import read_pairs

    for pair in islice(read_pairs(args.folder, args.kind, args.language, args.split), args.limit):
        row = asdict(pair)
        row.pop("bitcode")
        print(json.dumps(row, ensure_ascii=False), file=args.out)
    return 0

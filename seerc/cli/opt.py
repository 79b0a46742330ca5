"""run passes over an MLIR file

seerc opt in.mlir --pass-pipeline='builtin.module(canonicalize, func.func(my-pass{n=4}))'

Python passes (seerc's, those of installed packages, those of --load) and upstream MLIR passes mix freely; the flags
are those of mlir-opt. docs/passes.md teaches writing a pass.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from costmodel.files import write_atomically
from seerc.cli.output import add_json_flag, read_text, report, table

if TYPE_CHECKING:
    from passes.registry import PassRegistry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of mlir-opt that seerc has, `--load` and `--list-passes`."""
    add = parser.add_argument
    add("file", nargs="?", default="-", help="the .mlir file; - for standard input (default)")
    add("--pass-pipeline", metavar="TEXT", default="builtin.module()", help="builtin.module(...) in MLIR's syntax")
    add("-o", dest="output", metavar="FILE", default="-", help="where the result goes (default: standard output)")
    add("--load", metavar="FILE.py", type=Path, action="append", default=[], help="register the passes of this file")
    add("--list-passes", action="store_true", help="list the registered Python passes and stop")
    add("--split-input-file", action="store_true", help="process the pieces between // ----- lines on their own")
    add("--verify-each", type=_boolean, nargs="?", const=True, default=True, metavar="BOOL", help="default: true")
    add("--mlir-print-ir-after-all", action="store_true", help="print the IR after each pass, on stderr")
    add("--mlir-timing", action="store_true", help="print the time of each pass, on stderr")
    add("--allow-unregistered-dialect", action="store_true", help="accept operations of unknown dialects")
    add_json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Run the pipeline, or list the passes."""
    from passes.registry import installed

    registry = installed(args.load)
    if args.list_passes:
        rows = [(name, (registry.get(name).__doc__ or "").strip().partition("\n")[0]) for name in registry.names]
        data = {"passes": [{"name": name, "summary": summary} for name, summary in rows]}
        report(args, data, table(("pass", "does"), rows))
        return 0
    _transform(args, registry)
    return 0


def _transform(args: argparse.Namespace, registry: PassRegistry) -> None:
    from passes.pipeline import Pipeline
    from passes.runner import RunOptions, run_text

    pipeline = Pipeline.parse(args.pass_pipeline, registry)
    text = sys.stdin.read() if args.file == "-" else read_text(Path(args.file))
    loads = [word for file in args.load for word in ("--load", str(file))]
    options = RunOptions(
        print_ir_after_all=args.mlir_print_ir_after_all,
        verify_each=args.verify_each,
        split_input_file=args.split_input_file,
        timing=args.mlir_timing,
        allow_unregistered_dialect=args.allow_unregistered_dialect,
        command=("seerc", "opt", *loads),
    )
    result = run_text(pipeline, text, "<stdin>" if args.file == "-" else args.file, options)
    if args.output == "-":
        report(args, {"mlir": result}, result)
    else:
        write_atomically(args.output, result + "\n")


def _boolean(text: str) -> bool:
    values = {"true": True, "1": True, "false": False, "0": False}
    if text not in values:
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return values[text]

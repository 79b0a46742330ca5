"""The `seerc` executable: one module per command, exit codes 0 ok, 1 user error, 2 usage, 3 check failed, 130 stopped.

A command module has a docstring (its help), `add_arguments(parser)` and `run(args) -> int`; it imports nothing heavy
before `run`, and prints its result with `seerc.cli.output.report`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from importlib import import_module
from typing import Any

import seerc
from costmodel.errors import SeercError, suggestion
from seerc.cli.output import logs

COMMANDS = (
    *("compile", "run", "bench", "adapt", "generate"),
    *("opt", "predict", "cost", "corpus", "lm", "zoo", "doctor"),
)


class _Parser(argparse.ArgumentParser):
    """argparse, with the nearest name in place of the list of all choices, and no abbreviated options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            kind = "command" if isinstance(action, argparse._SubParsersAction) else "value"  # pyright: ignore[reportPrivateUsage]
            known = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(action, f"unknown {kind} {value!r}: {suggestion(str(value), known)}")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; imports the command modules, which are light."""
    parser = _Parser(prog="seerc", description="The seer compiler: PyTorch models to native code through MLIR.")
    parser.add_argument("--version", action="version", version=f"seerc {seerc.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = import_module(f"seerc.cli.{name}")
        text = (module.__doc__ or "").strip()
        command = commands.add_parser(name, help=text.partition("\n")[0], description=text)
        module.add_arguments(command)
        command.add_argument("-v", "--verbose", action="store_true", help="tell on stderr what is decided")
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a usage error exits with 2 through argparse."""
    args = build_parser().parse_args(argv)
    args.out = sys.stdout
    try:
        # --json promises one object on stdout and nothing else.
        quiet = redirect_stdout(sys.stderr) if getattr(args, "json", False) else nullcontext()
        with logs(args.verbose), quiet:
            return args.run(args)
    except (SeercError, OSError, MemoryError) as error:
        return _fail(error)
    except KeyboardInterrupt:
        print("seerc: interrupted", file=sys.stderr)
        return 130


def _fail(error: Exception) -> int:
    if isinstance(error, BrokenPipeError):  # the reader has seen enough, as in `seerc opt ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    print(f"seerc: error: {' '.join(_message(error).split())}", file=sys.stderr)
    return 1


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return "out of memory" if isinstance(error, MemoryError) else str(error)

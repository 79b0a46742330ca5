"""What every command prints: one JSON object on stdout, or a table for people; progress and warnings on stderr."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from costmodel.errors import SeercError

PACKAGES = ("seerc", "compiler", "passes", "costmodel", "ir_corpus")


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--json` to a command that reports."""
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout (docs/json.md)")


@contextmanager
def logs(verbose: bool) -> Generator[None]:
    """Send what our packages log and warn of to stderr, one line each; with `verbose` also what they decided."""
    handler = logging.StreamHandler(sys.stderr)
    loggers = [logging.getLogger(name) for name in PACKAGES]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO if verbose else logging.WARNING)
        logger.propagate = False  # a library that sets up the root logger would print everything twice
    try:
        with warnings.catch_warnings():
            for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
                warnings.simplefilter("ignore", category)
            warnings.filterwarnings("ignore", module=r"(torch|torch_mlir|transformers)(\..*)?$")
            warnings.showwarning = _show_warning
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = True


def _show_warning(message: Warning | str, *_: object) -> None:
    print(f"seerc: warning: {' '.join(str(message).split())}", file=sys.stderr)


@contextmanager
def progress(text: str) -> Generator[Callable[[str], None]]:
    """Show on a terminal's stderr what is being done, while it is; what is yielded takes further details."""
    if not sys.stderr.isatty():
        yield logging.getLogger("seerc").info
        return
    from rich.console import Console

    with Console(stderr=True).status(text) as status:
        yield lambda detail: status.update(f"{text}: {detail}")


def read_text(path: Path) -> str:
    """A text file; SeercError if it is none, OSError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SeercError(f"{path} is not a text file: byte {error.start} is not UTF-8") from error


def report(args: argparse.Namespace, data: Mapping[str, Any], *human: Any) -> None:
    """Print `data` as JSON where `--json` was given, else each of `human` (text or rich renderables)."""
    if args.json:
        print(json.dumps(data, indent=2, allow_nan=False), file=args.out)
        return
    for item in human:
        _print_human(item, args.out)


def _print_human(item: Any, out: TextIO) -> None:
    if isinstance(item, str):
        print(item, file=out)
        return
    from rich.console import Console

    # Where nobody looks at a terminal, lines stay whole for grep.
    Console(file=out, width=None if out.isatty() else 200).print(item)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> Any:
    """A rich table; columns whose every cell is a number are right-aligned."""
    from rich.table import Table
    from rich.text import Text

    result = Table(title=title, box=None, pad_edge=False, header_style="bold", title_justify="left")
    for index, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        result.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        result.add_row(*(Text(_cell(value)) for value in row))
    return result


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)

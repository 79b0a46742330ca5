"""show what is installed, which machine this is, and what is missing

Exits with 3 where something that seerc needs is missing or has another version than the one it was tested with.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from seerc.cli.output import add_json_flag, report, table

_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[.*?\])?==([^;\s]+)(?:\s*;\s*extra == ['\"](\w+)['\"])?$")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Only `--json`."""
    add_json_flag(parser)


def run(args: argparse.Namespace) -> int:
    """Report machine, packages, linkers and passes."""
    from compiler.native.link import linkers
    from ir_corpus.frontends import available
    from passes.registry import installed

    machine, packages, passes = _machine(), _packages(), list(installed().names)
    found = {name: command[0] for name, command in linkers().items()}
    problems = _problems(packages, found)
    languages = [
        {"language": a.language, "compiler": f"{a.name} {a.version}".strip() if a.found else None, "install": a.install}
        for a in available()
    ]
    data = {
        "machine": machine,
        "packages": packages,
        "linkers": found,
        "passes": passes,
        "languages": languages,
        "problems": problems,
    }
    report(
        args,
        data,
        table(("machine", ""), list(machine.items())),
        "",
        table(("package", "installed", "wanted", "extra"), [tuple(package.values()) for package in packages]),
        "",
        table(("corpus language", "compiler", "install"), [_language(line) for line in languages]),
        f"\nlinkers: {', '.join(found) or 'none'}\npasses:  {', '.join(passes)}\n",
        "\n".join(f"problem: {problem}" for problem in problems) or "no problem found",
    )
    return 3 if problems else 0


def _language(line: Mapping[str, str | None]) -> tuple[str | None, ...]:
    """A row: how to install a compiler only where there is none."""
    compiler, install = line["compiler"], line["install"]
    return line["language"], compiler or "none", "" if compiler else install or "no package has it"


def _machine() -> dict[str, Any]:
    from compiler.target import host_features

    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "cpu": _first_line("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": _first_line("/proc/meminfo", "MemTotal"),
        "features": " ".join(host_features()),
    }


def _first_line(path: str, key: str) -> str:
    """The value of the first `key : value` line of a file under /proc; empty where there is none."""
    text = Path(path).read_text(encoding="utf-8") if Path(path).exists() else ""
    found = re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def _packages() -> list[dict[str, str | None]]:
    """What seerc's metadata pins, beside what is installed; `extra` is None for what every installation needs."""
    try:
        requirements = metadata.requires("seerc") or []
    except metadata.PackageNotFoundError:
        requirements = []
    pins = [match.groups() for text in requirements if (match := _PIN.match(text))]
    return [{"name": name, "installed": _version(name), "wanted": pin, "extra": extra} for name, pin, extra in pins]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _problems(packages: Sequence[Mapping[str, str | None]], linkers: Mapping[str, str]) -> list[str]:
    found = [
        f"{p['name']} {p['installed'] or 'is missing'}: pip install {p['name']}=={p['wanted']}"
        for p in packages
        if p["extra"] is None and (p["installed"] or "").partition("+")[0] != p["wanted"]
    ]
    if not packages:
        found.append("seerc is not installed as a package: pip install -e . in its folder")
    if not linkers:
        found.append("no linker: pip install ziglang, or install binutils")
    return found

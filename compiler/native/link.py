"""Object files to one shared library, by the system's linker or by the lld inside the ziglang wheel.

The linker is called itself, not through a compiler driver: kernels need no start-up files, and zig's driver would build
a cache first. `__kmpc_*` (libiomp5) and libm's functions stay undefined: whoever loads the library has loaded both.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from costmodel.errors import SeercError

EXPORTED = "seerc_run"


def linkers() -> dict[str, list[str]]:
    """The usable linkers, best first: name to command."""
    found = {name: [path] for name in ("ld", "ld.lld") if (path := shutil.which(name))}
    wheel = importlib.util.find_spec("ziglang")
    if wheel and wheel.submodule_search_locations:
        found["zig"] = [str(Path(wheel.submodule_search_locations[0]) / "zig"), "ld.lld"]
    return found


def link_shared(
    objects: Sequence[Path | str], out: Path | str, exports: Sequence[str] = (EXPORTED,), linker: str | None = None
) -> None:
    """Link `objects` into the shared library `out`, which exports `exports` alone; written atomically.

    `linker` is a key of `linkers()`, the first one if None. Raises SeercError if there is none, or with its reason.
    """
    available = linkers()
    if not available:
        raise SeercError("no linker found: install binutils or lld, or pip install ziglang")
    if linker is not None and linker not in available:
        raise SeercError(f"linker {linker!r} is not installed; found: {', '.join(available)}")
    name = linker or next(iter(available))
    out = Path(out)
    with tempfile.TemporaryDirectory(prefix="seerc-link-", dir=out.parent) as folder:
        made = Path(folder) / out.name
        script = Path(folder) / "exports.map"
        script.write_text("{ global: " + " ".join(f"{symbol};" for symbol in exports) + " local: *; };\n")
        options = ["-shared", "-o", str(made), "--version-script", str(script), "-z", "noexecstack", "-z", "text"]
        _link([*available[name], *options, *map(str, objects)])
        os.replace(made, out)


def _link(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.splitlines() or [f"exit status {done.returncode}"]
        reason = next((line for line in lines if "error" in line or "undefined" in line), lines[0])
        raise SeercError(f"linking failed: {reason.strip()[:300]}")

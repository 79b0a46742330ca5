"""`zoo:NAME`: the kernels of a built-in model at the stages of our compiler, a file a kernel and stage.

    KEY.linalg    the workload with its schedule    KEY.loops    scf and vector    KEY.llvm    the LLVM dialect

All stages of a kernel have one LLVM IR, that of its last: the frontend `seerc-stages` translates KEY.llvm. The compiler
is called as a command, since this package imports nothing of it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import metadata, version
from pathlib import Path

from costmodel.errors import SeercError
from ir_corpus.sources.package import Package

_SUFFIXES = {"scheduled": ".linalg", "loops": ".loops", "llvm": ".llvm"}
_KERNEL = re.compile(r"^ *(?:llvm\.|func\.)func (?:private )?@(k[0-9a-f]+)\(.*\{$", re.MULTILINE)
_SECONDS = 7200


def fetch(name: str, cache: Path) -> Package:
    """The package of a model's kernels; what this version of seerc wrote before is not written again.

    Raises:
        SeercError: the compiler does not know the model, or cannot compile it.
    """
    release = version("seerc")
    root = cache / "zoo" / f"{name}-{release}"
    if not root.is_dir():
        root.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=root.parent, prefix=f".{root.name}."))
        try:
            for stage, suffix in _SUFFIXES.items():
                for key, text in _kernels(name, stage).items():
                    (folder / f"{key}{suffix}").write_text(text, encoding="utf-8")
            os.rename(folder, root)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    texts = hashlib.sha256(b"\0".join(path.read_bytes() for path in sorted(root.iterdir())))
    declared = str(metadata("seerc").json.get("license_expression", ""))
    return Package(f"zoo:{name}", f"zoo-{name}", release, texts.hexdigest(), root, declared)


def _kernels(name: str, stage: str) -> dict[str, str]:
    """Key -> text of the modules that `seerc compile --emit` writes of a stage, those of kernels alone."""
    argv = [sys.executable, "-m", "seerc", "compile", f"zoo:{name}", "--emit", stage]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise SeercError(f"zoo:{name} cannot be compiled: {last.removeprefix('seerc: error: ')}")
    parts = ((_KERNEL.search(text), text) for text in done.stdout.split("\n// -----\n"))
    return {found[1]: f"{text.strip()}\n" for found, text in parts if found}

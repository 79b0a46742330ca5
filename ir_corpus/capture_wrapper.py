"""Stands on PATH in the place of a compiler: notes what it was called with, then becomes the real compiler.

`ir_corpus.capture` copies this file under the name of each compiler, behind a line that names the interpreter; it runs
alone, without seerc. Cargo calls it as RUSTC_WRAPPER, with the real rustc as first argument.
"""

from __future__ import annotations

import json
import os
import sys

SUFFIXES = (
    *(".c", ".cc", ".cpp", ".cxx", ".C", ".m", ".cu", ".cl", ".f", ".f90", ".F90", ".f95", ".f03", ".f08", ".F"),
    *(".rs", ".d", ".hs"),
)
LOG, BIN = "SEERC_CAPTURE_LOG", "SEERC_CAPTURE_BIN"


def main(argv: list[str]) -> None:
    """Note a call that has a source file among its arguments, and go on as the compiler."""
    name, words = os.path.basename(argv[0]), argv[1:]
    folders = [f for f in os.environ["PATH"].split(os.pathsep) if os.path.realpath(f) != os.environ[BIN]]
    if name == "rustc-wrapper":
        name, real, words = "rustc", words[0], words[1:]
    else:
        real = next((f"{f}/{name}" for f in folders if os.access(f"{f}/{name}", os.X_OK)), "")
    if not real:
        sys.exit(f"{name}: no such compiler behind the one of seerc corpus capture")
    if any(word.endswith(SUFFIXES) for word in words):
        line = json.dumps({"compiler": name, "directory": os.getcwd(), "arguments": words}) + "\n"
        log = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(log, line.encode())  # one write to the end of a file: lines of parallel compilers do not mix
        os.close(log)
    os.environ["PATH"] = os.pathsep.join(folders)  # a compiler that calls another one is noted once
    os.execv(real, [real, *words])


if __name__ == "__main__":
    main(sys.argv)

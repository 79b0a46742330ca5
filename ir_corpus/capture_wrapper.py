"""Stands on PATH in the place of a compiler: notes what it was called with, then becomes the real compiler.

`ir_corpus.capture` copies this file under the name of each compiler, behind a line that names the interpreter; it runs
alone, without seerc. Cargo calls it as RUSTC_WRAPPER, with the real rustc as first argument. Where SEERC_CAPTURE_DRY is
set (`ir_corpus.sources.configured`), it only leaves an empty file in the place of what would be compiled or linked.
"""

from __future__ import annotations

import json
import os
import sys

SUFFIXES = (
    *(".c", ".cc", ".cpp", ".cxx", ".C", ".m", ".cu", ".cl", ".f", ".f90", ".F90", ".f95", ".f03", ".f08", ".F"),
    *(".rs", ".d", ".hs"),
)
LOG, BIN, DRY = "SEERC_CAPTURE_LOG", "SEERC_CAPTURE_BIN", "SEERC_CAPTURE_DRY"
LAUNCHER = "seerc-launcher"  # CMake calls it with the compiler as first argument


def main(argv: list[str]) -> None:
    """Note a call that has a source file among its arguments, and go on as the compiler."""
    name, words = os.path.basename(argv[0]), argv[1:]
    folders = [f for f in os.environ["PATH"].split(os.pathsep) if os.path.realpath(f) != os.environ.get(BIN)]
    if name in ("rustc-wrapper", LAUNCHER):
        name, real, words = os.path.basename(words[0]), words[0], words[1:]
    elif DRY in os.environ:
        real = "clang++-22" if name == "c++" else "clang-22"
    else:
        real = next((f"{f}/{name}" for f in folders if os.access(f"{f}/{name}", os.X_OK)), "")
    if not real:
        sys.exit(f"{name}: no such compiler behind the one of seerc corpus capture")
    if LOG in os.environ and any(word.endswith(SUFFIXES) for word in words):
        line = json.dumps({"compiler": name, "directory": os.getcwd(), "arguments": words}) + "\n"
        log = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(log, line.encode())  # one write to the end of a file: lines of parallel compilers do not mix
        os.close(log)
    if DRY in os.environ and _left(words):
        return
    os.environ["PATH"] = os.pathsep.join(folders)  # a compiler that calls another one is noted once
    os.execvp(real, [real, *words])


def _left(words: list[str]) -> bool:
    """Whether the call was one to pretend: what it would write is there, empty; else the compiler is to be run.

    A question to the compiler is none, nor is a program made in one call: it may write headers.
    """
    sources = [word for word in words if word.endswith(SUFFIXES) and not word.startswith("-")]
    if "-E" in words or "-M" in words or "-MM" in words or (sources and "-c" not in words and "-shared" not in words):
        return False
    written = [words[index + 1] for index, word in enumerate(words[:-1]) if word in ("-o", "-MF")]
    if "-c" in words and "-o" not in words:
        written += [os.path.splitext(os.path.basename(source))[0] + ".o" for source in sources]
    for path in written:
        with open(path, "w") as file:
            file.write("" if "-c" in words else "#!/bin/sh\n")
        os.chmod(path, 0o755)
    return bool(written)


if __name__ == "__main__":
    main(sys.argv)

"""A corpus from pip alone: the C library musl (MIT) inside the `ziglang` wheel, its files paired with their LLVM IR.

python -m ir_corpus.lm.musl -o build/musl.jsonl

About 1,050 pairs of one language, enough to try `seerc lm` on; `seerc corpus build` makes real ones.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from costmodel.files import write_atomically
from ir_corpus.llvm import BadIR, normalised

TEST = ("ctype", "multibyte", "process", "search", "stdlib", "string", "time")
VALID = ("env", "prng", "stat", "temp")
"""Folders that are held out: what is in them has no near copy elsewhere, as float and double in math would."""
FLAGS = "-std=c99 -nostdinc -ffreestanding -D_XOPEN_SOURCE=700 -fno-sanitize=undefined -w -Oz -S -emit-llvm".split()
INCLUDES = (
    *(f"musl/{folder}" for folder in ("arch/x86_64", "arch/generic", "src/include", "src/internal", "include")),
    "include/x86_64-linux-musl",
    "include/generic-musl",
)


def sources() -> list[Path]:
    """The C files of musl that are not written for one machine."""
    return sorted((_libc() / "musl" / "src").glob("*/*.c"))


def row(source: Path) -> dict[str, str] | None:
    """One line of the corpus; None where the file does not compile or is not text."""
    ir = compiled(source)
    if ir is None:
        return None
    package = source.parent.name
    split = "test" if package in TEST else "valid" if package in VALID else "train"
    text = source.read_text(encoding="utf-8", errors="replace")
    return {"source": text, "ir": ir, "language": "c", "package": package, "split": split, "kind": "file"}


def compiled(source: Path) -> str | None:
    """The normalised IR of one file, or None."""
    import ziglang

    zig = str(Path(ziglang.__file__).parent / "zig")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.ll"
        argv = [zig, "cc", "-target", "x86_64-linux-musl", *FLAGS, *(f"-I{_libc() / i}" for i in INCLUDES)]
        done = subprocess.run([*argv, "-o", str(out), str(source)], capture_output=True, check=False)
        try:
            return normalised(out.read_bytes()).text if done.returncode == 0 else None
        except (BadIR, OSError):
            return None


def _libc() -> Path:
    import ziglang

    return Path(ziglang.__file__).parent / "lib" / "libc"


def _lines() -> Iterator[str]:
    for source in sources():
        found = row(source)
        if found is not None:
            yield json.dumps(found) + "\n"


def main() -> None:
    """Write the corpus as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", dest="output", type=Path, required=True)
    args = parser.parse_args()
    write_atomically(args.output, "".join(_lines()))


if __name__ == "__main__":
    main()

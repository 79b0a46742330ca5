"""Weights on pages of 2 MiB.

A program maps its weights file, whose pages have 4 KiB: a step of a decoder reads every page once, and finds the
translation of none in the TLB. Read into memory of huge pages the same weights stream up to a third faster.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from compiler.native.marshal import Array, address
from compiler.native.program import WEIGHTS, Program

PAGE = 2 << 20
LEAST = 8 << 20
"""Bytes of weights below which nothing is gained: they stay in the caches."""


def on_huge_pages(programs: Sequence[Program]) -> None:
    """Let these programs read their weights from memory on huge pages, equal files once; files are mapped no more.

    For programs that run often: it takes as long as reading the files, and memory that processes do not share. Where
    the system gives no huge pages, the memory has pages as all memory.
    """
    held = dict[str, Array]()
    for program in programs:
        path, made = program.folder / WEIGHTS, program.manifest.files[WEIGHTS]
        if program.maps_weights and made["bytes"] >= LEAST:
            if made["sha256"] not in held:
                held[made["sha256"]] = read_on_huge_pages(path, made["bytes"])
            program.use_weights(held[made["sha256"]])


def read_on_huge_pages(path: Path, size: int) -> Array:
    """The first `size` bytes of a file, in memory that begins with a huge page."""
    memory = mmap.mmap(-1, size + PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without transparent huge pages: pages as of all memory
        memory.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(memory, np.uint8)
    start = -address(whole) % PAGE
    part = whole[start : start + size]
    with path.open("rb", buffering=0) as file:
        done = 0
        while done < size and (count := file.readinto(part[done:].data)):
            done += count
    return part

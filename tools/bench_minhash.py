"""Near-duplicates among many texts: CPU seconds of MinHash, and its recall against exact Jaccard similarities.

python tools/bench_minhash.py FOLDER... [--documents 100000] [--sample 5000] [--jobs 2]

Documents are the source files below FOLDER, cut into pieces of at most 120 lines, in the order of their names; N of
them at random are timed. The oracle drops a document of the sample, a run of them, if the exact similarity of its
5-token runs to an earlier one that it keeps is 0.7 or more. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from ir_corpus.clean.duplicates import THRESHOLD, kept, shingles

_SUFFIXES = (".c", ".h", ".cpp", ".hpp", ".f", ".f90", ".d", ".nim", ".zig", ".hs", ".py", ".rs", ".cr", ".mlir", ".cl")
_LINES = 120
_MARGINS = (THRESHOLD, 0.75, 0.8)


def documents(folders: list[Path]) -> Iterator[str]:
    """Pieces of at least 20 tokens of all source files."""
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES and path.is_file()):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            for start in range(0, len(lines), _LINES):
                text = "\n".join(lines[start : start + _LINES])
                if 100 < len(text) < 100_000:
                    yield text


def oracle(texts: list[str]) -> list[float]:
    """For each text its greatest exact similarity to an earlier one that the oracle keeps."""
    columns: dict[str, int] = {}
    rows = [[columns.setdefault(run, len(columns)) for run in shingles(text)] for text in texts]
    pointers = np.cumsum([0, *map(len, rows)])
    flat = np.concatenate([np.array(row, dtype=np.int32) for row in rows])
    matrix = csr_matrix((np.ones(len(flat), dtype=np.int32), flat, pointers), shape=(len(rows), len(columns)))
    sizes, keep, found = np.diff(pointers), np.zeros(len(rows), dtype=bool), list[float]()
    shared = (matrix @ matrix.T).tocsr()
    for row in range(len(rows)):
        others = shared.indices[shared.indptr[row] : shared.indptr[row + 1]]
        counts = shared.data[shared.indptr[row] : shared.indptr[row + 1]]
        earlier = (others < row) & keep[others]
        similar = counts[earlier] / (sizes[row] + sizes[others[earlier]] - counts[earlier])
        found.append(float(similar.max(initial=0.0)))
        keep[row] = found[-1] < THRESHOLD
    return found


def quality(texts: list[str]) -> dict[str, object]:
    """Shares of what the oracle drops that MinHash drops too, by similarity; and what MinHash drops beyond."""
    similar, flags = np.array(oracle(texts)), ~np.array(list(kept((str(i), t) for i, t in enumerate(texts))))
    recall = {f"recall_from_{m}": round(float(flags[similar >= m].mean()), 4) for m in _MARGINS}
    dropped = int((similar >= THRESHOLD).sum())
    return {
        "sample": len(texts),
        "dropped": dropped,
        **recall,
        "dropped_wrongly": int((flags & (similar < 0.65)).sum()),
    }


def main() -> None:
    """Time the whole, check a sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--sample", type=int, default=5_000)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    texts = list(documents(args.folders))
    chosen = sorted(random.Random(0).sample(range(len(texts)), min(args.documents, len(texts))))
    texts = [texts[index] for index in chosen]
    before, wall = os.times(), time.monotonic()
    flags = list(kept(((str(i), text) for i, text in enumerate(texts)), args.jobs))
    after, wall = os.times(), time.monotonic() - wall
    start = random.Random(1).randrange(max(1, len(texts) - args.sample))
    sample = texts[start : start + args.sample]
    spent = {"cpu_s": round(sum(after[:4]) - sum(before[:4]), 1), "wall_s": round(wall, 1), "jobs": args.jobs}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    whole = {"documents": len(texts), "bytes": sum(map(len, texts)), "kept": sum(flags), **spent, "peak_mib": peak}
    print(json.dumps({**whole, **quality(sample)}, indent=1))


if __name__ == "__main__":
    main()

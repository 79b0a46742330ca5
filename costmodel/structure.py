"""What a workload is made of, without its sizes: the ops of its bodies, its root's form, its place among others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from costmodel.schedules import Array
from costmodel.workload import Op, parse_workload

KEPT = 16384
"""Texts whose structure is remembered: every seed of a split asks for all of them."""


@lru_cache(maxsize=KEPT)
def ingredients(text: str) -> frozenset[str]:
    """What the split unseen-ops holds out: the ops of all bodies, and the root's kind, reductions and windows."""
    workload = parse_workload(text)
    root = workload.ops[workload.root]
    window = "windows" if _windows(root) else "plain"
    form = f"{workload.kind} root, {root.iterators.count('reduction')} reductions, {window}"
    return frozenset(name for op in workload.ops for name in op.body) | {form}


def structures(texts: Sequence[str]) -> Array:
    """(n, features): log2(1 + count) of each op, of the root's loops and windows, of ops and arguments; the kind.

    Extents do not enter: workloads that differ in shapes alone have equal rows. The distance of two rows is L1, so 1 is
    one op more that the other lacks, or one count doubled.
    """
    counts = [_counts(t) for t in texts]
    names = sorted({name for count in counts for name in count})
    return np.log2(1.0 + np.array([[count[name] for name in names] for count in counts], dtype=np.float64))


def clusters(rows: Array, share: float, cover: float) -> tuple[NDArray[np.int64], float]:
    """(cluster of each row, gap): rows of different clusters are further apart than the gap.

    Single linkage, cut where the gap is as wide as it can be while the clusters that hold at most `share` of the rows
    together hold at least `cover` of them. A gap of 0 keeps equal rows together.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    unique, inverse, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    if len(unique) < 2:
        return np.zeros(len(rows), dtype=np.int64), 0.0
    tree = linkage(unique, "single", metric="cityblock")
    for gap in [*np.unique(tree[:, 2])[::-1].tolist(), 0.0]:
        found = fcluster(tree, gap, "distance")
        sizes = np.bincount(found, weights=counts)
        if sizes[sizes <= share * len(rows)].sum() >= cover * len(rows) or gap == 0.0:
            return found[inverse].astype(np.int64), gap
    raise AssertionError("the loop ends at a gap of 0")


@lru_cache(maxsize=KEPT)
def _counts(text: str) -> Counter[str]:
    workload = parse_workload(text)
    root = workload.ops[workload.root]
    count = Counter(name for op in workload.ops for name in op.body)
    return count + Counter(
        {
            f"kind {workload.kind}": 1,
            "parallel loops": root.iterators.count("parallel"),
            "reduction loops": root.iterators.count("reduction"),
            "windows": _windows(root),
            "structured ops": sum(bool(op.maps) for op in workload.ops),
            "arguments": workload.arguments,
        }
    )


def _windows(op: Op) -> int:
    """Operands that are indexed by more than plain dimensions."""
    return sum(any(len(e.terms) > 1 or not e.linear for e in m) for m in op.maps)

"""Splits of a dataset into training and test rows. No canonical workload hash is ever on both sides.

A split gives every workload labels and holds some labels out, with every workload that carries one of them: so each
test workload carries a label (a network, a shape, an op ...) that no training workload has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from numpy.typing import NDArray

from costmodel.dataset import Dataset
from costmodel.errors import SeercError, unknown_name
from costmodel.structure import clusters, ingredients, structures

Mask = NDArray[np.bool_]
Labels = Sequence[AbstractSet[str]]
TEST_SHARE = 0.2
"""Share of the workloads that a split holds out, if the sizes of its labels allow."""
SLACK = 1.25
"""A split holds out at most so many times TEST_SHARE, if they allow."""


def random(data: Dataset) -> Labels:
    """Workloads held out at random: the easiest split, for reference."""
    return [{h} for h in data.hashes]


def unseen_networks(data: Dataset) -> Labels:
    """Whole networks held out, with every workload that occurs in one of them, shared or not (TenSet's split)."""
    return [set(names) for names in data.networks]


def dissimilar_programs(data: Dataset) -> Labels:
    """Clusters of structure held out (`structure.clusters`): op counts, kind and loops, never shapes.

    In the spirit of the manual split of "A Learned Performance Model for TPUs" (arXiv 2008.01040), by rule.
    """
    found, _ = clusters(structures(data.texts), SLACK * TEST_SHARE, 2 * TEST_SHARE)
    return [{str(c)} for c in found]


def unseen_shapes(data: Dataset) -> Labels:
    """Root extents held out: no test workload has the loop extents of a training workload, in whatever order."""
    return [{str(shape)} for shape in data.shapes]


def unseen_ops(data: Dataset) -> Labels:
    """Ops of the bodies, and forms of the root (kind, reductions, windows), held out."""
    return [ingredients(text) for text in data.texts]


SPLITS: dict[str, Callable[[Dataset], Labels]] = {
    "random": random,
    "unseen-networks": unseen_networks,
    "dissimilar-programs": dissimilar_programs,
    "unseen-shapes": unseen_shapes,
    "unseen-ops": unseen_ops,
    "unseen-targets": random,
}
"""Name to the labels of every workload. `unseen-targets` holds out a kind of target as well."""


def split(data: Dataset, name: str, seed: int) -> tuple[Mask, Mask]:
    """(training mask, test mask) over the rows of a dataset.

    With `unseen-targets`, rows of held-out workloads on seen targets, and of other workloads on the unseen one, are on
    neither side.

    Raises:
        SeercError: unknown split, or too little data for it.
    """
    if name not in SPLITS:
        raise unknown_name("split", name, SPLITS)
    generator = np.random.default_rng(seed)
    unseen = _unseen_target(data, generator) if name == "unseen-targets" else np.ones(len(data), dtype=np.bool_)
    labels = SPLITS[name](data)
    if len({label for found in labels for label in found}) < 2:
        raise SeercError(
            f"the split {name} cannot part the records: all are alike; collect more, or take another split"
        )
    held = _hold_out(labels, np.unique(data.workloads[unseen]), generator)
    inside = np.isin(data.workloads, held)
    train, test = ~inside & (~unseen | unseen.all()), inside & unseen
    for side, purpose in ((train, "train"), (test, "test")):
        if not side.any():
            raise SeercError(f"the split {name} leaves nothing to {purpose} on; collect more workloads")
    return train, test


def _hold_out(labels: Labels, present: NDArray[np.int64], generator: np.random.Generator) -> list[int]:
    """Workloads that carry held-out labels: labels are drawn until TEST_SHARE of the present workloads are held."""
    owners: dict[str, set[int]] = {}
    for w in present.tolist():
        for label in labels[w]:
            owners.setdefault(label, set()).add(w)
    names = sorted(owners)
    # a label that most workloads carry cannot be held out; with few labels the limit gives way
    limit = next(
        (c for c in (SLACK * TEST_SHARE, 0.5) if any(len(o) <= c * len(present) for o in owners.values())), 1.0
    )
    held: set[int] = set()
    for i in generator.permutation(len(names)):
        more = held | owners[names[i]]
        if len(more) <= limit * len(present):
            held = more
        if len(held) >= TEST_SHARE * len(present):
            break
    return sorted(held)


def _unseen_target(data: Dataset, generator: np.random.Generator) -> Mask:
    """Rows of one kind of target (`Target.hash`)."""
    kinds = np.array([t.hash for t in data.targets])[data.machines]
    names = np.unique(kinds)
    if len(names) < 2:
        raise SeercError(
            f"the split unseen-targets needs records of two kinds of target, found one ({data.target.name}); "
            "merge what was collected for another"
        )
    return kinds == names[generator.integers(len(names))]

"""Splits of a dataset into training and test rows. No workload hash is ever on both sides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from costmodel.dataset import Dataset
from costmodel.errors import SeercError, unknown_name

Mask = NDArray[np.bool_]
TEST_SHARE = 0.2


def random(data: Dataset, generator: np.random.Generator) -> set[int]:
    """Workloads held out at random: the easiest split, for reference."""
    return _take(generator.permutation(len(data.hashes)), TEST_SHARE * len(data.hashes))


def unseen_networks(data: Dataset, generator: np.random.Generator) -> set[int]:
    """Whole networks held out, with every workload that occurs in one of them, shared or not."""
    names = sorted({n for networks in data.networks for n in networks})
    if len(names) < 2:
        raise SeercError(f"the split unseen-networks needs records of two networks, found {len(names)}")
    held: set[str] = set()
    test: set[int] = set()
    for i in generator.permutation(len(names)):
        more = {w for w, networks in enumerate(data.networks) if names[i] in networks}
        if held and len(test | more) > 1.25 * TEST_SHARE * len(data.hashes):
            continue
        held.add(names[i])
        test |= more
        if len(test) >= TEST_SHARE * len(data.hashes):
            break
    return test


def unseen_shapes(data: Dataset, generator: np.random.Generator) -> set[int]:
    """Root extents held out: no test workload has the loop extents of a training workload."""
    shapes = sorted(set(data.shapes))
    held: set[int] = set()
    for i in generator.permutation(len(shapes)):
        held |= {w for w, shape in enumerate(data.shapes) if shape == shapes[i]}
        if len(held) >= TEST_SHARE * len(data.hashes):
            break
    return held


SPLITS: dict[str, Callable[[Dataset, np.random.Generator], set[int]]] = {
    "random": random,
    "unseen-networks": unseen_networks,
    "unseen-shapes": unseen_shapes,
}


def split(data: Dataset, name: str, seed: int) -> tuple[Mask, Mask]:
    """(training mask, test mask) over the rows of a dataset.

    Raises:
        SeercError: unknown split, or too little data for it.
    """
    if name not in SPLITS:
        raise unknown_name("split", name, SPLITS)
    held = SPLITS[name](data, np.random.default_rng(seed))
    test = np.isin(data.workloads, sorted(held))
    if test.all() or not test.any():
        raise SeercError(
            f"the split {name} leaves nothing to {'train' if test.all() else 'test'} on; collect more workloads"
        )
    return ~test, test


def _take(order: NDArray[np.int64], count: float) -> set[int]:
    return set(order[: max(1, round(count))].tolist())

"""No canonical workload hash crosses a split, and each split keeps what its name promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import costmodel
from costmodel.dataset import Dataset, load_dataset
from costmodel.errors import SeercError
from costmodel.record import Record, read_table, to_table
from costmodel.split import SLACK, SPLITS, TEST_SHARE, split
from costmodel.structure import clusters, ingredients, structures
from costmodel.text import canonical, hash_text

SEEDS = range(10)
ZOO = Path(costmodel.__file__).parent / "data" / "records.parquet"
ONE_TARGET = [name for name in SPLITS if name != "unseen-targets"]


@pytest.fixture(scope="module")
def dataset(records: list[Record]) -> Dataset:
    return load_dataset(to_table(records))


@pytest.fixture(scope="module")
def zoo() -> Dataset:
    return load_dataset(read_table(ZOO))


@pytest.fixture(scope="module")
def hashes(zoo: Dataset) -> NDArray[np.str_]:
    """The canonical hash of every shipped workload, made from its text anew."""
    return np.array([hash_text(canonical(text)) for text in zoo.texts])


@pytest.fixture(scope="module")
def two_targets(records: list[Record]) -> Dataset:
    """The same workloads on two kinds of target, and on one of them measured twice."""
    data = load_dataset(to_table(records))
    wide = replace(data.targets[0], name="wide", vector_bytes=64)
    again = replace(wide, peak_gflops_core=123.0)
    machines = np.arange(len(data)) % 3
    return replace(data, targets=(data.targets[0], wide, again), machines=machines)


def sides(data: Dataset, name: str, seed: int) -> tuple[set[int], set[int]]:
    return tuple(set(data.workloads[rows].tolist()) for rows in split(data, name, seed))  # type: ignore[return-value]


@pytest.mark.parametrize("name", ONE_TARGET)
def test_every_row_is_on_one_side(dataset: Dataset, name: str) -> None:
    for seed in SEEDS:
        train, test = split(dataset, name, seed)
        assert (train ^ test).all()
        known, held = sides(dataset, name, seed)
        assert not known & held
        assert 0 < len(held) <= 0.5 * len(dataset.hashes)


@pytest.mark.parametrize("name", ONE_TARGET)
def test_no_canonical_hash_of_the_shipped_dataset_crosses(zoo: Dataset, hashes: NDArray[np.str_], name: str) -> None:
    for seed in SEEDS:
        known, held = sides(zoo, name, seed)
        assert not set(hashes[sorted(known)]) & set(hashes[sorted(held)])
        assert 0.5 * TEST_SHARE < len(held) / len(hashes) <= SLACK * TEST_SHARE


def test_seeds_draw_different_splits(zoo: Dataset) -> None:
    for name in ONE_TARGET:
        assert len({frozenset(sides(zoo, name, seed)[1]) for seed in SEEDS}) > 5
        assert sides(zoo, name, 3) == sides(zoo, name, 3)


@pytest.mark.parametrize("data", ["dataset", "zoo"])
def test_held_out_networks_are_unseen(data: str, request: pytest.FixtureRequest) -> None:
    found: Dataset = request.getfixturevalue(data)
    for seed in SEEDS:
        known, held = sides(found, "unseen-networks", seed)
        whole = {n for w in held for n in found.networks[w]} - {n for w in known for n in found.networks[w]}
        assert all(whole & set(found.networks[w]) for w in held)


def test_held_out_shapes_are_unseen(zoo: Dataset) -> None:
    for seed in SEEDS:
        known, held = sides(zoo, "unseen-shapes", seed)
        assert not {zoo.shapes[w] for w in known} & {zoo.shapes[w] for w in held}


def test_held_out_ops_are_unseen(zoo: Dataset) -> None:
    for seed in SEEDS:
        known, held = sides(zoo, "unseen-ops", seed)
        seen = set[str]().union(*(ingredients(zoo.texts[w]) for w in known))
        assert all(ingredients(zoo.texts[w]) - seen for w in held)


def test_dissimilar_programs_are_a_gap_apart(zoo: Dataset) -> None:
    rows = structures(zoo.texts)
    _, gap = clusters(rows, SLACK * TEST_SHARE, 2 * TEST_SHARE)
    assert gap >= 1.0
    for seed in SEEDS:
        known, held = sides(zoo, "dissimilar-programs", seed)
        seen = np.unique(rows[sorted(known)], axis=0)
        assert all(np.abs(seen - row).sum(axis=1).min() > gap for row in np.unique(rows[sorted(held)], axis=0))


def test_structure_does_not_know_shapes(dataset: Dataset) -> None:
    assert len(dataset.hashes) > len(np.unique(structures(dataset.texts), axis=0)) == 2


def test_clusters_of_points_on_a_line() -> None:
    points = np.array([[0.0], [0.5], [1.0], [5.0], [5.5], [9.0]])
    found, gap = clusters(points, share=0.5, cover=0.9)
    assert [found[0] == f for f in found] == [True] * 3 + [False] * 3
    assert found[3] == found[4] == found[5]
    assert gap == 3.5
    assert len(set(clusters(points, share=0.4, cover=0.5)[0].tolist())) == 3


def test_unseen_targets_trains_on_other_workloads_and_other_targets_only(two_targets: Dataset) -> None:
    kinds = np.array([t.hash for t in two_targets.targets])[two_targets.machines]
    for seed in SEEDS:
        train, test = split(two_targets, "unseen-targets", seed)
        assert not set(two_targets.workloads[train]) & set(two_targets.workloads[test])
        assert len(set(kinds[test])) == 1
        assert not set(kinds[train]) & set(kinds[test])
    assert len({kinds[split(two_targets, "unseen-targets", seed)[1]][0] for seed in SEEDS}) == 2


def test_what_cannot_be_split_is_told(dataset: Dataset) -> None:
    with pytest.raises(SeercError, match="needs records of two kinds of target"):
        split(dataset, "unseen-targets", 0)
    with pytest.raises(SeercError, match="did you mean unseen-shapes"):
        split(dataset, "unseen-shape", 0)
    one = dataset.take(dataset.workloads == 0)
    for name in ONE_TARGET:
        with pytest.raises(SeercError, match=name):
            split(one, name, 0)

"""The fitted bound: equal to the counted one by default, better after a fit, and true constants are found again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from costmodel.bound import FACTORS, Constants, bound, fit, shares, terms
from costmodel.counting import NAMES
from costmodel.dataset import Dataset, load_dataset
from costmodel.operations import CLASSES
from costmodel.record import Record, to_table
from costmodel.schedules import Array


@pytest.fixture(scope="module")
def dataset(records: list[Record]) -> Dataset:
    return load_dataset(to_table(records))


def total(counts: Array, constants: Constants) -> Array:
    return bound(terms(counts, constants), constants)


def test_without_a_fit_it_is_the_bound_that_was_counted(dataset: Dataset) -> None:
    readable = dataset.counts[:, NAMES.index("readable")] > 0
    assert readable.any()
    counted = dataset.counts[readable, NAMES.index("bound_ns")]
    np.testing.assert_allclose(total(dataset.counts[readable], Constants()), counted, rtol=1e-12)


def test_a_fit_finds_what_the_latencies_were_made_with(dataset: Dataset) -> None:
    factors = dict(zip(FACTORS, Constants().factors, strict=True)) | {"load": 1.7, "overhead": 2.5, "call": 40.0}
    slots = dict(zip(CLASSES, Constants().slots, strict=True)) | {"broadcast": 2.0, "store": 5.0}
    made = total(dataset.counts, Constants(tuple(slots.values()), tuple(factors.values())))
    found = fit(dataset.counts, made, np.ones(len(made)))
    wrong = np.abs(np.log(total(dataset.counts, found) / made)).mean()
    assert wrong < 0.1 * np.abs(np.log(total(dataset.counts, Constants()) / made)).mean()


def test_what_is_not_readable_is_not_fitted(dataset: Dataset) -> None:
    counts = dataset.counts.copy()
    counts[:, NAMES.index("readable")] = 0.0
    assert fit(counts, dataset.measured["latency_ns"], np.ones(len(counts))) == Constants()


def test_shares_are_of_the_whole(dataset: Dataset) -> None:
    counts = dataset.counts[dataset.counts[:, NAMES.index("readable")] > 0]
    constants = replace(Constants(), factors=tuple(2.0 * f for f in Constants().factors))
    parts = terms(counts, constants)
    found = shares(counts, parts, bound(parts, constants), constants)
    assert found.shape == (len(counts), len(parts) + len(CLASSES))
    np.testing.assert_allclose(found[:, len(parts) :].sum(axis=1), 1.0)
    assert (found[:, : len(parts)] >= 0.0).all()

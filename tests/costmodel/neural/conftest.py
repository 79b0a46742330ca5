"""Synthetic records as a dataset, and options that train in seconds."""

from __future__ import annotations

import pytest

from costmodel.dataset import Dataset, load_dataset
from costmodel.neural.options import NeuralOptions
from costmodel.record import Record, to_table


@pytest.fixture(scope="session")
def dataset(records: list[Record]) -> Dataset:
    """720 rows of 24 workloads and 6 networks."""
    return load_dataset(to_table(records))


@pytest.fixture(scope="session")
def quick() -> NeuralOptions:
    """A small network and few epochs."""
    return NeuralOptions(tokenizer="seerc", hidden=32, layers=2, dropout=0.0, batch=4, epochs=30, lr=4e-3, device="cpu")

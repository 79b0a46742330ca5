"""A dataset, or candidate texts, as what a network reads; and padded batches of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from costmodel.dataset import Dataset
from costmodel.neural.columns import columns
from costmodel.neural.labels import labels, offsets
from costmodel.neural.reading import Reader, Reading
from costmodel.schedules import Array, schedules


@dataclass(frozen=True)
class Inputs:
    """n candidates; each distinct workload is read once."""

    readings: tuple[Reading, ...]
    owner: NDArray[np.int64]
    """(n,): index into `readings`."""
    columns: NDArray[np.float32]
    """(n, c): `columns.columns`."""
    offsets: Array
    """(n, m): what the outputs are added to (`labels.offsets`)."""

    def __len__(self) -> int:
        return len(self.owner)


@dataclass(frozen=True)
class Examples:
    """n measured candidates."""

    inputs: Inputs
    residuals: NDArray[np.float32]
    """(n, m): labels less offsets; NaN where a metric was not obtained."""
    tasks: NDArray[np.int64]
    """(n,): candidates of one task compete."""
    speed: NDArray[np.float32]
    """(n,): latency of the task's fastest over the row's; 1 is the best."""


@dataclass(frozen=True)
class Texts:
    """Readings padded to w workloads of t ids."""

    ids: Tensor
    """(w, t) int64; 0 is padding."""
    numbers: Tensor
    """(w, t, channels)."""
    edges: Tensor
    """(e, 3) int64: nodes are counted over the flattened (w, t)."""

    @property
    def mask(self) -> Tensor:
        """(w, t): 1 where an id stands."""
        return (self.ids != 0).float()

    @property
    def lengths(self) -> Tensor:
        """(w,) at least 1."""
        return (self.ids != 0).sum(1).clamp(min=1)


def dataset_inputs(data: Dataset, reader: Reader, prior: bool) -> Inputs:
    """Every row of a dataset; only workloads that have rows are read."""
    used, owner = np.unique(data.workloads, return_inverse=True)
    parsed = schedules([str(s) for s in data.schedules])
    table = columns(parsed, data.machines, data.targets, data.prior, prior)
    readings = tuple(reader.read(data.texts[w]) for w in used)
    return Inputs(readings, owner.astype(np.int64), table.astype(np.float32), offsets(data.prior, prior))


def examples(data: Dataset, inputs: Inputs) -> Examples:
    """The inputs with what was measured."""
    latency = data.measured["latency_ns"]
    tasks = data.tasks.astype(np.int64)
    best = np.full(tasks.max() + 1, np.inf)
    np.fmin.at(best, tasks, latency)
    residuals = labels(data.measured, len(data)) - inputs.offsets
    return Examples(inputs, residuals.astype(np.float32), tasks, (best[tasks] / latency).astype(np.float32))


def pad(readings: Sequence[Reading], device: torch.device | str = "cpu") -> Texts:
    """Readings as one batch, padded to the longest."""
    longest = max(1, max(len(r.ids) for r in readings))
    ids = np.zeros((len(readings), longest), dtype=np.int64)
    numbers = np.zeros((len(readings), longest, readings[0].numbers.shape[1]), dtype=np.float32)
    for i, reading in enumerate(readings):
        ids[i, : len(reading.ids)] = reading.ids
        numbers[i, : len(reading.ids)] = reading.numbers
    shifts = [r.edges + np.array([i * longest, i * longest, 0], dtype=np.int32) for i, r in enumerate(readings)]
    edges = np.concatenate(shifts).astype(np.int64)
    found = (torch.from_numpy(a).to(device) for a in (ids, numbers, edges))
    return Texts(*found)

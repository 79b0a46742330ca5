"""Batches of training: some workloads, each encoded once, with a sample of their candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from costmodel.neural.inputs import Examples, Texts, pad
from costmodel.neural.options import NeuralOptions
from costmodel.neural.reading import Reading

SIMILAR = 8
"""Batches that are sorted by length together, so that little is padding."""


@dataclass(frozen=True)
class Batch:
    """n rows of w workloads, on the device of the network."""

    texts: Texts
    owner: Tensor
    columns: Tensor
    labels: Tensor
    """(n, metrics), not yet standardised."""
    tasks: Tensor
    speed: Tensor


def plan_epoch(examples: Examples, options: NeuralOptions, epoch: int, world: int = 1) -> list[NDArray[np.int64]]:
    """The rows of each batch of an epoch; a function of seed and epoch alone, so that a resumed run goes on alike.

    `world` processes take a batch in turn; the last incomplete turn is left out, unless it is the only one.
    """
    generator = np.random.default_rng((options.seed, epoch))
    rows_of = _rows_by_workload(examples.inputs.owner)
    mixed = shuffled_batches(examples.inputs.readings, options.batch, generator, world)
    return [np.concatenate([_draw(rows_of[w], options.candidates, generator) for w in b]) for b in mixed]


def shuffled_batches(
    readings: Sequence[Reading], size: int, generator: np.random.Generator, world: int = 1
) -> list[NDArray[np.int64]]:
    """Every reading once, in batches of `size` of similar lengths; see `plan_epoch` for `world`."""
    order = generator.permutation(len(readings))
    lengths = np.array([len(r.ids) for r in readings])
    pool = size * SIMILAR
    pools = [order[i : i + pool] for i in range(0, len(order), pool)]
    sorted_pools = [p[np.argsort(lengths[p], kind="stable")] for p in pools]
    batches = [p[i : i + size] for p in sorted_pools for i in range(0, len(p), size)]
    mixed = [batches[i] for i in generator.permutation(len(batches))]
    return mixed[: len(mixed) // world * world] or mixed * world


def make_batch(
    examples: Examples, rows: NDArray[np.int64], options: NeuralOptions, seed: int, device: torch.device
) -> Batch:
    """The batch of some rows; some of its ids become `<unk>`."""
    inputs = examples.inputs
    used, owner = np.unique(inputs.owner[rows], return_inverse=True)
    texts = pad([inputs.readings[w] for w in used])
    arrays = (owner, inputs.columns[rows], examples.residuals[rows], examples.tasks[rows], examples.speed[rows])
    tensors = [torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in arrays]
    hidden = torch.from_numpy(np.random.default_rng(seed).random(texts.ids.shape) < options.unknown)
    ids = torch.where(hidden & (texts.ids > 0), 1, texts.ids)
    return Batch(Texts(ids.to(device), texts.numbers.to(device), texts.edges.to(device)), *tensors)


def _rows_by_workload(owner: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    order = np.argsort(owner, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(owner[order])) + 1)


def _draw(rows: NDArray[np.int64], most: int, generator: np.random.Generator) -> NDArray[np.int64]:
    return rows if len(rows) <= most else np.sort(generator.choice(rows, most, replace=False))

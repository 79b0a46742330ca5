"""What a frontend hands to the compiler: linalg text, the weights beside it, and how to run the model eagerly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from costmodel.errors import SeercError

Array = np.ndarray[Any, Any]


class FrontendError(SeercError):
    """A model or a model spec that cannot be turned into linalg; the message is for the user."""


@dataclass(frozen=True)
class TensorSpec:
    """Name, static shape and MLIR element type (`f32`, `i64`, `i1`, ...) of one input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.name}={'x'.join([*map(str, self.shape), self.dtype])}"


@dataclass(frozen=True)
class ImportedModel:
    """`@main(weights..., inputs...) -> outputs` as linalg on tensors.

    `weights` is ordered as the weight arguments are; its arrays may be strided views (a transposed linear weight).
    `sources` says where the model came from: the spec and the versions of the packages that lowered it.
    """

    name: str
    text: str
    weights: Mapping[str, Array]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    sources: Mapping[str, str]


@dataclass(frozen=True)
class LoadedModel:
    """An imported model, its seeded example inputs and, where there is one, the eager model to compare with.

    `eager` takes arrays in the order of `imported.inputs` and returns arrays in the order of `imported.outputs`;
    `module` is the torch module behind it, called with `example_inputs` as tensors.
    """

    imported: ImportedModel
    example_inputs: tuple[Array, ...]
    eager: Callable[..., tuple[Array, ...]] | None = None
    module: Any = None

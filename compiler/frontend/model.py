"""What a frontend hands to the compiler: linalg text, the weights beside it, and how to run the model eagerly."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.errors import SeercError

Array = np.ndarray[Any, Any]


class FrontendError(SeercError):
    """A model or a model spec that cannot be turned into linalg; the message is for the user."""


def failure(what: str, error: Exception) -> FrontendError:
    """The error for an exception of code that is not seerc's: `WHAT: KeyError: 'x' (model.py:12)`, in one line."""
    text = str(error).strip()
    if isinstance(error, MemoryError) or "can't allocate memory" in text or "not enough memory" in text:
        wanted = re.search(r"allocate ([\d.]+ \w+)", text)
        size = f" (asked for {wanted[1]} at once)" if wanted else ""
        return FrontendError(f"{what}: out of memory{size}: use a smaller model, batch or sequence")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(Path(f.filename))]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    first = text.splitlines()[0] if text else "no message"
    return FrontendError(f"{what}: {type(error).__name__}: {first}{place}")


def _is_users(path: Path) -> bool:
    """Whether the user learns something from a line of this file."""
    return path.is_file() and "torch" not in path.parts and Path(__file__).parent not in path.parents


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

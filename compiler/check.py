"""Does a program compute what the model does?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from compiler.driver import relative_error
from compiler.frontend.model import Array, LoadedModel
from compiler.native.program import Program
from costmodel.errors import SeercError

TOLERANCE = 1e-4
"""Largest max |y - ref| / max |ref| of a program that is right, in f32."""


def program_error(program: Program, model: LoadedModel, threads: int | None = None) -> float:
    """The largest `relative_error` against the eager model, on the example inputs and on the same rolled by one.

    The second set shows a program that computes with its example inputs in place of what it is given. NaN or infinity
    where NaNs or shapes differ. SeercError if there is no eager model.
    """
    if model.eager is None:
        raise SeercError(
            f"{model.imported.name} comes from a file without a PyTorch model: there is nothing to compare"
        )
    errors = [relative_error(program(*x, threads=threads), model.eager(*x)) for x in _input_sets(model.example_inputs)]
    return float(np.max(errors))


def agrees(error: float) -> bool:
    """Whether an error is within the tolerance; NaN is not."""
    return error <= TOLERANCE


def _input_sets(example: tuple[Array, ...]) -> Iterator[tuple[Array, ...]]:
    yield example
    yield tuple(np.roll(x, 1, axis=-1) if x.ndim else x for x in example)

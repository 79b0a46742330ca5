"""Drafts whose weights have 8 bits (all sub-blocks and the head), as the torch model computes them while measured."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from transformers.pytorch_utils import Conv1D

from compiler.adapt.alternatives import rounded
from compiler.adapt.layers import matrix_of
from compiler.adapt.stream import ResidualStream


class Int8Drafts:
    """Called, a context in which the stream's model has its rounded weights; a second copy of them is kept."""

    def __init__(self, stream: ResidualStream) -> None:
        modules = [linear for block in range(stream.blocks + 1) for linear in stream.linears(block)]
        self._weights = [(module, module.weight.data, _rounded_weight(module)) for module in modules]

    @contextmanager
    def __call__(self) -> Generator[None]:
        try:
            for module, _, values in self._weights:
                module.weight.data = values
            yield
        finally:
            for module, exact, _ in self._weights:
                module.weight.data = exact


def _rounded_weight(linear: Any) -> Tensor:
    values = rounded(matrix_of(linear))
    return values.T.contiguous() if isinstance(linear, Conv1D) else values

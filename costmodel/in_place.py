"""A kernel inside a program: what its latency is there, from what it is predicted to be alone.

A record's latency is measured with operands in the near caches (weights go round a few MiB). In a decoder every weight
is read once a step, from wherever the whole model's weights fit. A contraction takes what streaming that operand takes
on this machine (measured by footprint and rows: how well arithmetic hides behind reading differs by machine), or the
kernel alone if that is longer, more where the two are alike, as they overlap in part only, and a constant for a call.
Other kernels take a constant factor longer than alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from costmodel.errors import SeercError
from costmodel.facts import facts
from costmodel.workload import parse_workload

DEFAULT = Path(__file__).parent / "models" / "in_place.json"
_NARROW = 64
Bandwidth = Callable[[float, float], float]
"""Bytes per nanosecond at which a core streams memory of so many bytes, again and again, through products of so many
rows."""


@dataclass(frozen=True)
class KernelUse:
    """One call of a kernel: its predicted latency alone, the bytes of the operand it streams."""

    predicted_ns: float
    streamed_bytes: float
    contraction: bool
    rows: float = 1.0
    """Rows that every streamed number is multiplied with."""
    strided: float = 0.0
    """Length of the rows of an operand that is streamed tile by tile across them (a key/value cache); 0: packed."""


@dataclass(frozen=True)
class InPlace:
    """Fitted by `tools/in_place.py` on calls timed inside programs."""

    read: float = 1.0
    """Of the time to stream an operand as fast as was measured."""
    alone: float = 1.0
    """Of the predicted latency of a contraction."""
    cache: float = 1.2
    """Of the time to stream a cache, in place of `read`, where its rows have _NARROW numbers."""
    strides: float = 0.25
    """Power of the rows' length in that: a tile reads a part of each row, and the next row is in another page."""
    overlap: float = 3.0
    """The two times add up as their powers do: at 1 one after the other, at infinity the longer one."""
    call_ns: float = 200.0
    other: float = 1.5
    """Of the predicted latency of all other kernels."""
    other_call_ns: float = 300.0
    spread: float = 0.1
    """Relative error of a block's time that nine of ten blocks of programs left out of the fit stay below."""

    def nanoseconds(
        self, uses: Sequence[KernelUse], bandwidth: Bandwidth, footprint: float | None = None
    ) -> list[float]:
        """Latency of each call of one run. `footprint`: bytes that a run streams; None: what the calls stream."""
        around = sum(use.streamed_bytes for use in uses) if footprint is None else footprint
        return [self._nanoseconds(use, bandwidth(around, use.rows)) for use in uses]

    def _nanoseconds(self, use: KernelUse, bandwidth: float) -> float:
        if not use.contraction:
            return self.other * use.predicted_ns + self.other_call_ns
        slower = self.cache * (use.strided / _NARROW) ** self.strides if use.strided else self.read
        parts = np.array([slower * use.streamed_bytes / bandwidth, self.alone * use.predicted_ns])
        return float(np.linalg.norm(parts, self.overlap)) + self.call_ns


def read_in_place(path: Path = DEFAULT) -> InPlace:
    """The shipped fit; SeercError if the file is damaged."""
    try:
        return InPlace(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise SeercError(f"{path} is no fit of kernels in place: {error}: run tools/in_place.py fit") from error


def to_json(fit: InPlace) -> str:
    return json.dumps(asdict(fit), indent=1) + "\n"


def kernel_use(workload: str, predicted_ns: float) -> KernelUse:
    """Reads what counts from a workload's text."""
    found = facts(parse_workload(workload))
    if found.kind != "contraction":
        return KernelUse(predicted_ns, 0.0, False)
    strided = found.columns if found.outer > 1 else 0.0
    return KernelUse(predicted_ns, found.columns_bytes, True, found.rows, strided)

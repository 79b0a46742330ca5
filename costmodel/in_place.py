"""A kernel inside a program: what its latency is there, from what it is predicted to be alone.

A record's latency is measured with operands in the near caches (weights go round a few MiB). In a decoder every weight
is read once a step, from wherever the whole model's weights fit. Two parts add up: reading the operand that is not in
cache or the kernel alone, whichever takes longer, and a share of its arithmetic, which the reading does not hide
completely; plus a constant for a call. Small kernels take a constant factor longer than alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from costmodel.errors import SeercError
from costmodel.facts import facts
from costmodel.target import Target
from costmodel.workload import parse_workload

DEFAULT = Path(__file__).parent / "models" / "in_place.json"
Bandwidth = Callable[[float], float]
"""Bytes per nanosecond at which a core reads memory of so many bytes again and again."""


@dataclass(frozen=True)
class KernelUse:
    """One call of a kernel: its predicted latency alone, the bytes of the operand it streams, its multiply-adds."""

    predicted_ns: float
    streamed_bytes: float
    macs: float
    contraction: bool


@dataclass(frozen=True)
class InPlace:
    """Fitted by `tools/in_place.py` on calls timed inside programs."""

    read: float = 1.0
    """Of the time to read the streamed operand at the measured bandwidth."""
    alone: float = 1.0
    """Of the predicted latency of a contraction."""
    arithmetic: float = 0.5
    """Of the multiply-adds at the measured peak."""
    call_ns: float = 200.0
    other: float = 1.5
    """Of the predicted latency of all other kernels."""
    other_call_ns: float = 300.0
    spread: float = 0.1
    """Relative error of a block's time that nine of ten blocks of programs left out of the fit stay below."""

    def nanoseconds(
        self, uses: Sequence[KernelUse], bandwidth: Bandwidth, target: Target, footprint: float | None = None
    ) -> list[float]:
        """Latency of each call of one run. `footprint`: bytes that a run streams; None: what the calls stream."""
        alone, streamed, macs = (
            np.array(v) for v in zip(*((u.predicted_ns, u.streamed_bytes, u.macs) for u in uses), strict=True)
        )
        contraction = np.array([u.contraction for u in uses])
        read = streamed / bandwidth(float(streamed.sum()) if footprint is None else footprint)
        arithmetic = 2 * macs / target.peak_gflops_core
        own = np.maximum(self.read * read, self.alone * alone) + self.arithmetic * arithmetic + self.call_ns
        return np.where(contraction, own, self.other * alone + self.other_call_ns).tolist()


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
    contraction = found.kind == "contraction"
    return KernelUse(predicted_ns, found.columns_bytes if contraction else 0.0, found.macs, contraction)

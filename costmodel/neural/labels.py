"""The space that metrics are learned in: logarithms of sizes, plain shares, with or without the analytic prior."""

from __future__ import annotations

import numpy as np

from costmodel.schedules import Array

METRICS = ("latency_ns", "registers", "spills", "vector_utilisation", "instructions", "code_bytes")
"""What the networks predict, in the order of their outputs."""
LOSS_WEIGHT = (3.0, 0.5, 0.5, 0.5, 0.5, 0.5)
SMALLEST = 1e-3


def to_space(metric: str, value: Array) -> Array:
    """log of latency, instructions and bytes; log(1 + n) of spills; registers and shares as they are."""
    if metric in ("registers", "vector_utilisation"):
        return value
    if metric == "spills":
        return np.log1p(np.maximum(value, 0.0))
    return np.log(np.maximum(value, SMALLEST))


def from_space(metric: str, value: Array) -> Array:
    """The inverse of `to_space`, within the metric's bounds."""
    if metric == "vector_utilisation":
        return np.clip(value, 0.0, 1.0)
    if metric == "registers":
        return np.maximum(value, 0.0)
    value = np.clip(value, -50.0, 50.0)
    return np.maximum(np.expm1(value), 0.0) if metric == "spills" else np.exp(value)


def offsets(prior: dict[str, Array], use: bool) -> Array:
    """What the network's outputs are added to, shape (n, len(METRICS)): the prior in label space, or zeros."""
    columns = np.stack([to_space(m, prior[m]) for m in METRICS], axis=1)
    return columns if use else np.zeros_like(columns)


def labels(measured: dict[str, Array], count: int) -> Array:
    """Measured metrics in label space, shape (n, len(METRICS)); NaN where one was not obtained."""
    missing = np.full(count, np.nan)
    return np.stack([to_space(m, measured.get(m, missing)) for m in METRICS], axis=1)

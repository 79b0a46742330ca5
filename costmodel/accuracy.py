"""How far predicted metrics are from measured ones, row by row, and how often their intervals hold them."""

from __future__ import annotations

import numpy as np

from costmodel.dataset import Dataset
from costmodel.learner import Predicted
from costmodel.schedules import Array

COUNTS = ("registers", "spills")
SHARES = ("utilisation", "vector_utilisation")
SIZES = ("instructions", "code_bytes", "peak_bytes")
ROUNDING = 1e-6
"""An interval that misses by less than this share holds the value: predictions may be float32."""


def accuracy_metrics(predicted: Predicted, test: Dataset) -> dict[str, float]:
    """Errors and coverage of every metric that is predicted, over the rows where it was measured (docs/json.md)."""
    out: dict[str, float] = {}
    for metric, guess in predicted.values.items():
        measured = test.measured[metric]
        known = np.isfinite(measured) & (measured > 0.0 if metric in (*SIZES, "latency_ns") else True)
        if not known.any():
            continue
        out |= _errors(metric, guess[known], measured[known])
        if metric in predicted.low:
            low, high = predicted.low[metric][known], predicted.high[metric][known]
            out |= _coverage(metric, guess[known], low, high, measured[known])
    return out


def _errors(metric: str, guess: Array, measured: Array) -> dict[str, float]:
    if metric in ("latency_ns", *SIZES):
        share, prefix = np.abs(guess - measured) / measured, _prefix(metric)
        root = rms(np.log(np.maximum(guess, 1e-3) / measured))
        out = {"mape": float(share.mean()), "median_ape": float(np.median(share)), "rmse_log": root}
        return {prefix + k: v for k, v in out.items()}
    error, mean = rms(guess - measured), float(measured.mean())
    span = 1.0 if metric in SHARES else float(np.ptp(measured)) or 1.0
    out = {f"{metric}_rmse_range": error / span}
    if mean > 0.0:
        out[f"{metric}_rmse_mean"] = error / mean
    if metric in COUNTS:
        missed = np.abs(np.rint(guess) - measured)
        out |= {f"{metric}_exact": float(np.mean(missed < 0.5)), f"{metric}_within_one": float(np.mean(missed < 1.5))}
    return out


def _coverage(metric: str, guess: Array, low: Array, high: Array, measured: Array) -> dict[str, float]:
    slack = ROUNDING * np.maximum(1.0, np.abs(measured))
    inside = (low - slack <= measured) & (measured <= high + slack)
    width = high - low if metric in (*COUNTS, *SHARES) else (high - low) / np.maximum(guess, 1e-3)
    prefix = _prefix(metric)
    return {f"{prefix}coverage90": float(inside.mean()), f"{prefix}width90": float(width.mean())}


def _prefix(metric: str) -> str:
    """Latency's metrics have plain names."""
    return "" if metric == "latency_ns" else f"{metric}_"


def rms(values: Array) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(values**2)))

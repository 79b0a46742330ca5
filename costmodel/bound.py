"""The prior of latency: what a loop nest's operations and traffic take, by constants fitted to measured candidates.

Work (the longest of arithmetic, loads, issue and latency chain, and what loops cost beside them) and data (the longest
of what comes from beyond each cache) overlap in part: bound = max(work, data) + hidden * min(work, data) + call. It is
a roofline (Williams et al., CACM 2009) with more than two roofs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costmodel.counting import NAMES, SLOTS
from costmodel.operations import ARITHMETIC, CLASSES
from costmodel.schedules import Array

_AT = {name: i for i, name in enumerate(NAMES)}
_TOTALS = [_AT[f"total_{c}"] for c in CLASSES]
_IS_ARITHMETIC = np.array([c in ARITHMETIC for c in CLASSES])
FACTORS = ("load", "issue", "chain", "overhead", "l2", "l3", "memory", "hidden", "call")
"""Factors of what `counting` gives; `hidden` is a share and `call` in nanoseconds."""
STEPS = (1.5, 1.5, 1.25, 1.25, 1.12, 1.12, 1.06, 1.06)
"""By what each sweep of the fit multiplies or divides a constant."""


@dataclass(frozen=True)
class Constants:
    """`slots` of CLASSES, multiply-adds of throughput that a vector operation takes, and `factors` of FACTORS."""

    slots: tuple[float, ...] = tuple(SLOTS[c] for c in CLASSES)
    factors: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.3, 5.0)


def terms(counts: Array, constants: Constants) -> dict[str, Array]:
    """The parts of the bound in nanoseconds, by name, each of shape (n,); 0 where the workload is not readable."""
    slots, factor = np.array(constants.slots), dict(zip(FACTORS, constants.factors, strict=True))
    total, unit, wide = counts[:, _TOTALS], counts[:, _AT["unit_ns"]], counts[:, _AT["wide"]]
    arithmetic = total[:, _IS_ARITHMETIC] @ slots[_IS_ARITHMETIC]
    extra = total[:, _IS_ARITHMETIC] @ (slots[_IS_ARITHMETIC] - 1.0)
    found = {
        "arithmetic": arithmetic * wide * unit,
        "load": total[:, ~_IS_ARITHMETIC] @ slots[~_IS_ARITHMETIC] * wide * unit * factor["load"],
        "issue": (total.sum(axis=1) + extra) / 2.0 * unit * factor["issue"],
    }
    rest = ("chain", "overhead", "l2", "l3", "memory")
    return found | {name: counts[:, _AT[f"{name}_ns"]] * factor[name] for name in rest}


def bound(parts: Mapping[str, Array], constants: Constants) -> Array:
    """Nanoseconds, shape (n,), of what `terms` gives."""
    hidden, call = constants.factors[-2:]
    work = work_of(parts)
    data = np.maximum.reduce([parts[n] for n in ("l2", "l3", "memory")])
    return np.maximum(work, data) + hidden * np.minimum(work, data) + call


def work_of(parts: Mapping[str, Array]) -> Array:
    """Nanoseconds that the loop nest takes with all data at hand, shape (n,)."""
    return np.maximum.reduce([parts[n] for n in ("arithmetic", "load", "issue", "chain")]) + parts["overhead"]


def shares(counts: Array, parts: Mapping[str, Array], total_ns: Array, constants: Constants) -> Array:
    """Shape (n, features): of `total_ns` each part's, and of all slots each class's. Trees cannot divide."""
    slots = counts[:, _TOTALS] * np.array(constants.slots)
    every = np.maximum(slots.sum(axis=1, keepdims=True), 1.0)
    return np.hstack([np.stack([part / total_ns for part in parts.values()], axis=1), slots / every])


def fit(counts: Array, latency: Array, weight: Array) -> Constants:
    """Constants with the least weighted mean of |log(latency / bound)|, by sweeps over one constant at a time.

    Args:
        counts: shape (n, len(NAMES)); rows that are not readable are left out.
        latency: nanoseconds, shape (n,).
        weight: shape (n,).
    """
    rows: NDArray[np.bool_] = counts[:, _AT["readable"]] > 0
    if not rows.any():
        return Constants()
    counts, measured, weight = counts[rows], np.log(latency[rows]), weight[rows]

    def error(values: list[float]) -> float:
        tried = _constants(values)
        return float(np.average(np.abs(measured - np.log(bound(terms(counts, tried), tried))), weights=weight))

    values = [*Constants().slots, *Constants().factors]
    least = error(values)
    for step in STEPS:
        for i in range(len(values)):
            for change in (step, 1.0 / step):
                tried = [*values[:i], values[i] * change, *values[i + 1 :]]
                if (found := error(tried)) < least - 1e-5:
                    values, least = tried, found
    return _constants(values)


def _constants(values: list[float]) -> Constants:
    return Constants(tuple(values[: len(CLASSES)]), tuple(values[len(CLASSES) :]))

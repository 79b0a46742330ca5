"""Runs of the experiment, summarised: means over seeds with 95 % intervals of Student's t, and differences of arms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

BASELINES = ("unpaired", "source", "mispaired", "more-source")
"""What paired is compared with."""
LOWER_IS_BETTER = "bits per byte: lower is better"


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """{"arms": {arm: {metric: {value, low, high, seeds}}}, "differences": {"paired - ARM": {metric: ...}}}.

    Differences are taken seed by seed, for seeds that both arms have.
    """
    found: dict[str, dict[int, dict[str, float]]] = {}
    for run in runs:
        found.setdefault(run["arm"], {})[run["seed"]] = flat(run["evaluation"])
    arms = {arm: _means(list(seeds.values())) for arm, seeds in found.items()}
    others = [
        a for a in (*BASELINES, *sorted(a for a in found if "-without-" in a)) if a in found and "paired" in found
    ]
    differences = {
        f"paired - {other}": _means(
            [_minus(found["paired"][s], found[other][s]) for s in sorted(found["paired"].keys() & found[other].keys())]
        )
        for other in others
    }
    trained = {r["arm"]: r["card"]["trained"]["tokens"] for r in runs}
    return {"runs": len(runs), "tokens": trained, "arms": arms, "differences": differences}


def flat(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """`mean.source`, `languages.c.ir`, `retrieval.source_to_ir`, ... and what they are; unknown ones are left out."""
    numbers = {f"mean.{k}": v for k, v in evaluation["mean"].items()}
    for language, values in evaluation["languages"].items():
        numbers |= {f"languages.{language}.{k}": v for k, v in values.items()}
    for part in ("retrieval", "generation"):
        numbers |= {f"{part}.{k}": v for k, v in evaluation[part].items()}
    return {k: float(v) for k, v in numbers.items() if v is not None}


def interval(values: Sequence[float]) -> dict[str, float | int]:
    """Mean, and the 95 % interval of the mean for normal values; of one value the interval is the value."""
    from scipy.stats import t

    n = len(values)
    mean = sum(values) / n
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else 0.0
    half = float(t.ppf(0.975, n - 1)) * spread / math.sqrt(n) if n > 1 else 0.0
    return {"value": mean, "low": mean - half, "high": mean + half, "seeds": n}


def tables(results: Mapping[str, Any]) -> str:
    """Two Markdown tables: arms, and differences of paired to the others."""
    arms, differences = results["arms"], results["differences"]
    return "\n".join(
        [
            f"{results['runs']} runs. {LOWER_IS_BETTER.capitalize()}. 95 % intervals over seeds.\n",
            _table("metric", arms),
            "\nDifferences, seed by seed:\n",
            _table("metric", differences),
        ]
    )


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float | int]]:
    names = [n for n in (rows[0] if rows else {}) if all(n in row for row in rows)]
    return {name: interval([row[name] for row in rows]) for name in names}


def _minus(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {k: one[k] - other[k] for k in one if k in other}


def _table(corner: str, columns: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    names = list(dict.fromkeys(n for column in columns.values() for n in column if not n.endswith(".pairs")))
    lines = [f"| {corner} | {' | '.join(columns)} |", "| --- " * (len(columns) + 1) + "|"]
    lines += [f"| {n} | {' | '.join(_cell(column.get(n)) for column in columns.values())} |" for n in names]
    return "\n".join(lines) + "\n"


def _cell(value: Mapping[str, float] | None) -> str:
    if value is None:
        return "-"
    return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"

"""`seerc cost train`: records in, an artefact folder out."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.analytic import AnalyticModel, Calibration
from costmodel.artefact import read_config, save_artefact
from costmodel.boosted import COVERAGE, BoostedModel, BoostedOptions, fit
from costmodel.dataset import Dataset, load_dataset, table_hash
from costmodel.errors import unknown_name
from costmodel.facts import KINDS
from costmodel.record import read_table

DEFAULT_FOLDER = Path(__file__).parent / "models" / "default"


def train(
    data: Path | str,
    out: Path | str,
    model: str = "boosted",
    options: BoostedOptions | None = None,
    evaluations: Mapping[str, Any] | None = None,
) -> BoostedModel:
    """Train on every successful record of a dataset and write the artefact folder `out`.

    Args:
        data: a dataset folder or Parquet file.
        out: the artefact folder; replaced when the new one is whole.
        model: the architecture; `boosted`.
        options: how to train.
        evaluations: results of `evaluate.evaluate` by split, printed on the card.

    Raises:
        SeercError: unknown architecture, unreadable data, or too little of it.
    """
    if model != "boosted":
        raise unknown_name("architecture", model, ["boosted"])
    table = read_table(data)
    dataset = load_dataset(table)
    trained = fit(dataset, options)
    facts = {"data_hash": table_hash(table), "rows": len(dataset), "workloads": len(dataset.hashes)}
    facts |= {"versions": {"xgboost": _version("xgboost-cpu", "xgboost"), "numpy": version("numpy")}}
    out = Path(out)
    extra = {**facts, "name": out.name, "evaluations": dict(evaluations or {})}
    save_artefact(trained, out, _card(out.name, dataset, facts, evaluations or {}), extra)
    return trained


def calibrate(data: Dataset) -> AnalyticModel:
    """The analytic model with its scale by kind, and its interval, taken from measured latencies."""
    ratio = np.log(data.measured["latency_ns"]) - np.log(data.prior["latency_ns"])
    overall = float(np.median(ratio))
    scale = np.full(len(KINDS) + 1, overall)
    for kind in np.unique(data.kinds):
        scale[kind] = np.median(ratio[data.kinds == kind])
    factor = float(np.exp(np.quantile(np.abs(ratio - scale[data.kinds]), COVERAGE)))
    return AnalyticModel(Calibration({k: float(np.exp(scale[i])) for i, k in enumerate(KINDS)}, max(1.01, factor)))


def recipe(model: str | Path) -> BoostedOptions | None:
    """Options that a named model or an artefact is trained with; None for `analytic`.

    Raises:
        SeercError: unknown name.
    """
    if str(model) == "analytic":
        return None
    if str(model) == "boosted" or (str(model) == "default" and not DEFAULT_FOLDER.is_dir()):
        return BoostedOptions()
    folder = DEFAULT_FOLDER if str(model) == "default" else Path(model)
    if not folder.is_dir():
        raise unknown_name("cost model", str(model), ["default", "boosted", "analytic"])
    return BoostedOptions(**read_config(folder)["options"])


def _version(*names: str) -> str:
    from importlib.metadata import PackageNotFoundError

    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"


def _card(name: str, data: Dataset, facts: Mapping[str, Any], evaluations: Mapping[str, Any]) -> str:
    """What a reader should know before trusting the model."""
    networks = sorted({n for found in data.networks for n in found})
    lines = [
        f"# Cost model {name}",
        "",
        f"Gradient-boosted trees on an analytic prior, for {data.target.name} ({data.target.isa}, "
        f"{data.target.vector_bytes}-byte vectors). Trained on {facts['rows']} records of {facts['workloads']} "
        f"workloads (data {facts['data_hash']}) from {len(networks)} networks: {', '.join(networks) or 'none named'}.",
        "",
        "Intervals are conformal: 90 % of held-out residuals lie within them.",
        "",
    ]
    for split_name, result in evaluations.items():
        lines += [f"## Split {split_name}, {result['seeds']} seeds: mean (lowest, highest)", ""]
        contestants = {"this model": result["metrics"], **result["baselines"]}
        lines += ["| metric | " + " | ".join(contestants) + " |", "| --- |" + " --- |" * len(contestants)]
        for metric in result["metrics"]:
            lines.append(f"| {metric} | " + " | ".join(_cell(c.get(metric)) for c in contestants.values()) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(value: Mapping[str, float] | None) -> str:
    return "" if value is None else f"{value['value']:.3f} ({value['low']:.3f}, {value['high']:.3f})"

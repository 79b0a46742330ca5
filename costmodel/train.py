"""`seerc cost train`: records in, an artefact folder out."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from costmodel.artefact import read_config
from costmodel.dataset import Dataset, load_dataset, table_hash
from costmodel.errors import unknown_name
from costmodel.learner import ARCHITECTURES, Learner, Trained, learner
from costmodel.record import read_table

DEFAULT_FOLDER = Path(__file__).parent / "models" / "default"


def train(
    data: Path | str,
    out: Path | str,
    model: str | Learner = "seer",
    evaluations: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Trained:
    """Train on every successful record of a dataset and write the artefact folder `out`.

    Args:
        data: a dataset folder or Parquet file.
        out: the artefact folder; replaced when the new one is whole.
        model: the architecture, a name of `learner.ARCHITECTURES`, or a learner with options of its own.
        evaluations: results of `evaluate.evaluate` by split, printed on the card.
        seed: the same seed gives the same model.

    Raises:
        SeercError: unknown architecture, unreadable data, or too little of it.
    """
    architecture = learner(model) if isinstance(model, str) else model
    table = read_table(data)
    dataset = load_dataset(table)
    trained = architecture.fit(dataset, seed)
    facts = {"data_hash": table_hash(table), "rows": len(dataset), "workloads": len(dataset.hashes)}
    facts |= {"versions": {"xgboost": _version("xgboost-cpu", "xgboost"), "numpy": version("numpy")}}
    out = Path(out)
    extra = {**facts, "name": out.name, "architecture": architecture.name, "evaluations": dict(evaluations or {})}
    trained.save(out, _card(out.name, architecture.name, dataset, facts, evaluations or {}), extra)
    return trained


def recipe(model: str | Path) -> Learner:
    """The learner that a name or an artefact stands for: an artefact may have seen the test side, its recipe has not.

    Raises:
        SeercError: unknown name.
    """
    if str(model) in ARCHITECTURES:
        return learner(str(model))
    folder = DEFAULT_FOLDER if str(model) == "default" else Path(model)
    if not folder.is_dir():
        raise unknown_name("cost model", str(model), ["default", *ARCHITECTURES])
    config = read_config(folder)
    return learner(str(config.get("architecture", config.get("model"))))


def _version(*names: str) -> str:
    from importlib.metadata import PackageNotFoundError

    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"


def _card(name: str, model: str, data: Dataset, facts: Mapping[str, Any], evaluations: Mapping[str, Any]) -> str:
    """What a reader should know before trusting the model."""
    networks = sorted({n for found in data.networks for n in found})
    machines = " and ".join(f"{t.name} ({t.isa}, {t.vector_bytes}-byte vectors)" for t in data.targets)
    lines = [
        f"# Cost model {name}",
        "",
        f"Architecture {model}, for {machines}. Trained on {facts['rows']} records of {facts['workloads']} "
        f"workloads (data {facts['data_hash']}) from {len(networks)} networks: {', '.join(networks) or 'none named'}.",
        "",
        "Intervals are conformal: 90 % of held-out residuals lie within them.",
        "",
    ]
    for split_name, result in evaluations.items():
        lines += [f"## Split {split_name}, {result['seeds']} seeds: mean (95 % interval)", ""]
        contestants = {"this model": result["metrics"], **result["baselines"]}
        lines += ["| metric | " + " | ".join(contestants) + " |", "| --- |" + " --- |" * len(contestants)]
        for metric in result["metrics"]:
            lines.append(f"| {metric} | " + " | ".join(_cell(c.get(metric)) for c in contestants.values()) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(value: Mapping[str, float] | None) -> str:
    return "" if value is None else f"{value['value']:.3f} ({value['low']:.3f}, {value['high']:.3f})"

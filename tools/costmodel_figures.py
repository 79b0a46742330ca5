"""The figures of docs/costmodel.md, drawn with matplotlib as SVG: the same results give the same files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from costmodel_results import MAIN_SPLIT, MODELS, OURS, Results

from costmodel.score import KEPT
from costmodel.trials import Summary

COLOURS = {
    "seer": "#d55e00", "xgboost": "#0072b2", "graph": "#009e73", "transformer": "#cc79a7", "conv1d": "#e69f00",
    "lstm": "#56b4e9", "bag": "#8c6d31", "analytic": "#7f7f7f",
}  # fmt: skip
"""Okabe and Ito's palette for the colour-blind, with a brown for the yellow that is too light on white."""
MARKERS: dict[str, str] = dict(zip(map(str, MODELS), "os^Dv<>P", strict=True))
STYLE: Any = {
    "font.size": 10, "font.family": "DejaVu Sans", "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": "#888888", "axes.grid": True, "grid.color": "#e6e6e6", "axes.axisbelow": True,
    "axes.titlesize": 11, "axes.titlelocation": "left", "xtick.color": "#444444", "ytick.color": "#444444",
    "legend.frameon": False, "svg.hashsalt": "seerc", "figure.facecolor": "white", "savefig.dpi": 160,
}  # fmt: skip
KINDS = ("contraction", "elementwise", "reduction", "row")
DOTS = (
    ("top1", "top-1 score, higher is better"),
    ("kendall_tau", "Kendall tau, higher is better"),
    ("mape", "latency MAPE, lower is better"),
    ("regret1_p95", "95 % regret@1, lower is better"),
)
PANELS = (("top1", "top-1 score"), ("kendall_tau", "Kendall tau"), ("mape", "latency MAPE"))
LEVELS = np.arange(0.1, 1.0, 0.1)


def models(results: Results, path: Path) -> bool:
    """Dots with intervals: every model by metric."""
    return _dots(results, path, {m: results.of(m) for m in results.models()})


def ablation(results: Results, path: Path) -> bool:
    """Dots with intervals: architectures with options of their own, beside the same without."""
    variants = results.variants()
    bases = [m for m in results.models() if any(v.startswith(m + "{") for v in variants)]
    return bool(variants) and _dots(results, path, {m: results.of(m) for m in sorted((*variants, *bases))})


def _dots(results: Results, path: Path, rows: dict[str, Summary]) -> bool:
    if not rows:
        return False
    figure, axes = _axes(2, 2, 9.0, 1.5 + 0.55 * len(rows), sharey=True)
    for axis, (metric, title) in zip(axes.flat, DOTS, strict=True):
        values = [found[metric]["value"] for found in rows.values() if metric in found]
        wide = min(values, default=1.0) > 0 and max(values, default=1.0) > 10 * min(values, default=1.0)
        axis.set_xscale("log" if wide else "linear")
        for y, (model, found) in enumerate(reversed(rows.items())):
            if metric in found:
                value = found[metric]
                low = max(value["low"], value["value"] / 3) if wide else value["low"]  # a logarithm has no end below
                reach = [[value["value"] - low], [value["high"] - value["value"]]]
                colour = _colour(model)
                axis.errorbar(value["value"], y, xerr=reach, fmt="o", color=colour, capsize=3, markersize=6, lw=1.6)
        if values:
            _within(axis, values, wide)
        axis.set_title(title)
        axis.set_yticks(range(len(rows)), [m.replace("{", " ").rstrip("}") for m in reversed(rows)])
        axis.set_ylim(-0.6, len(rows) - 0.4)
        axis.grid(axis="y", visible=False)
        for label in axis.get_yticklabels():
            label.set_fontweight("bold" if label.get_text() == OURS else "normal")
    return _save(figure, path)


def _within(axis: Any, values: Sequence[float], wide: bool) -> None:
    """The values and room around them; intervals of few seeds may run out of the picture."""
    room = 0.6 * (max(values) - min(values))
    limits = (min(values) / 2, max(values) * 4) if wide else (min(values) - room, max(values) + room)
    axis.set_xlim(*limits)


def splits(results: Results, path: Path) -> bool:
    """One panel a metric, one line a split, one dot a model."""
    names = results.splits()
    if len(names) < 2:
        return False
    shown = [m for m in results.models() if any(results.of(m, s) for s in names if s != MAIN_SPLIT)]
    figure, axes = _axes(1, 3, 11.0, 1.0 + 0.75 * len(names), sharey=True)
    for axis, (metric, title) in zip(axes.flat, PANELS, strict=True):
        for k, model in enumerate(shown):
            found = [(len(names) - 1 - i, results.of(model, s)) for i, s in enumerate(names) if results.of(model, s)]
            y = [i + ((len(shown) - 1) / 2 - k) * 0.09 for i, _ in found]
            value, low, high = (np.array([f[metric][key] for _, f in found]) for key in ("value", "low", "high"))
            style = {"fmt": MARKERS[model], "color": _colour(model), "ms": 5, "lw": 1.3, "label": model}
            axis.errorbar(value, y, xerr=[value - low, high - value], **style)
        for boundary in range(len(names) - 1):
            axis.axhline(boundary + 0.5, color="#dddddd", lw=1)
        axis.set_title(title)
        axis.set_yticks(range(len(names)), reversed(names))
        axis.set_ylim(-0.5, len(names) - 0.5)
        axis.grid(axis="y", visible=False)
    return _save(figure, path, legend=axes.flat[0])


def predicted(results: Results, path: Path) -> bool:
    """Predicted against measured latency, log-log, a panel a kind; of the first of MODELS that left predictions."""
    model = next((m for m in MODELS if results.predictions(m) is not None), None)
    found = results.predictions(model) if model else None
    if not model or not found:
        return False
    kinds = [k for k in KINDS if (found["kind"] == k).any()]
    figure, axes = _axes(1, len(kinds), 2.7 * len(kinds) + 0.6, 3.7, sharex=True, sharey=True)
    every = np.concatenate([found["latency_ns"], found["latency_ns_measured"]]) / 1e3
    ends = np.array([every.min() / 1.5, every.max() * 1.5])
    for axis, kind in zip(axes.flat, kinds, strict=True):
        at = found["kind"] == kind
        measured, guess = found["latency_ns_measured"][at] / 1e3, found["latency_ns"][at] / 1e3
        axis.fill_between(ends, ends / 2, ends * 2, color="#eeeeee", lw=0, zorder=0)
        axis.plot(ends, ends, color="#666666", lw=1)
        axis.scatter(measured, guess, s=7, alpha=0.3, color=_colour(model), lw=0, rasterized=True)
        share = np.mean(np.abs(np.log2(guess / measured)) < 1)
        axis.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
        axis.set_title(f"{kind}\n{at.sum():,} rows, {share:.0%} within 2x", fontsize=10)
        axis.set_xlabel("measured, us")
        axis.minorticks_off()
    axes.flat[0].set_ylabel(f"{model}: predicted, us")
    return _save(figure, path)


def calibration(results: Results, path: Path) -> bool:
    """Actual against nominal coverage of latency, and the coverage of the 90 % intervals of every metric."""
    shown = [m for m in results.models() if "coverage90" in results.of(m)]
    if not shown:
        return False
    figure, axes = _axes(1, 2, 10.0, 4.2, width_ratios=(1, 1.25))
    left, right = axes.flat
    left.plot([0, 1], [0, 1], color="#666666", lw=1)
    for model in shown:
        found = results.predictions(model)
        if found is not None:
            left.plot(LEVELS, _reached(found), color=_colour(model), marker=MARKERS[model], ms=4, lw=_width(model))
    left.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="nominal coverage", ylabel="actual coverage")
    left.set_title("latency")
    names = ["", "registers", "spills", "vector_utilisation", "utilisation", "instructions", "code_bytes"]
    right.axvline(0.9, color="#666666", lw=1)
    for k, model in enumerate(shown):
        for y, name in enumerate(reversed(names)):
            metric = f"{name}_coverage90" if name else "coverage90"
            if metric in results.of(model):
                offset = ((len(shown) - 1) / 2 - k) * 0.09
                value = results.of(model)[metric]["value"]
                label = model if not name else None
                right.plot(value, y + offset, MARKERS[model], color=_colour(model), ms=5, label=label)
    right.set_yticks(range(len(names)), [n.replace("_", " ") or "latency" for n in reversed(names)])
    right.set(xlabel="actual coverage of 90 % intervals", xlim=(None, 1.01))
    right.set_title("every metric")
    return _save(figure, path, legend=right)


def _reached(found: dict[str, Any]) -> list[float]:
    """Share of the rows within the 90 % interval scaled to each of LEVELS as a normal law of the logarithm scales."""
    value, measured = np.log(found["latency_ns"]), np.log(found["latency_ns_measured"])
    low, high = np.log(np.maximum(found["latency_ns_low"], 1e-3)) - value, np.log(found["latency_ns_high"]) - value
    scale = [NormalDist().inv_cdf((1 + p) / 2) / NormalDist().inv_cdf(0.95) for p in LEVELS]
    return [float(np.mean((low * s <= measured - value) & (measured - value <= high * s))) for s in scale]


def size(results: Results, path: Path) -> bool:
    """Metrics against the number of training rows, with bands."""
    shown = {m: results.sizes(m) for m in MODELS if len(results.sizes(m)) > 1}
    if not shown:
        return False
    figure, axes = _axes(1, 3, 11.0, 3.4)
    for axis, (metric, title) in zip(axes.flat, PANELS, strict=True):
        for model, points in shown.items():
            rows = [r for r, s in points if metric in s]
            value, low, high = ([s[metric][k] for _, s in points if metric in s] for k in ("value", "low", "high"))
            colour = _colour(model)
            axis.plot(rows, value, color=colour, marker=MARKERS[model], ms=5, lw=_width(model), label=model)
            axis.fill_between(rows, low, high, color=colour, alpha=0.12, lw=0)
        ticks = sorted({round(r) for points in shown.values() for r, _ in points})
        axis.set(xscale="log", xlabel="training rows")
        axis.minorticks_off()
        axis.set_xticks(ticks, [f"{t / 1000:.3g}k" for t in ticks])
        axis.set_title(title)
    return _save(figure, path, legend=axes.flat[0])


def risk(results: Results, path: Path) -> bool:
    """Regret of the surest decisions against their share."""
    shown = [m for m in results.models() if "regret1_kept100" in results.of(m)]
    if not shown:
        return False
    figure, axes = _axes(1, 1, 7.0, 3.8)
    axis = axes.flat[0]
    for model in shown:
        found = [results.of(model)[f"regret1_kept{k}"]["value"] for k in KEPT]
        axis.plot(KEPT, found, color=_colour(model), marker=MARKERS[model], ms=4, lw=_width(model), label=model)
    axis.set(xlabel="share of the decisions kept, the surest first, %", ylabel="mean slowdown over the best, less 1")
    axis.set_ylim(0, None)
    return _save(figure, path, legend=axis)


Draw = Callable[[Results, Path], bool]
FIGURES: dict[str, tuple[str, Draw]] = {
    "models": ("Every model by metric, with 95 % intervals over seeds", models),
    "splits": ("Every split by model and metric", splits),
    "predicted": ("Predicted against measured latency by kind of region", predicted),
    "calibration": ("Nominal against actual coverage", calibration),
    "ablation": ("Tokenisers and other options", ablation),
    "size": ("Metrics against the number of training rows", size),
    "risk": ("Regret of the surest decisions", risk),
}
"""Name to caption and function; a function returns False where the results for it are missing."""


def _axes(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Any, Any]:
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(STYLE)
    gridspec = {"width_ratios": options.pop("width_ratios")} if "width_ratios" in options else None
    return plt.subplots(
        rows, columns, figsize=(width, height), squeeze=False, layout="constrained", gridspec_kw=gridspec, **options
    )


def _save(figure: Any, path: Path, legend: Any = None) -> bool:
    import matplotlib.pyplot as plt

    if legend is not None:
        handles, labels = legend.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", fontsize=9)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return True


def _colour(model: str) -> str:
    return COLOURS.get(model.partition("{")[0], "#333333")


def _width(model: str) -> float:
    return 2.4 if model == OURS else 1.4

"""Writes the tables and figures of docs/costmodel.md: `python tools/write_costmodel_docs.py`.

They come from docs/results/costmodel: *.jsonl of `seerc cost eval --results`, *.parquet of `--predictions`. Between the
markers `<!-- NAME -->` and `<!-- end -->` everything is replaced; the prose around them is written by hand.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from costmodel_figures import FIGURES
from costmodel_results import BASELINES, MAIN_SPLIT, OURS, Results, read_results, verdict

from costmodel.trials import Summary

ROOT = Path(__file__).parent.parent
Column = tuple[str, str, bool, str]
"""Metric, heading, whether higher is better, format."""
CHOICE: tuple[Column, ...] = (
    ("top1", "top-1", True, ".3f"),
    ("top5", "top-5", True, ".3f"),
    ("regret1_median", "regret@1 median", False, ".3f"),
    ("regret1_p95", "regret@1 p95", False, ".2f"),
    ("regret5_p95", "regret@5 p95", False, ".2f"),
    ("kendall_tau", "tau", True, ".3f"),
    ("pair_accuracy", "pairs", True, ".3f"),
    ("worse_than_heuristic", "worse than heuristic", False, ".1%"),
    ("cautious_worse_than_heuristic", "worse, with caution", False, ".1%"),
    ("speedup_over_heuristic", "speedup", True, ".2f"),
    ("worst_slowdown", "worst slowdown", False, ".1f"),
)
VALUES: tuple[Column, ...] = (
    ("mape", "latency MAPE", False, ".1%"),
    ("median_ape", "median APE", False, ".1%"),
    ("rmse_log", "log RMSE", False, ".3f"),
    ("instructions_median_ape", "instructions median APE", False, ".1%"),
    ("registers_rmse_range", "registers, % of range", False, ".1%"),
    ("registers_exact", "exact", True, ".1%"),
    ("registers_within_one", "within one", True, ".1%"),
    ("spills_rmse_range", "spills, % of range", False, ".1%"),
    ("spills_exact", "exact", True, ".1%"),
    ("vector_utilisation_rmse_range", "vector utilisation, % of range", False, ".1%"),
    ("utilisation_rmse_range", "utilisation, % of range", False, ".1%"),
)
SPLIT_METRICS: tuple[Column, ...] = (
    ("top1", "top-1", True, ".3f"),
    ("kendall_tau", "tau", True, ".3f"),
    ("mape", "latency MAPE", False, ".1%"),
    ("coverage90", "coverage", True, ".1%"),
)
COVERED = ("", "registers", "spills", "vector_utilisation", "utilisation", "instructions", "code_bytes", "peak_bytes")


def models_table(results: Results, columns: Sequence[Column]) -> str:
    """Architectures and baselines by metric on MAIN_SPLIT, those metrics that some model has."""
    columns = [c for c in columns if any(c[0] in results.of(model) for model in results.models())]
    lines = [["model", *(heading for _, heading, _, _ in columns)]]
    for model in (*results.models(), *BASELINES):
        if any(column[0] in results.of(model) for column in columns):
            cells = [_cell(results, model, MAIN_SPLIT, column) for column in columns]
            lines.append([f"**{model}**" if model == OURS else model, *cells])
    return _table(lines)


def splits_table(results: Results) -> str:
    """Every split by model, one block of rows a metric."""
    models = [m for m in results.models() if any(results.of(m, s) for s in results.splits() if s != MAIN_SPLIT)]
    lines = [["metric", "split", *models]]
    for column in SPLIT_METRICS:
        for split in results.splits():
            lines.append([column[1], split, *(_cell(results, m, split, column) for m in models)])
    return _table(lines)


def coverage_table(results: Results) -> str:
    """Coverage of the 90 % intervals and their mean width by metric."""
    models = [m for m in results.models() if "coverage90" in results.of(m)]
    lines = [["metric", *models]]
    for name in COVERED:
        prefix = f"{name}_" if name else ""
        cells = [_pair(results.of(m), f"{prefix}coverage90", f"{prefix}width90") for m in models]
        lines.append([name.replace("_", " ") or "latency", *cells])
    return _table(lines)


def ablation_table(results: Results) -> str:
    """Architectures with options beside the same without."""
    names = results.variants()
    bases = {name.partition("{")[0] for name in names}
    columns = tuple(c for c in (*CHOICE, *VALUES) if c[0] in ("top1", "kendall_tau", "mape", "registers_rmse_range"))
    lines = [["model", *(heading for _, heading, _, _ in columns)]]
    for name in sorted({*names, *(b for b in bases if results.of(b))}):
        lines.append([f"`{name}`", *(_cell(results, name, MAIN_SPLIT, c) for c in columns)])
    return _table(lines)


def cost_table(results: Results) -> str:
    """What training and predicting take."""
    lines = [["model", "seeds", "training rows", "test rows", "training s", "prediction, us a candidate"]]
    for model in results.models():
        trials = results.seeds(model)
        means = [sum(getattr(t, f) for t in trials) / len(trials) for f in ("train_rows", "test_rows", "train_s")]
        slow = sum(t.predict_us for t in trials) / len(trials)
        lines.append(
            [model, str(len(trials)), f"{means[0]:,.0f}", f"{means[1]:,.0f}", f"{means[2]:.1f}", f"{slow:.1f}"]
        )
    return _table(lines)


TABLES: dict[str, Callable[[Results], str]] = {
    "models": lambda r: models_table(r, CHOICE),
    "hardware": lambda r: models_table(r, VALUES),
    "splits": splits_table,
    "coverage": coverage_table,
    "ablation": ablation_table,
    "cost": cost_table,
}


def _cell(results: Results, model: str, split: str, column: Column) -> str:
    """`value ± half width mark`."""
    metric, _, higher, form = column
    found = results.of(model, split).get(metric)
    if found is None:
        return "-"
    half = found["high"] - found["value"]
    compared = metric != "coverage90" and model not in ("oracle", OURS) and "{" not in model
    mark = verdict(results, model, split, metric, higher) if compared else ""
    return f"{found['value']:{form}}" + (f" ± {half:{form}}" if half > 0.0 else "") + (f" {mark}" if mark else "")


def _pair(found: Summary, first: str, second: str) -> str:
    return f"{found[first]['value']:.1%} ({found[second]['value']:.3g})" if first in found else "-"


def _table(lines: Sequence[Sequence[str]]) -> str:
    if len(lines) < 2:
        return "Not measured yet."
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Rewrite what stands between the markers of the page, and the figures beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results" / "costmodel")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "costmodel.md")
    arguments = parser.parse_args()
    results = read_results(arguments.results)
    blocks = {name: make(results) for name, make in TABLES.items()}
    folder = arguments.page.parent / "figures" / "costmodel"
    folder.mkdir(parents=True, exist_ok=True)
    for name, (caption, draw) in FIGURES.items():
        drawn = draw(results, folder / f"{name}.svg")
        blocks[f"figure-{name}"] = f"![{caption}](figures/costmodel/{name}.svg)" if drawn else "Not measured yet."
    text = arguments.page.read_text(encoding="utf-8")
    for name, block in blocks.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = pattern.sub(lambda m, block=block: f"{m[1]}{block}\n{m[2]}", text)
    arguments.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

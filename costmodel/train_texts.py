"""`seerc cost train DATA --target COLUMN`: users' own texts and numbers in, an artefact folder out, errors measured."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from costmodel.errors import unknown_name
from costmodel.tables import TextTable, read_texts
from costmodel.text_features import text_features
from costmodel.text_model import OutOfFold, TextModel, TextOptions, fit

ARCHITECTURES = ("text",)


@dataclass(frozen=True)
class HeldOut:
    """Errors on rows whose groups the model has not seen, of the model and of the median of the training rows."""

    column: str
    rows: int
    groups: int
    mae: float
    """Mean absolute error, in the column's unit."""
    median_mae: float
    mdape: float
    """Median of |error| / |value| over values other than 0."""
    median_mdape: float
    rank: float
    """Spearman correlation of predictions and values; 0 is what a constant deserves."""
    coverage: float
    """Share of values inside of the 90 % interval."""


@dataclass(frozen=True)
class TrainedTexts:
    """The model, its errors by column, and what of the data was left out."""

    model: TextModel
    held_out: tuple[HeldOut, ...]
    rows: int
    unusable: tuple[str, ...]


def train_texts(
    data: Path | str,
    out: Path | str,
    targets: Sequence[str],
    *,
    text: str | None = None,
    group: str | None = None,
    model: str = "text",
    options: TextOptions | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> TrainedTexts:
    """Measure held-out errors by cross-validation over groups, train on every row, write the artefact folder `out`.

    Args:
        data: see `tables.read_texts`, also for `targets`, `text` and `group`.
        out: the artefact folder; replaced when the new one is whole.
        targets: numeric columns to learn.
        text: the column of the MLIR text.
        group: the column that keeps rows together in splits; None takes the canonical text.
        model: the architecture, one of ARCHITECTURES.
        options: of the trees; the same seed gives the same model.
        tell: called with a line about every step.

    Raises:
        SeercError: unknown architecture or column, unreadable data, or too little of it.
    """
    if model not in ARCHITECTURES:
        raise unknown_name("architecture for texts", model, ARCHITECTURES)
    table = read_texts(data, targets, text, group)
    for line in table.unusable_lines():
        tell(line)
    bags = [text_features(t) for t in table.texts]
    options = options or TextOptions()
    tell(f"training on {len(table)} rows, each of {options.folds} parts held out in turn")
    fitted, found = fit(table, bags, options)
    held_out = tuple(errors(name, table, each) for name, each in found.items())
    out = Path(out)
    trained = replace(fitted, name=out.name)
    extra = {
        "name": out.name,
        "architecture": model,
        "rows": len(table),
        "unusable": len(table.unusable),
        "data_hash": _hash(table),
        "held_out": [asdict(h) for h in held_out],
    }
    trained.save(out, card(out.name, table, held_out, group, options.folds), extra)
    return TrainedTexts(trained, held_out, len(table), table.unusable)


def errors(name: str, table: TextTable, found: OutOfFold) -> HeldOut:
    """What the out-of-fold predictions of a column are worth."""
    from scipy.stats import rankdata

    y, (p, low, high) = table.targets[name][found.rows], found.predicted
    median = np.array([np.median(y[found.fold != k]) for k in range(found.fold.max() + 1)])[found.fold]
    scale = np.where(y == 0, np.nan, np.abs(y))
    varied = len(np.unique(y)) > 1 and len(np.unique(p)) > 1
    return HeldOut(
        name,
        len(y),
        len({table.groups[i] for i in found.rows.tolist()}),
        float(np.abs(p - y).mean()),
        float(np.abs(median - y).mean()),
        float(np.nanmedian(np.abs(p - y) / scale)) if np.isfinite(scale).any() else 0.0,
        float(np.nanmedian(np.abs(median - y) / scale)) if np.isfinite(scale).any() else 0.0,
        float(np.corrcoef(rankdata(p), rankdata(y))[0, 1]) if varied else 0.0,
        float(((low <= y) & (y <= high)).mean()),
    )


def _hash(table: TextTable) -> str:
    """16 hexadecimal digits that name the rows, whatever their order."""
    rows = zip(table.texts, *(v.tolist() for v in table.targets.values()), strict=True)
    return hashlib.sha256(repr(sorted(map(repr, rows))).encode()).hexdigest()[:16]


def card(name: str, table: TextTable, held_out: Sequence[HeldOut], group: str | None, folds: int) -> str:
    """What a reader should know before trusting the model."""
    by = f"the column {group}" if group else "the canonical text"
    lines = [
        f"# Cost model {name}",
        "",
        f"Architecture text: counts over the text into boosted trees. Trained on {len(table)} rows "
        f"(data {_hash(table)}). {' '.join(table.unusable_lines())}".strip(),
        "",
        f"Held-out errors: {folds}-fold cross-validation; rows that share {by} are never on both sides. The median "
        "is that of the training rows. Intervals are conformal, for 90 %.",
        "",
        "| column | rows | groups | MAE | MAE of the median | median error | of the median | rank correlation "
        "| in interval |",
        "| --- |" + " ---: |" * 8,
    ]
    lines += [
        f"| {h.column} | {h.rows} | {h.groups} | {h.mae:.4g} | {h.median_mae:.4g} | {h.mdape:.1%} "
        f"| {h.median_mdape:.1%} | {h.rank:.3f} | {h.coverage:.1%} |"
        for h in held_out
    ]
    return "\n".join(lines) + "\n"

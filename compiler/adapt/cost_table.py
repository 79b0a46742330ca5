"""Step costs from a JSON file: measured elsewhere, or written by hand to ask what if."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from compiler.adapt.costs import Costs, StepCosts
from costmodel.errors import SeercError

DRAFT = "draft"


def read_costs(path: Path, blocks: int) -> Costs:
    """Costs from `{"WIDTH": {"blocks": [ns, ...], "rest": ns}, ...}`, linear between widths and beyond them.

    A row "draft" holds those of a step of width 1 that drafts, where that is another program.

    Args:
        path: the file; it must hold width 1.
        blocks: sub-blocks of the model.

    Raises:
        SeercError: another structure, another number of sub-blocks, a time that is not positive.
    """
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        widths = sorted(int(width) for width in data if width != DRAFT)
        names = [*map(str, widths), *([DRAFT] if DRAFT in data else [])]
        rows = [[*map(float, data[name]["blocks"]), float(data[name]["rest"])] for name in names]
        table = np.array(rows)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SeercError(f'{path} is no cost table: {{"1": {{"blocks": [ns, ...], "rest": ns}}, ...}}') from error
    if table.ndim != 2 or table.shape[1] != blocks + 1:
        raise SeercError(f"{path} does not give the {blocks} sub-blocks of this model at every width")
    if widths[:1] != [1] or not np.isfinite(table).all() or table.min() < 0 or table[0].sum() <= 0:
        raise SeercError(f"{path} needs width 1, and times in nanoseconds that are not negative")

    draft = StepCosts(tuple(rows[-1][:-1]), rows[-1][-1]) if DRAFT in data else None

    def costs(width: int) -> StepCosts:
        row = [_between(width, widths, table[: len(widths), column]) for column in range(blocks + 1)]
        return StepCosts(tuple(row[:-1]), row[-1], draft=draft if width == 1 else None)

    return costs


def _between(width: int, widths: list[int], times: np.ndarray) -> float:
    """Linear interpolation; beyond the last width along the last segment."""
    if width <= widths[-1] or len(widths) == 1:
        return float(np.interp(width, widths, times))
    slope = (times[-1] - times[-2]) / (widths[-1] - widths[-2])
    return float(times[-1] + slope * (width - widths[-1]))

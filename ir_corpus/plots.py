"""The figure of `seerc corpus stats --plot`: pairs and functions by language."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from costmodel.errors import SeercError


def plot(counts: Mapping[str, Any], path: Path) -> None:
    """Draw two bars a language on a logarithmic axis; the suffix of `path` decides the format."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise SeercError("--plot needs matplotlib: pip install matplotlib==3.11.2") from error
    languages = sorted({*counts["pairs"], *counts["functions"]}, key=lambda name: counts["functions"].get(name, 0))
    figure, axes = pyplot.subplots(figsize=(7, 0.35 * len(languages) + 1.2), layout="constrained")
    positions = range(len(languages))
    for offset, name, label in ((-0.2, "pairs", "file pairs"), (0.2, "functions", "function pairs")):
        values = [counts[name].get(language, 0) for language in languages]
        axes.barh([position + offset for position in positions], values, height=0.38, label=label)
    axes.set_yticks(list(positions), languages)
    axes.set_xscale("symlog")
    axes.set_xlabel("rows")
    axes.legend(loc="lower right", frameon=False)
    try:
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    except ValueError as error:
        raise SeercError(f"{path}: {error}") from error
    finally:
        pyplot.close(figure)

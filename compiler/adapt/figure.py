"""The Pareto front as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from costmodel.errors import SeercError

Front = Sequence[tuple[float, float]]
"""(share of a step's time saved, quality) by point."""


def draw_front(path: Path, front: Front, label: str, title: str) -> None:
    """Draw one front; see `draw_fronts`."""
    draw_fronts(path, {"": front}, label, title)


def draw_fronts(path: Path, fronts: Mapping[str, Front], label: str, title: str) -> None:
    """Draw fronts as lines, by name; the format follows the file's ending.

    Raises:
        SeercError: matplotlib is not installed, or cannot write that format.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise SeercError("--plot needs matplotlib: pip install 'seerc[docs]'") from error
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for name, front in fronts.items():
        axes.plot(
            [100 * saved for saved, _ in front], [value for _, value in front], marker="o", markersize=3, label=name
        )
    if len(fronts) > 1:
        axes.legend()
    axes.set_xlabel("time of a step saved, %")
    axes.set_ylabel(label)
    axes.set_title(title)
    axes.grid(alpha=0.3)
    try:
        figure.savefig(path, dpi=150)
    except ValueError as error:
        raise SeercError(f"{path}: {error}") from error
    finally:
        pyplot.close(figure)

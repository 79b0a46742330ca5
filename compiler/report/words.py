"""Plan entries in words: what the command line's table and the report both print."""

from __future__ import annotations

from collections.abc import Sequence

from passes.tiling.schedule import Schedule


def schedule_words(text: str) -> str:
    """A schedule in short: `direct 4x96, unroll 4, k 256, packed` is a register tile of 4 rows and 96 columns."""
    schedule = Schedule.parse(text)
    if schedule.algorithm == "plain":
        return "plain"
    words = [f"{schedule.algorithm} {schedule.rows}x{schedule.vectors * schedule.vector}"]
    words += [f"unroll {schedule.unroll}"] if schedule.unroll > 1 else []
    words += [f"row tile {schedule.row_tile}"] if schedule.row_tile else []
    words += [f"reduction tile {schedule.reduction_tile}"] if schedule.reduction_tile else []
    words += ["rows outside"] if schedule.order == "rows-columns" else []
    words += ["packed"] if schedule.pack else []
    words += [] if schedule.parallel else ["serial"]
    return ", ".join(words)


def shapes_words(inputs: Sequence[Sequence[int]], results: Sequence[Sequence[int]]) -> str:
    """`128x384 384x384 -> 128x384`."""
    return f"{_shapes(inputs)} → {_shapes(results)}"


def _shapes(shapes: Sequence[Sequence[int]]) -> str:
    return " ".join("x".join(map(str, shape)) or "scalar" for shape in shapes)


def duration(nanoseconds: float) -> str:
    """Three digits with the unit that fits: `12.3 µs`."""
    for limit, scale, unit in ((999.5, 1.0, "ns"), (999.5e3, 1e3, "µs"), (999.5e6, 1e6, "ms")):
        if nanoseconds < limit:
            return f"{nanoseconds / scale:.3g} {unit}"
    return f"{nanoseconds / 1e9:.3g} s"

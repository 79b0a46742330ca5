"""What a compile decided, predicted and measured, as one HTML file without anything outside of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compiler.driver import Stages
from compiler.native.disassemble import measure_code
from compiler.report.highlight import highlight
from compiler.report.words import duration, schedule_words, shapes_words

Json = Mapping[str, Any]
_PLOT = 320
"""Width and height of the predicted-against-measured plot."""
_NONE = "-"


def render(data: Json, plan: Json, stages: Stages) -> str:
    """The report as HTML text.

    Args:
        data: the JSON object of `seerc compile`.
        plan: the program's plan.
        stages: for the regions' texts and object code.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = FileSystemLoader(Path(__file__).parent)
    template = Environment(loader=folder, autoescape=True, undefined=StrictUndefined).get_template("report.html.j2")
    kernels = _kernels(data["kernels"], stages)
    return template.render(
        data=data,
        sources={k: v for k, v in plan["sources"].items() if k != "spec"},
        spec=plan["sources"].get("spec", data["model"]),
        contestants=_contestants(data["bench"]),
        kernels=kernels,
        kinds=_kinds(kernels),
        stages=_stages(data["seconds"]),
        plot=_plot(kernels),
        fallbacks=[k for k in kernels if k["fallback"]],
        total=duration(sum(k["total"] for k in kernels)),
    )


def _kernels(entries: Sequence[Json], stages: Stages) -> list[dict[str, Any]]:
    """One row a kernel, the most expensive first."""
    total = sum(entry["total_ns"] or 0.0 for entry in entries) or 1.0
    rows = [_kernel(entry, total, stages) for entry in entries]
    return sorted(rows, key=lambda row: -row["total"])


def _kernel(entry: Json, total: float, stages: Stages) -> dict[str, Any]:
    key = entry["kernel"]
    predicted = entry["predicted"].get("latency_ns")
    measured = entry["measured_ns"]
    return {
        "key": key,
        "name": key[:7],
        "kind": entry["kind"],
        "shapes": shapes_words(entry["inputs"], entry["results"]),
        "schedule": schedule_words(entry["schedule"]),
        "considered": entry["considered"],
        "trials": entry["trials"],
        "calls": entry["runs"] or entry["calls"],
        "predicted": duration(predicted[0]) if predicted else _NONE,
        "interval": f"{duration(predicted[1])} to {duration(predicted[2])}" if predicted else "",
        "predicted_ns": predicted and predicted[0],
        "measured_ns": measured,
        "measured": duration(measured) if measured is not None else _NONE,
        "off": _off(predicted, measured),
        "total": entry["total_ns"] or 0.0,
        "total_text": duration(entry["total_ns"] or 0.0),
        "share": 100 * (entry["total_ns"] or 0.0) / total,
        "fallback": entry["fallback"],
        "metrics": _metrics(entry["predicted"], stages.kernels[key].object, stages.target.vector_bytes),
        "text": highlight(stages.choices[key].candidate.strip()),
    }


def _off(predicted: Sequence[float] | None, measured: float | None) -> dict[str, Any] | None:
    """How the measured time lies to the predicted one, and whether it is inside the interval."""
    if not predicted or not measured:
        return None
    inside = predicted[1] <= measured <= predicted[2]
    return {"text": f"{measured / predicted[0]:.2g}x", "inside": inside}


def _metrics(predicted: Json, code: bytes, vector_bytes: int) -> list[tuple[str, str, str]]:
    """(metric, predicted with interval, read from the object code) of the metrics that the code shows."""
    found = measure_code(code, vector_bytes)
    rows: list[tuple[str, str, str]] = []
    for name, form in (("registers", ".0f"), ("spills", ".0f"), ("vector_utilisation", ".2f"), ("code_bytes", ".0f")):
        guess = predicted.get(name)
        text = f"{guess[0]:{form}} ({guess[1]:{form}} to {guess[2]:{form}})" if guess else _NONE
        rows.append((name.replace("_", " "), text, f"{getattr(found, name):{form}}"))
    return rows


def _contestants(bench: Json | None) -> list[dict[str, Any]]:
    """Bars of the times: ours first."""
    if bench is None:
        return []
    rows: list[dict[str, Any]] = [{"name": "seerc", "ms": bench["seerc_ms"], "iqr": bench["seerc_iqr_ms"], "note": ""}]
    rows += [
        {
            "name": name,
            "ms": peer["ms"],
            "iqr": peer["iqr_ms"],
            "note": f"seerc is {peer['ratio']:.2f}x as fast ({peer['low']:.2f} to {peer['high']:.2f})",
        }
        for name, peer in bench["peers"].items()
    ]
    longest = max(row["ms"] for row in rows)
    return [row | {"width": 100 * row["ms"] / longest, "text": f"{row['ms']:.3g} ms"} for row in rows]


def _kinds(kernels: Sequence[Json]) -> list[dict[str, Any]]:
    """Share of the time by kind of region, the largest first."""
    share: dict[str, float] = {}
    for kernel in kernels:
        share[kernel["kind"]] = share.get(kernel["kind"], 0.0) + kernel["share"]
    return [{"kind": kind, "share": s} for kind, s in sorted(share.items(), key=lambda item: -item[1])]


def _stages(seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    total = sum(seconds.values()) or 1.0
    return [{"name": name, "text": f"{s:.2f} s", "share": 100 * s / total} for name, s in seconds.items()]


def _plot(kernels: Sequence[Json]) -> dict[str, Any] | None:
    """Points (x predicted, y measured) in a square with the same logarithmic scale both ways."""
    known = [k for k in kernels if k["predicted_ns"] and k["measured_ns"]]
    if not known:
        return None
    values = [k[side] for k in known for side in ("predicted_ns", "measured_ns")]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)

    def place(value: float) -> float:
        return round(_PLOT * (math.log10(value) - low) / (high - low), 1)

    points = [
        {
            "x": place(k["predicted_ns"]),
            "y": _PLOT - place(k["measured_ns"]),
            "r": round(3 + 9 * math.sqrt(k["share"] / 100), 1),
            "kind": k["kind"],
            "title": f"{k['name']} {k['kind']}: predicted {k['predicted']}, measured {k['measured']}",
        }
        for k in known
    ]
    ticks = [{"at": place(10.0**e), "text": duration(10.0**e)} for e in range(low, high + 1)]
    return {"points": points, "ticks": ticks, "size": _PLOT}

"""Schedules as arrays: the `seerc.schedule` attributes of many candidates, one NumPy column a field."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import SeercError

Array = NDArray[np.float64]
ALGORITHMS = ("direct", "row", "winograd2", "winograd4", "plain", "transform")
ORDERS = ("columns-rows", "rows-columns")
DEFAULTS: dict[str, str | int | bool] = dict(
    algorithm="direct", vector=8, vectors=1, rows=1, unroll=1, row_tile=0, reduction_tile=0, order="columns-rows",
    pack=True, parallel=True,
)  # fmt: skip
"""Fields that an attribute leaves out; the same as those of passes.tiling.schedule.Schedule (a test compares them)."""
_ENTRY = re.compile(r"(\w+)\s*=\s*(\"[\w-]+\"|-?\d{1,15}|true|false)(?:\s*:\s*\w+)?")
_MAXIMUM = 2**40


@dataclass(frozen=True)
class Schedules:
    """n schedules; every field is an array of shape (n,)."""

    algorithm: Array
    """Index into ALGORITHMS."""
    vector: Array
    vectors: Array
    rows: Array
    unroll: Array
    row_tile: Array
    reduction_tile: Array
    order: Array
    """Index into ORDERS."""
    pack: Array
    parallel: Array

    def __len__(self) -> int:
        return len(self.algorithm)

    def take(self, rows: NDArray[np.int64]) -> Schedules:
        """The schedules at the given rows."""
        return Schedules(*(getattr(self, f.name)[rows] for f in fields(self)))


@lru_cache(maxsize=65536)
def parse_schedule(text: str | None) -> tuple[float, ...]:
    """One schedule attribute as numbers in the order of DEFAULTS; None gives the defaults."""
    found = dict(_ENTRY.findall(text or ""))
    rest = re.sub(r"[\s{},]", "", _ENTRY.sub("", text or ""))
    unknown = sorted(found.keys() - DEFAULTS.keys())
    if rest or unknown:
        raise SeercError(
            f"cannot read {rest or unknown} in the schedule {(text or '')[:200]}; known: {', '.join(DEFAULTS)}"
        )
    return tuple(
        _number(key, found[key]) if key in found else _encode(key, default) for key, default in DEFAULTS.items()
    )


def schedules(texts: Sequence[str | None]) -> Schedules:
    """The schedules of attribute texts."""
    table = np.array([parse_schedule(t) for t in texts], dtype=np.float64).reshape(len(texts), len(DEFAULTS))
    return Schedules(*table.T)


def canonical_schedule(text: str | None) -> str:
    """One spelling of a schedule: all fields, sorted, as MLIR prints them."""
    values = dict(zip(DEFAULTS, parse_schedule(text), strict=True))
    return "{" + ", ".join(f"{k} = {_print(k, values[k])}" for k in sorted(values)) + "}"


def _print(key: str, value: float) -> str:
    names = {"algorithm": ALGORITHMS, "order": ORDERS}.get(key)
    if names:
        return f'"{names[int(value)]}"'
    return ("true" if value else "false") if isinstance(DEFAULTS[key], bool) else f"{int(value)} : i64"


def _number(key: str, text: str) -> float:
    default = DEFAULTS[key]
    if isinstance(default, bool):
        value: str | int | bool = text == "true"
        wrong = text not in ("true", "false")
    elif isinstance(default, int):
        wrong = not text.lstrip("-").isdigit() or not 0 <= int(text) < _MAXIMUM
        value = 0 if wrong else int(text)
    else:
        value, wrong = text.strip('"'), not text.startswith('"')
    if wrong:
        raise SeercError(f"schedule field {key} = {text} should be like {default!r}")
    return _encode(key, value)


def _encode(key: str, value: str | int | bool) -> float:
    names = {"algorithm": ALGORITHMS, "order": ORDERS}.get(key)
    if names is None:
        return float(value)
    if value not in names:
        raise SeercError(f"schedule field {key} = {value!r} is not one of {', '.join(names)}")
    return float(names.index(str(value)))

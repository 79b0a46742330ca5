"""The results file of `seerc cost eval`: one JSON line for each trial (model, split, seed, data), appended as it ends.

Finished trials are not repeated, and several processes may append to one file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from costmodel.dataset import Dataset
from costmodel.errors import SeercError

CONFIDENCE = 0.95
Key = tuple[str, str, str, int, str, int]
Summary = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Trial:
    """The metrics of one contestant on one split drawn with one seed."""

    model: str
    """As the user wrote it, or the name of a baseline."""
    recipe: str
    """12 hexadecimal digits of the architecture and its options."""
    split: str
    seed: int
    data: str
    """16 hexadecimal digits of the records."""
    rows: int
    """Limit of the training rows, 0 for none."""
    train_rows: int
    test_rows: int
    train_s: float
    predict_us: float
    """For one candidate, in one batch over the test side."""
    metrics: dict[str, float]

    @property
    def key(self) -> Key:
        """What makes two trials the same."""
        return self.model, self.recipe, self.split, self.seed, self.data, self.rows


def read_trials(path: Path | None) -> list[Trial]:
    """The trials of a results file, the last of equal keys; none where there is no file. A torn last line is skipped.

    Raises:
        SeercError: a line that is not a trial.
    """
    if path is None or not path.exists():
        return []
    found: dict[Key, Trial] = {}
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            trial = Trial(**json.loads(line))
        except (ValueError, TypeError) as error:
            if number == len(lines):
                break  # the run that wrote it was killed
            raise SeercError(f"{path}, line {number}: not a trial of `seerc cost eval` ({error}); delete it") from error
        found[trial.key] = trial
    return list(found.values())


def append_trial(path: Path, trial: Trial) -> None:
    """Append one line in one write; a torn line that a killed run left at the end is cut off first."""
    line = json.dumps(asdict(trial), sort_keys=True, allow_nan=False) + "\n"
    _cut_torn_line(path)
    with path.open("ab", buffering=0) as file:
        file.write(line.encode())
        os.fsync(file.fileno())


def data_hash(data: Dataset) -> str:
    """16 hexadecimal digits of the candidates and their latencies, in whatever order."""
    names = [data.hashes[w] for w in data.workloads]
    targets = [data.targets[m].hash for m in data.machines]
    rows = zip(names, data.schedules.tolist(), targets, data.measured["latency_ns"].tolist(), strict=True)
    return hashlib.sha256("\n".join(sorted(map(repr, rows))).encode()).hexdigest()[:16]


def summary(runs: Sequence[dict[str, float]]) -> Summary:
    """Mean of each metric over seeds, with Student's 95 % interval of the mean; metrics that a seed lacks are left out.

    One seed has no interval: `low` and `high` are its value. Splits of different seeds overlap, so that the intervals
    are somewhat too narrow for other data; they tell models apart on these.
    """
    keys = [k for k in runs[0] if all(k in r for r in runs)]
    columns = {k: np.array([r[k] for r in runs], dtype=np.float64) for k in keys}
    half = _student(len(runs))
    out: Summary = {}
    for key, values in columns.items():
        reach = half * float(values.std(ddof=1)) if len(values) > 1 else 0.0
        mean = float(values.mean())
        out[key] = {"value": mean, "low": mean - reach, "high": mean + reach}
    return out


def _student(count: int) -> float:
    """Half width of the interval of a mean of `count` values, in their standard deviations."""
    if count < 2:
        return 0.0
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, (1.0 + CONFIDENCE) / 2.0)) / float(np.sqrt(count))


def _cut_torn_line(path: Path) -> None:
    if path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
        whole = path.read_bytes()
        os.truncate(path, whole.rfind(b"\n") + 1)

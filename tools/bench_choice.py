"""What choosing without measuring costs: the predicted best schedule against the best of all measured ones.

python tools/bench_choice.py DATA [--model default|FOLDER|ARCHITECTURE] [--train DATA] [--workloads 50]

DATA and the model are as in tools/bench_search.py. Per kind of region: the geometric mean of chosen / best, and the
share of choices that are slower than the fixed heuristic's by more than the noise of both. Writes
docs/results/choice.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.caution import decide
from costmodel.dataset import Dataset, load_dataset
from costmodel.facts import KINDS
from costmodel.files import write_atomically
from costmodel.learner import Predicted
from costmodel.ranking import NOISE
from costmodel.record import read_table
from costmodel.search import predict_held_out

OUT = Path(__file__).resolve().parent.parent / "docs" / "results" / "choice.json"


@dataclass(frozen=True)
class Decision:
    """One workload: latencies in ns."""

    workload: str
    kind: str
    schedules: int
    chosen_ns: float
    best_ns: float
    heuristic_ns: float | None
    """None if the heuristic's schedule was not measured."""
    band: float
    """Relative difference of choice and heuristic that is noise: half of both spreads, NOISE at least."""

    @property
    def worse(self) -> bool | None:
        """Whether the choice is slower than the heuristic's by more than the noise."""
        return None if self.heuristic_ns is None else self.chosen_ns > self.heuristic_ns * (1 + self.band)


def main() -> None:
    """Reads, decides, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--train", type=Path)
    parser.add_argument("--workloads", type=int, default=50, help="drawn at random, the same ones for a seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--caution", type=float, default=0.0, help="as of `seerc compile`")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    data = drawn(load_dataset(read_table(args.data)), args.workloads, args.seed)
    train = load_dataset(read_table(args.train)) if args.train is not None else None
    found = decisions(data, predict_held_out(data, args.model, train), args.caution)
    kinds = {kind: summary([d for d in found if d.kind == kind]) for kind in sorted({d.kind for d in found})}
    result = {
        "data": args.data.name,
        "model": Path(args.model).name,
        "train": args.train and args.train.name,
        "target": data.target.name,
        "caution": args.caution,
        "all": summary(found),
        "kinds": kinds,
        "decisions": [asdict(d) for d in found],
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(args.out, json.dumps(result, indent=1) + "\n")
    for kind, figures in {"all": result["all"], **kinds}.items():
        print(f"{kind:12}", json.dumps(figures))


def drawn(data: Dataset, count: int, seed: int) -> Dataset:
    """The rows of `count` workloads."""
    order = np.random.default_rng(seed).permutation(len(data.hashes))
    return data.take(np.isin(data.workloads, order[:count]))


def decisions(data: Dataset, predicted: Predicted, caution: float) -> list[Decision]:
    """One decision a task."""
    found: list[Decision] = []
    for rows in data.rows_by_task():
        fixed = np.flatnonzero(data.heuristic[rows])
        order, latency = (values[rows].tolist() for values in (predicted.ranking, predicted.values["latency_ns"]))
        chosen = decide(order, latency, int(fixed[0]) if len(fixed) else None, caution)
        found.append(_decision(data, rows, int(rows[chosen])))
    return found


def _decision(data: Dataset, rows: NDArray[np.int64], chosen: int) -> Decision:
    latency, fixed = data.measured["latency_ns"], rows[data.heuristic[rows]]
    spread = np.nan_to_num(data.spread)
    band = max(NOISE, float(spread[chosen] + spread[fixed[0]]) / 2) if len(fixed) else NOISE
    kind = int(data.kinds[rows[0]])
    return Decision(
        data.hashes[data.workloads[chosen]],
        KINDS[kind] if kind < len(KINDS) else "other",
        len(rows),
        float(latency[chosen]),
        float(latency[rows].min()),
        float(latency[fixed[0]]) if len(fixed) else None,
        band,
    )


def summary(decisions: list[Decision]) -> dict[str, Any]:
    """Ratios are geometric means; `low` and `high` hold 95 % of them when the workloads are resampled."""
    ratio = np.log([d.chosen_ns / d.best_ns for d in decisions])
    picks = np.random.default_rng(0).integers(0, len(ratio), (1000, len(ratio)))
    low, high = np.exp(np.quantile(ratio[picks].mean(axis=1), [0.025, 0.975]))
    judged = [d.worse for d in decisions if d.worse is not None]
    gain = [np.log(d.heuristic_ns / d.chosen_ns) for d in decisions if d.heuristic_ns is not None]
    return {
        "workloads": len(decisions),
        "schedules": sum(d.schedules for d in decisions),
        "chosen_over_best": float(np.exp(ratio.mean())),
        "low": float(low),
        "high": float(high),
        "worst": float(np.exp(ratio.max())),
        "worse_than_heuristic": float(np.mean(judged)) if judged else None,
        "speedup_over_heuristic": float(np.exp(np.mean(gain))) if gain else None,
    }


if __name__ == "__main__":
    main()

"""How many measurements a search needs: random, XGBoost-guided, and ours, simulated on measured schedules.

python tools/bench_search.py DATA [--model default|FOLDER|ARCHITECTURE] [--train DATA] [--workloads 50] [--seeds 10]

DATA holds (nearly) all schedules of its workloads: `seerc cost collect --per-workload 100000`. The cost model must not
have seen them: give an artefact that was trained on other workloads, or --train, whose records of other workloads the
model's recipe is trained on first. Writes docs/results/search.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from costmodel.dataset import Dataset, load_dataset
from costmodel.files import write_atomically
from costmodel.record import read_table
from costmodel.search import compare, predict_held_out, tasks_of

OUT = Path(__file__).resolve().parent.parent / "docs" / "results" / "search.json"


def main() -> None:
    """Reads, searches, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--train", type=Path)
    parser.add_argument("--workloads", type=int, default=50, help="those with the most schedules")
    parser.add_argument("--budgets", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    data = largest(load_dataset(read_table(args.data)), args.workloads)
    train = load_dataset(read_table(args.train)) if args.train is not None else None
    tasks = tasks_of(data, predict_held_out(data, args.model, train))
    result = compare(tasks, args.budgets, args.seeds, lambda text: print(text, file=sys.stderr, flush=True))
    origin = {"data": args.data.name, "model": Path(args.model).name, "train": args.train and args.train.name}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(args.out, json.dumps({**origin, "target": data.target.name, **result}, indent=1) + "\n")
    for name, found in result["searches"].items():
        print(f"{name:16}", *(f"{b}: {q['value']:.3f}" for b, q in found["quality"].items()), sep="  ")
    for name, found in result["equal_quality"].items():
        print(f"{name:16} trials for the guided search's quality:", {b: f["trials"] for b, f in found.items()})


def largest(data: Dataset, count: int) -> Dataset:
    """The `count` workloads with the most rows; of equals, those that come first."""
    sizes = np.bincount(data.workloads, minlength=len(data.hashes))
    return data.take(np.isin(data.workloads, np.argsort(-sizes, kind="stable")[:count]))


if __name__ == "__main__":
    main()

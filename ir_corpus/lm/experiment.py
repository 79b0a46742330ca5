"""The registered experiment of docs/lm.md: five arms by seeds, and one language left out; resumes where it stopped.

python -m ir_corpus.lm.experiment CORPUS -o docs/results/lm --seeds 3 --tokens 500000 --leave-out rust
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from costmodel.files import write_atomically
from ir_corpus.lm.documents import Arm, Encoded, encode_pairs
from ir_corpus.lm.evaluate import EvaluationOptions, evaluate
from ir_corpus.lm.model import LanguageModel
from ir_corpus.lm.options import LmOptions
from ir_corpus.lm.pairs import TEST, TRAIN, Pair, choose, read_corpus
from ir_corpus.lm.summary import summarise, tables
from ir_corpus.lm.train import halves, make_model, train_pairs

RUNS, RESULTS, TABLES = "runs.jsonl", "results.json", "results.md"
HELD_OUT = 48
"""Held-out pairs of each language."""
GENERATED = 8
"""Sources whose IR is written."""


@dataclass(frozen=True)
class Trial:
    """One model of the experiment."""

    name: str
    """The arm, with `-without-LANGUAGE` where a language is left out."""
    seed: int
    options: LmOptions


def trials(base: LmOptions, seeds: int, left_out: Sequence[str]) -> Iterator[Trial]:
    """All arms of seed 0, then of seed 1, ...: what is done when the time is up is balanced."""
    for seed in range(seeds):
        for arm in Arm:
            yield Trial(arm.value, seed, replace(base, arm=arm, seed=seed))
        for language in left_out:
            options = replace(base, arm=Arm.PAIRED, seed=seed, without_ir=frozenset({language}))
            yield Trial(f"paired-without-{language}", seed, options)


def run(corpus: Path, folder: Path, work: Path, planned: Sequence[Trial], held_out: int = HELD_OUT) -> None:
    """Train and evaluate what runs.jsonl does not hold yet, then summarise.

    Trials differ in arm, seed and languages left out alone: all read the same pairs with the same tokenizer.

    Raises:
        SeercError: no corpus, or no pairs to train on or to hold out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = read_runs(folder)
    base = planned[0].options
    halved = halves(choose(read_corpus(corpus, TRAIN), TRAIN, base.pairs, base.kinds))
    scored = choose(read_corpus(corpus, TEST), TEST, held_out, base.kinds)
    tokenizer = make_model(base, [*halved[0], *halved[1]]).tokenizer
    pairs, further = (encode_pairs(tokenizer, half, base.window) for half in halved)
    for trial in planned:
        if any(r["arm"] == trial.name and r["seed"] == trial.seed for r in done):
            continue
        _tell(f"{trial.name}, seed {trial.seed}")
        model = make_model(trial.options, [], tokenizer)
        done.append(_run_one(trial, model, pairs, further, scored, work))
        write_atomically(folder / RUNS, "".join(json.dumps(r) + "\n" for r in done))
    results = summarise(done)
    write_atomically(folder / RESULTS, json.dumps(results, indent=1) + "\n")
    write_atomically(folder / TABLES, tables(results))


def read_runs(folder: Path) -> list[dict[str, Any]]:
    """The finished runs of a folder."""
    path = folder / RUNS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _run_one(
    trial: Trial,
    model: LanguageModel,
    pairs: tuple[Encoded, ...],
    further: tuple[Encoded, ...],
    scored: Sequence[Pair],
    work: Path,
) -> dict[str, Any]:
    """Train and evaluate one model; its checkpoints are removed when it is done."""
    options = trial.options
    folder = work / f"{trial.name}-{trial.seed}"
    card = train_pairs(model, pairs, further, options, folder, _tell)
    evaluation = evaluate(model, scored, EvaluationOptions(options.window, generate=GENERATED), _tell)
    shutil.rmtree(folder)
    return {"arm": trial.name, "seed": trial.seed, "card": card, "evaluation": evaluation}


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("-o", dest="output", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/lm-experiment"), help="for checkpoints")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=500_000)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--kinds", default="file,function")
    parser.add_argument("--pairs", type=int, default=LmOptions.pairs, help="of each language at most")
    parser.add_argument("--held-out", type=int, default=HELD_OUT, help="pairs of each language at most")
    parser.add_argument("--leave-out", default="", help="languages, separated by commas")
    args = parser.parse_args()
    base = LmOptions(model=args.model, tokens=args.tokens, kinds=tuple(args.kinds.split(",")), pairs=args.pairs)
    left_out = [name for name in args.leave_out.split(",") if name]
    run(args.corpus, args.output, args.work, list(trials(base, args.seeds, left_out)), args.held_out)


if __name__ == "__main__":
    main()

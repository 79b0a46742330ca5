"""`seerc cost eval`: train on one side of a split, score on the other, for several seeds, beside the baselines."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.analytic_learner import AnalyticLearner
from costmodel.contestants import BASELINES, Contestant, Outcome, trained
from costmodel.dataset import Dataset, load_dataset
from costmodel.learner import Learner, Predicted
from costmodel.predictions import write_predictions
from costmodel.record import read_table
from costmodel.split import split
from costmodel.trials import Key, Trial, append_trial, data_hash, read_trials, summary
from costmodel.variant import variant

Progress = Callable[[str], None]


@dataclass(frozen=True)
class EvaluationOptions:
    """What is evaluated, and where results are kept."""

    models: tuple[str, ...] = ("xgboost",)
    """Architectures, `default`, or artefact folders, with options in braces (`variant.variant`): the recipe is trained
    on each training side, since an artefact itself may have seen the test side."""
    split: str = "unseen-networks"
    """A name of `split.SPLITS`."""
    seeds: tuple[int, ...] = tuple(range(10))
    """One split and one training for each."""
    rows: int = 0
    """Train on whole workloads drawn at random, until they have so many rows; 0 for all. A larger limit holds what a
    smaller one does."""
    results: Path | None = None
    """A file of trials: what it holds is not done again, what is new is appended."""
    predictions: Path | None = None
    """A Parquet file for the models' predictions of the first seed's test side; that seed is then always trained."""


def evaluate(
    data: Path | str | Dataset, options: EvaluationOptions | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """The JSON of `seerc cost eval`: metrics of models retrained for every seed, and of the baselines.

    Args:
        data: a dataset folder or file, or a loaded dataset.
        options: what is evaluated.
        progress: told a line for every training.

    Raises:
        SeercError: unknown model, split or option, unreadable data or results, too little data for the split.
    """
    options = options or EvaluationOptions()
    learners = {name: variant(name) for name in options.models}
    contestants = {**BASELINES, **{name: trained(each) for name, each in learners.items()}}
    dataset = data if isinstance(data, Dataset) else load_dataset(read_table(data))
    keys = _keys(dataset, learners, options)
    done = {t.key: t for t in read_trials(options.results)}
    for seed in options.seeds:
        kept = learners if options.predictions and seed == options.seeds[0] else {}
        missing = {n: run for n, run in contestants.items() if n in kept or keys[n, seed] not in done}
        for name, trial in _contest(dataset, missing, options, {n: keys[n, seed] for n in missing}):
            if options.results and trial.key not in done:
                append_trial(options.results, trial)
            done[trial.key] = trial
            if progress and name in learners:
                progress(_line(trial))
    found = {name: summary([done[keys[name, s]].metrics for s in options.seeds]) for name in contestants}
    return {
        "split": options.split,
        "rows": len(dataset),
        "workloads": len(dataset.hashes),
        "seeds": len(options.seeds),
        "metrics": found[options.models[0]],
        "models": {name: found[name] for name in learners},
        "baselines": {name: found[name] for name in BASELINES if found[name]},
    }


def _keys(data: Dataset, learners: Mapping[str, Learner], options: EvaluationOptions) -> dict[tuple[str, int], Key]:
    """The key of each contestant's trial of each seed."""
    digest = data_hash(data)
    recipes = {
        n: hashlib.sha256(repr(each).encode()).hexdigest()[:12]
        for n, each in {"analytic": AnalyticLearner(), **learners}.items()
    }
    return {
        (name, seed): (name, recipes.get(name, "baseline"), options.split, seed, digest, options.rows)
        for name in {**BASELINES, **learners}
        for seed in options.seeds
    }


def _contest(
    data: Dataset, contestants: Mapping[str, Contestant], options: EvaluationOptions, keys: Mapping[str, Key]
) -> Iterator[tuple[str, Trial]]:
    """The trials of one seed, each as it ends; the predictions are written when all have."""
    if not contestants:
        return
    seed = next(iter(keys.values()))[3]
    train_rows, test_rows = split(data, options.split, seed)
    train, test = _limited(data.take(train_rows), options.rows, seed), data.take(test_rows)
    predictions: dict[str, Predicted] = {}
    for name, run in contestants.items():
        outcome = run(train, test, seed)
        if outcome.predicted and name in options.models:
            predictions[name] = outcome.predicted
        yield name, _trial(keys[name], outcome, len(train), len(test))
    if options.predictions and seed == options.seeds[0] and predictions:
        write_predictions(options.predictions, options.split, seed, test, predictions)


def _trial(key: Key, outcome: Outcome, train_rows: int, test_rows: int) -> Trial:
    return Trial(*key, train_rows, test_rows, round(outcome.train_s, 3), round(outcome.predict_us, 3), outcome.metrics)


def _limited(train: Dataset, rows: int, seed: int) -> Dataset:
    """Whole workloads in random order, until they have `rows` rows; 0 takes all."""
    if not rows:
        return train
    order = np.random.default_rng((seed, 1)).permutation(np.unique(train.workloads))
    sizes = np.cumsum([np.count_nonzero(train.workloads == w) for w in order])
    return train.take(np.isin(train.workloads, order[: int(np.searchsorted(sizes, rows)) + 1]))


def _line(trial: Trial) -> str:
    shown = [f"{m} {trial.metrics[m]:.3f}" for m in ("top1", "kendall_tau", "mape") if m in trial.metrics]
    return f"{trial.model}, {trial.split}, seed {trial.seed}: {', '.join(shown)} ({trial.train_s:.0f} s)"

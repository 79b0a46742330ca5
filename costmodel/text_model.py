"""A cost model of users' own data: counts over the text (`text_features`) into boosted trees, conformal intervals.

It predicts the columns that it was trained on, by their own names, and asks nothing of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from costmodel.artefact import save_artefact
from costmodel.errors import SeercError
from costmodel.protocol import Prediction, Value
from costmodel.schedules import Array
from costmodel.tables import TextTable, canonical_text
from costmodel.target import Target
from costmodel.text_features import feature_rows, feature_vocabulary, text_features
from costmodel.trees import booster_files, grow, parameters, read_boosters, run

if TYPE_CHECKING:
    import xgboost
    from scipy.sparse import csr_matrix

    from costmodel.dataset import Dataset
    from costmodel.learner import Predicted

COVERAGE = 0.9
FEATURE_VERSION = 1
LEAST_ROWS = 20
_LOG_RANGE = 10.0
"""A positive column whose largest value is this many times its smallest is learned on a logarithmic scale."""


@dataclass(frozen=True)
class TextOptions:
    """How the boosters are trained, and which features they see."""

    trees: int = 300
    depth: int = 5
    learning_rate: float = 0.06
    rows: float = 0.8
    columns: float = 0.5
    minimum_weight: float = 2.0
    folds: int = 5
    """Parts that are held out in turn, for the intervals and for the errors on the card."""
    vocabulary: int = 1500
    least_texts: int = 3
    """Texts that must have a feature."""
    seed: int = 0


@dataclass(frozen=True)
class Column:
    """How one column is learned."""

    logarithmic: bool
    low: float
    """Residual quantiles in the space that it is learned in."""
    high: float
    least: float
    """Smallest value seen: a column that was never negative is not predicted to be."""


@dataclass(frozen=True)
class TextModel:
    """A trained model; `costmodel.artefact` saves and loads it."""

    boosters: dict[str, xgboost.Booster]
    columns: dict[str, Column]
    vocabulary: tuple[str, ...]
    options: TextOptions = field(default_factory=TextOptions)
    name: str = "text"
    any_function = True
    """Predicts functions without an op marked seerc.root, too."""

    @property
    def own_metrics(self) -> dict[str, str]:
        """What each predicted metric is."""
        return dict.fromkeys(self.columns, "a column of the data that the model was trained on")

    def predict(
        self, candidates: Sequence[str], target: Target, metrics: Sequence[str] | None = None
    ) -> list[Prediction]:
        """See `costmodel.protocol.CostModel.predict`; any function of any dialect, and no target, will do."""
        found = self.predict_bags([text_features(canonical_text(c)) for c in candidates], metrics)
        return [{m: Value(*map(float, v[:, i])) for m, v in found.items()} for i in range(len(candidates))]

    def predict_bags(
        self, bags: Sequence[Mapping[str, float]], metrics: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """By metric an array of shape (3, n): value, low, high."""
        matrix = feature_rows(bags, self.vocabulary)
        found: dict[str, Array] = {}
        for name, column in self.columns.items():
            if metrics is None or name in metrics:
                raw = run(self.boosters[name], matrix)
                found[name] = _back(np.stack([raw, raw + column.low, raw + column.high]), column)
        return found

    def predict_dataset(self, data: Dataset) -> Predicted:
        """See `costmodel.learner.Trained`."""
        from costmodel.learner import Predicted

        found = self.predict_bags([text_features(canonical_text(c)) for c in data.candidates()])
        values, low, high = ({m: v[k] for m, v in found.items()} for k in range(3))
        return Predicted(values, low, high)

    def save(self, folder: Path, card: str, extra: dict[str, Any]) -> None:
        """See `costmodel.learner.Trained`."""
        config = {
            "model": "text",
            "feature_version": FEATURE_VERSION,
            "columns": {name: asdict(column) for name, column in self.columns.items()},
            "order": list(self.columns),
            "vocabulary": list(self.vocabulary),
            "targets": [],
            "options": asdict(self.options),
        }
        numbered = {str(i): self.boosters[name] for i, name in enumerate(self.columns)}
        save_artefact(folder, {**config, **extra}, booster_files(numbered), card)


def load(config: dict[str, Any], files: dict[str, bytes]) -> TextModel:
    """The model of an artefact's configuration and files; SeercError if its features are not today's."""
    if config["feature_version"] != FEATURE_VERSION:
        raise SeercError(
            f"cost model {config['name']}: feature version {config['feature_version']}, this seerc has "
            f"{FEATURE_VERSION}; train the model again"
        )
    columns = {name: Column(**config["columns"][name]) for name in config["order"]}
    numbered = read_boosters(files)
    boosters = {name: numbered[str(i)] for i, name in enumerate(columns)}
    options = TextOptions(**config["options"])
    return TextModel(boosters, columns, tuple(config["vocabulary"]), options, str(config["name"]))


@dataclass(frozen=True)
class OutOfFold:
    """Predictions of one column for the m rows that have it, each by a model that has seen no row of its group."""

    rows: NDArray[np.int64]
    fold: NDArray[np.int64]
    predicted: Array
    """Value, low and high, shape (3, m); the interval of a fold comes from the residuals of the others."""


def fit(
    table: TextTable, bags: Sequence[Mapping[str, float]], options: TextOptions | None = None
) -> tuple[TextModel, dict[str, OutOfFold]]:
    """Train one booster a column and its interval from out-of-fold residuals; groups are never in two folds.

    Args:
        table: texts, targets, groups.
        bags: `text_features` of every text.
        options: of the trees.

    Raises:
        SeercError: fewer than LEAST_ROWS values in a column, or all in one group.
    """
    options = options or TextOptions()
    vocabulary = feature_vocabulary(bags, options.least_texts, options.vocabulary)
    matrix = feature_rows(bags, vocabulary)
    groups = np.unique(np.array(table.groups), return_inverse=True)[1].astype(np.int64)
    boosters: dict[str, xgboost.Booster] = {}
    columns: dict[str, Column] = {}
    held_out: dict[str, OutOfFold] = {}
    for name, values in table.targets.items():
        rows = np.flatnonzero(np.isfinite(values))
        if len(rows) < LEAST_ROWS or len(np.unique(groups[rows])) < 2:
            raise SeercError(f"column {name}: {len(rows)} values; at least {LEAST_ROWS} of two groups are needed")
        column = _column(values[rows])
        label = np.log(values[rows]) if column.logarithmic else values[rows]
        fold = fold_of_groups(groups[rows], options.folds, options.seed)
        raw = _out_of_fold(matrix[rows], label, fold, options)
        low, high = _margins(label - raw)
        columns[name] = replace(column, low=low, high=high)
        bounds = np.array([_margins((label - raw)[fold != k]) for k in range(fold.max() + 1)]).T
        predicted = _back(np.stack([raw, raw + bounds[0, fold], raw + bounds[1, fold]]), column)
        held_out[name] = OutOfFold(rows, fold, predicted)
        boosters[name] = _train(matrix[rows], label, options)
    return TextModel(boosters, columns, vocabulary, options), held_out


def fold_of_groups(groups: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """A fold for every row; rows of one group share it, and folds have about as many rows each."""
    names, counts = np.unique(groups, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-counts[order], kind="stable")]
    fold_of: dict[int, int] = {}
    sizes = np.zeros(min(folds, len(names)))
    for k in order:
        fold_of[int(names[k])] = int(sizes.argmin())
        sizes[sizes.argmin()] += counts[k]
    return np.array([fold_of[int(g)] for g in groups])


def _column(values: Array) -> Column:
    positive = bool(values.min() > 0)
    return Column(positive and bool(values.max() > _LOG_RANGE * values.min()), 0.0, 0.0, float(values.min()))


def _back(raw: Array, column: Column) -> Array:
    if column.logarithmic:
        return np.exp(np.minimum(raw, 700.0))
    return np.maximum(raw, 0.0) if column.least >= 0 else raw


def _out_of_fold(matrix: csr_matrix, label: Array, fold: NDArray[np.int64], options: TextOptions) -> Array:
    found = np.empty(len(label))
    for k in range(fold.max() + 1):
        test = fold == k
        found[test] = run(_train(matrix[~test], label[~test], options), matrix[test])
    return found


def _margins(residual: Array) -> tuple[float, float]:
    """Conformal quantiles, each tail at rank (n + 1) (1 - COVERAGE) / 2."""
    ordered = np.sort(residual)
    tail = max(1, int((1 - COVERAGE) / 2 * (len(ordered) + 1)))
    return min(0.0, float(ordered[tail - 1])), max(0.0, float(ordered[-tail]))


def _train(matrix: csr_matrix, label: Array, options: TextOptions) -> xgboost.Booster:
    return grow(matrix, label, None, options.trees, parameters(options) | {"base_score": float(np.median(label))})

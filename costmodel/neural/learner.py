"""The learners of the neural cost models; `costmodel.learner.ARCHITECTURES` names them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from costmodel.boosted import COVERAGE
from costmodel.dataset import Dataset
from costmodel.errors import SeercError
from costmodel.neural.inputs import dataset_inputs, examples
from costmodel.neural.labels import METRICS, labels
from costmodel.neural.model import NeuralModel
from costmodel.neural.network import build_network
from costmodel.neural.options import NeuralOptions
from costmodel.neural.pretrained import Pretrained, read_pretrained
from costmodel.neural.readers import build_reader
from costmodel.neural.reading import TokenReader
from costmodel.neural.training import train
from costmodel.schedules import Array

FEWEST = 20


@dataclass(frozen=True)
class NeuralLearner:
    """An architecture with its options; with a folder, training checkpoints and logs there, and resumes."""

    architecture: ClassVar[str]
    options: NeuralOptions = field(default_factory=NeuralOptions)
    folder: Path | None = None

    @property
    def name(self) -> str:
        """The key in ARCHITECTURES."""
        return self.architecture

    def fit(self, data: Dataset, seed: int = 0) -> NeuralModel:
        """See `costmodel.learner.Learner`; some of the networks are kept back for the intervals."""
        if len(data) < FEWEST:
            raise SeercError(f"{len(data)} records are too few to train on: at least {FEWEST} are needed")
        options = replace(self.options, seed=seed)
        held = calibration_rows(data, options)
        known = data.take(~held)
        begin = self._pretrained()
        texts = [known.texts[w] for w in np.unique(known.workloads)]
        reader = build_reader(self.architecture, texts, options, begin.tokenizer.words if begin else ())
        training = examples(known, dataset_inputs(known, reader, options.prior))
        network = build_network(self.architecture, reader, training.inputs.columns.shape[1], options)
        if begin and isinstance(reader, TokenReader):
            begin.copy_into(network.encoder, reader.tokenizer.words)
        train(network, training, options, self.folder)
        bare = NeuralModel(self.architecture, network, reader, {}, data.targets, options, self.architecture)
        return replace(bare, margins=_margins(bare, data.take(held)))

    def _pretrained(self) -> Pretrained | None:
        """What the encoder starts from; SeercError if it does not fit the architecture and its options."""
        if not self.options.pretrained:
            return None
        found = read_pretrained(self.options.pretrained)
        found.check(self.architecture, self.options)
        return found


@dataclass(frozen=True)
class Bag(NeuralLearner):
    """Fully connected layers over a bag of tokens (arXiv 2302.11405)."""

    architecture = "bag"


@dataclass(frozen=True)
class Lstm(NeuralLearner):
    """An LSTM over the tokens (arXiv 2302.11405)."""

    architecture = "lstm"
    options: NeuralOptions = field(default_factory=lambda: NeuralOptions(tokens=256, epochs=20))


@dataclass(frozen=True)
class Conv1d(NeuralLearner):
    """Stacked one-dimensional convolutions with max pooling (arXiv 2302.11405)."""

    architecture = "conv1d"


@dataclass(frozen=True)
class Transformer(NeuralLearner):
    """A transformer over tokens whose numbers are numbers."""

    architecture = "transformer"
    options: NeuralOptions = field(
        default_factory=lambda: NeuralOptions(tokenizer="seerc", prior=True, ranking=True, epochs=25)
    )


@dataclass(frozen=True)
class Graph(NeuralLearner):
    """Message passing over the dataflow graph."""

    architecture = "graph"
    options: NeuralOptions = field(default_factory=lambda: NeuralOptions(tokenizer="graph", prior=True, ranking=True))


def calibration_rows(data: Dataset, options: NeuralOptions) -> NDArray[np.bool_]:
    """Rows that the intervals are taken from: whole groups, and no workload that training keeps."""
    groups = data.groups if len(np.unique(data.groups)) >= 4 else data.workloads
    names = np.random.default_rng((options.seed, 1)).permutation(np.unique(groups))
    sizes = np.array([(groups == n).sum() for n in names])
    count = max(1, int(np.searchsorted(np.cumsum(sizes), options.calibration * len(data))))
    held = np.isin(groups, names[:count])
    if held.all():
        raise SeercError("all records are of one workload: nothing is left to train on; collect more workloads")
    return held


def _margins(model: NeuralModel, held: Dataset) -> dict[str, tuple[float, float]]:
    inputs = dataset_inputs(held, model.reader, model.options.prior)
    guess = model.network.residuals(model.outputs(inputs)).numpy() + inputs.offsets
    wrong = labels(held.measured, len(held)) - guess
    found = {m: _quantiles(wrong[:, i]) for i, m in enumerate(METRICS)}
    with np.errstate(divide="ignore", invalid="ignore"):
        found["peak_bytes"] = _quantiles(
            np.log(held.measured.get("peak_bytes", np.array([]))) - np.log(held.prior["peak_bytes"])
        )
    return {m: bounds for m, bounds in found.items() if bounds is not None}


def _quantiles(residual: Array) -> tuple[float, float] | None:
    """The middle COVERAGE of residuals, around zero; None where there is none."""
    known = residual[np.isfinite(residual)]
    if not len(known):
        return None
    tail = (1.0 - COVERAGE) / 2.0
    return min(0.0, float(np.quantile(known, tail))), max(0.0, float(np.quantile(known, 1.0 - tail)))

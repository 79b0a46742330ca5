"""A trained neural cost model: predictions from texts or datasets, each workload encoded once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from costmodel.analytic import analyse
from costmodel.artefact import check_target, save_artefact
from costmodel.candidates import as_predictions, gather, group_pairs
from costmodel.dataset import Dataset
from costmodel.learner import Predicted
from costmodel.neural.columns import columns
from costmodel.neural.inputs import Inputs, dataset_inputs, pad
from costmodel.neural.labels import METRICS, from_space, offsets
from costmodel.neural.network import Network
from costmodel.neural.options import NeuralOptions
from costmodel.neural.processes import first
from costmodel.neural.reading import Reader, Reading
from costmodel.protocol import Prediction
from costmodel.schedules import Array, schedules
from costmodel.target import Target
from costmodel.text import split_candidate

REMEMBERED = 4096
"""Workload vectors that a model keeps."""


@dataclass(frozen=True)
class NeuralModel:
    """See `costmodel.learner.Trained`; `neural.artefact` loads what `save` writes."""

    architecture: str
    network: Network
    reader: Reader
    margins: dict[str, tuple[float, float]]
    """Residual quantiles (low, high) of each metric in label space, on networks that training did not see."""
    targets: tuple[Target, ...]
    options: NeuralOptions
    name: str
    _vectors: dict[str, Tensor] = field(default_factory=dict[str, Tensor], repr=False, compare=False)

    def predict(
        self, candidates: Sequence[str], target: Target, metrics: Sequence[str] | None = None
    ) -> list[Prediction]:
        """See `costmodel.protocol.CostModel.predict`."""
        check_target(self.name, list(self.targets), target)
        if not candidates:
            return []
        pairs = [split_candidate(c) for c in candidates]
        texts, attributes = [w for w, _ in pairs], [s for _, s in pairs]
        groups = group_pairs(texts, attributes)
        prior = gather(groups, len(pairs), lambda g: analyse(g.facts, g.schedules, target))
        machines = np.zeros(len(pairs), dtype=np.int64)
        table = columns(schedules(attributes), machines, (target,), prior, self.options.prior)
        order = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        vectors = torch.stack([self._vector(text) for text in order])[[order[t] for t in texts]]
        outputs = self._combine(vectors, table.astype(np.float32))
        found = self._predicted(outputs, offsets(prior, self.options.prior), prior, metrics)
        return list[Prediction](as_predictions(found.values, found.low, found.high, len(pairs)))

    def predict_dataset(self, data: Dataset) -> Predicted:
        """See `costmodel.learner.Trained`."""
        inputs = dataset_inputs(data, self.reader, self.options.prior)
        return self._predicted(self.outputs(inputs), inputs.offsets, data.prior, None)

    def outputs(self, inputs: Inputs) -> Tensor:
        """Standardised outputs (n, metrics + 1) of all rows."""
        with torch.inference_mode():
            vectors = torch.stack([self._encode(r) for r in inputs.readings])[torch.from_numpy(inputs.owner)]
        return self._combine(vectors, inputs.columns)

    def save(self, folder: Path, card: str, extra: dict[str, Any]) -> None:
        """See `costmodel.learner.Trained`; of several processes the first one writes."""
        from safetensors.torch import save

        config = {
            "model": "neural",
            "architecture": self.architecture,
            "columns": len(self.network.column_mean),
            "metrics": list(METRICS),
            "targets": [json.loads(t.to_json()) for t in self.targets],
            "options": asdict(self.options),
            "margins": self.margins,
        }
        weights = save({k: v.contiguous() for k, v in self.network.state_dict().items()})
        files = {"model.safetensors": weights, "tokenizer.json": self.reader.to_json().encode()}
        if first():
            save_artefact(folder, {**config, **extra}, files, card)

    def _vector(self, text: str) -> Tensor:
        """The vector of a workload text, remembered."""
        if text not in self._vectors:
            if len(self._vectors) >= REMEMBERED:
                self._vectors.clear()
            with torch.inference_mode():
                self._vectors[text] = self._encode(self.reader.read(text))
        return self._vectors[text]

    def _encode(self, reading: Reading) -> Tensor:
        """(hidden,). One at a time: no padding, so a workload's vector does not depend on its company."""
        return self.network.encode(pad([reading]))[0]

    def _combine(self, vectors: Tensor, table: np.ndarray[Any, np.dtype[np.float32]]) -> Tensor:
        with torch.inference_mode():
            return self.network.combine(vectors, torch.from_numpy(table))

    def _predicted(
        self, outputs: Tensor, added: Array, prior: dict[str, Array], metrics: Sequence[str] | None
    ) -> Predicted:
        raw = self.network.residuals(outputs).numpy().astype(np.float64) + added
        values, low, high = dict[str, Array](), dict[str, Array](), dict[str, Array]()
        for i, metric in enumerate(METRICS):
            if metric in self.margins:
                bounds = (0.0, *self.margins[metric])
                values[metric], low[metric], high[metric] = (from_space(metric, raw[:, i] + d) for d in bounds)
        work = prior["utilisation"] * prior["latency_ns"]
        for table, latency in ((values, values), (low, high), (high, low)):
            table["utilisation"] = np.minimum(1.0, work / np.maximum(latency["latency_ns"], 1e-3))
        if "peak_bytes" in self.margins:
            values["peak_bytes"] = prior["peak_bytes"]
            low["peak_bytes"], high["peak_bytes"] = (
                prior["peak_bytes"] * np.exp(m) for m in self.margins["peak_bytes"]
            )
        if metrics is not None:
            values, low, high = ({m: t[m] for m in t if m in metrics} for t in (values, low, high))
        order = outputs[:, -1].numpy().astype(np.float64) if self.options.ranking else None
        return Predicted(values, low, high, order)

"""The whole network: an encoder of the workload, the candidate's numbers, and one output a metric plus a rank score."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from costmodel.neural.bag import BagEncoder
from costmodel.neural.conv1d import Conv1dEncoder
from costmodel.neural.graph import GraphEncoder
from costmodel.neural.inputs import Examples, Texts
from costmodel.neural.labels import METRICS
from costmodel.neural.lstm import LstmEncoder
from costmodel.neural.options import NeuralOptions
from costmodel.neural.reading import Reader
from costmodel.neural.transformer import TransformerEncoder

ENCODERS: dict[str, type[nn.Module]] = {
    "bag": BagEncoder,
    "lstm": LstmEncoder,
    "conv1d": Conv1dEncoder,
    "transformer": TransformerEncoder,
    "graph": GraphEncoder,
}
FARTHEST = 4.0
"""Standardised numbers are cut off here: beyond what training saw, a network invents."""


class Network(nn.Module):
    """Workload vectors are made once and combined with the numbers of each candidate, so ranking many is cheap."""

    column_mean: Tensor
    column_scale: Tensor
    label_mean: Tensor
    label_scale: Tensor

    def __init__(self, architecture: str, size: int, channels: int, columns: int, options: NeuralOptions) -> None:
        super().__init__()
        width, wide = options.hidden, 2 * options.hidden
        self.encoder = ENCODERS[architecture](size, channels, options)
        self.from_text, self.gate = nn.Linear(width, wide), nn.Linear(width, wide)
        self.from_columns = nn.Sequential(nn.Linear(columns, wide), nn.GELU(), nn.Linear(wide, wide))
        self.middle = nn.Sequential(nn.GELU(), nn.Dropout(options.dropout), nn.Linear(wide, wide), nn.GELU())
        self.out = nn.Linear(wide, len(METRICS) + 1)
        for name, count in (("column", columns), ("label", len(METRICS))):
            self.register_buffer(f"{name}_mean", torch.zeros(count))
            self.register_buffer(f"{name}_scale", torch.ones(count))

    def encode(self, texts: Texts) -> Tensor:
        """One vector a workload: (w, hidden)."""
        return self.encoder(texts)

    def combine(self, vectors: Tensor, columns: Tensor) -> Tensor:
        """Standardised outputs (n, metrics + 1) from each candidate's workload vector and columns.

        The last output is the order within a task: predicted latency and a learned correction, lower is faster.
        """
        numbers = ((columns - self.column_mean) * self.column_scale).clamp(-FARTHEST, FARTHEST)
        seen = self.from_columns(numbers)
        out = self.out(self.middle(self.from_text(vectors) + seen * (1.0 + self.gate(vectors))))
        return torch.cat([out[:, :-1], out[:, :1] + out[:, -1:]], 1)

    def forward(self, texts: Texts, owner: Tensor, columns: Tensor) -> Tensor:
        """`combine` for candidates whose workload is `texts[owner]`."""
        return self.combine(self.encode(texts)[owner], columns)

    def residuals(self, outputs: Tensor) -> Tensor:
        """Label residuals (n, metrics) of standardised outputs."""
        return outputs[:, : len(METRICS)] * self.label_scale + self.label_mean


def build_network(architecture: str, reader: Reader, columns: int, options: NeuralOptions) -> Network:
    """A network with the weights that the options' seed gives."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return Network(architecture, reader.size, reader.channels, columns, options)


def standardise(network: Network, examples: Examples) -> None:
    """Set the means and scales of columns and labels from training rows; what does not vary there is left out."""
    columns, residuals = torch.from_numpy(examples.inputs.columns), torch.from_numpy(examples.residuals)
    spread = columns.std(0, correction=0)
    network.column_mean.copy_(columns.mean(0))
    network.column_scale.copy_(torch.where(spread > 1e-5, 1.0 / spread.clamp(min=1e-5), 0.0))
    for i in range(residuals.shape[1]):
        known = residuals[:, i][torch.isfinite(residuals[:, i])]
        if len(known) > 1:
            network.label_mean[i] = known.mean()
            network.label_scale[i] = known.std(correction=0).clamp(min=1e-3)

"""Message passing over the dataflow graph: each node hears its neighbours, by kind of edge, in several rounds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from costmodel.neural.dataflow import EDGES
from costmodel.neural.embedding import Embedding, max_pool, mean_pool
from costmodel.neural.inputs import Texts
from costmodel.neural.options import NeuralOptions


class GraphEncoder(nn.Module):
    """Rounds of messages (a relational graph network with residuals), then mean and maximum over the nodes."""

    def __init__(self, size: int, channels: int, options: NeuralOptions) -> None:
        super().__init__()
        self.embedding = Embedding(size, channels, options.hidden)
        self.rounds = nn.ModuleList(Round(options.hidden, options.dropout) for _ in range(options.layers))
        self.out = nn.Linear(2 * options.hidden, options.hidden)

    def forward(self, texts: Texts) -> Tensor:
        """(w, hidden)."""
        states = self.embedding(texts)
        shape, mask = states.shape, texts.mask
        states = states.reshape(-1, shape[2])
        for step in self.rounds:
            states = step(states, texts.edges)
        states = states.reshape(shape)
        return self.out(torch.cat([mean_pool(states, mask), max_pool(states, mask)], 1))


class Round(nn.Module):
    """One exchange of messages between nodes."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.norm = nn.LayerNorm(width)
        self.messages = nn.Linear(width, len(EDGES) * (width // 4))
        self.update = nn.Sequential(
            nn.Linear(width + len(EDGES) * (width // 4), width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    def forward(self, states: Tensor, edges: Tensor) -> Tensor:
        """(nodes, width) to the same; edges as in `inputs.Texts`. Messages of one kind are summed."""
        normal = self.norm(states)
        kinds, part = len(EDGES), self.width // 4
        sent = self.messages(normal).reshape(-1, part)  # (nodes * kinds, part)
        source, sink = (edges[:, i] * kinds + edges[:, 2] for i in (0, 1))
        heard = torch.zeros_like(sent).index_add(0, sink, sent[source]).reshape(len(states), -1)
        return states + self.update(torch.cat([normal, heard], 1))

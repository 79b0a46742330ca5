"""The seed paper's second network: an LSTM over the tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from costmodel.neural.embedding import Embedding
from costmodel.neural.inputs import Texts
from costmodel.neural.options import NeuralOptions


class LstmEncoder(nn.Module):
    """One layer, forward in time; the vector is the state after the last token."""

    def __init__(self, size: int, channels: int, options: NeuralOptions) -> None:
        super().__init__()
        self.embedding = Embedding(size, channels, options.hidden // 2)
        self.recurrent = nn.LSTM(options.hidden // 2, options.hidden, batch_first=True)

    def forward(self, texts: Texts) -> Tensor:
        """(w, hidden)."""
        states, _ = self.recurrent(self.embedding(texts))
        last = (texts.lengths - 1)[:, None, None].expand(-1, 1, states.shape[2])
        return torch.gather(states, 1, last)[:, 0]

"""What a network reads of a workload: token ids with numbers, or the nodes and edges of its dataflow graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from costmodel.tokens.tokenizer import Tokenizer
from costmodel.tokens.word import CHANNELS


@dataclass(frozen=True)
class Reading:
    """One workload."""

    ids: NDArray[np.int32]
    """(t,): tokens, or kinds of nodes."""
    numbers: NDArray[np.float32]
    """(t, channels)."""
    edges: NDArray[np.int32]
    """(e, 3): from node, to node, kind; empty for token sequences."""


class Reader(Protocol):
    """Turns texts into readings."""

    @property
    def size(self) -> int:
        """Number of ids."""
        ...

    @property
    def channels(self) -> int:
        """Numbers beside each id."""
        ...

    def read(self, text: str) -> Reading:
        """The reading of a workload text; SeercError if it cannot be read."""
        ...

    def to_json(self) -> str:
        """tokenizer.json."""
        ...


@dataclass(frozen=True)
class TokenReader:
    """A tokenizer whose sequences are cropped."""

    tokenizer: Tokenizer
    tokens: int

    @property
    def size(self) -> int:
        """See `Reader`."""
        return self.tokenizer.size

    @property
    def channels(self) -> int:
        """See `Reader`."""
        return len(CHANNELS)

    def read(self, text: str) -> Reading:
        """See `Reader`."""
        found = self.tokenizer.encode(text)
        numbers = found.numbers if self.tokenizer.scheme == "seerc" else np.zeros_like(found.numbers)
        return Reading(found.ids[: self.tokens], numbers[: self.tokens], np.zeros((0, 3), dtype=np.int32))

    def to_json(self) -> str:
        """See `Reader`."""
        return self.tokenizer.to_json()

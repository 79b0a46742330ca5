"""Generated text on its way to the reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO


class Printer:
    """One sequence goes out piece by piece; several by whole lines, each with the number of its prompt.

    `out` None: nothing is printed.
    """

    def __init__(self, out: TextIO | None, count: int) -> None:
        self._out, self._waiting = out, [""] * count

    def write(self, index: int, text: str) -> None:
        """`text` is the next piece of sequence `index`."""
        if self._out is None or not text:
            return
        if len(self._waiting) == 1:
            print(text, end="", flush=True, file=self._out)
            return
        *lines, self._waiting[index] = (self._waiting[index] + text).split("\n")
        self._lines(index, lines)

    def close(self) -> None:
        """The rest, and the end of the line."""
        if self._out is None:
            return
        if len(self._waiting) == 1:
            print(flush=True, file=self._out)
        for index, text in enumerate(self._waiting):
            self._lines(index, [text] if text else [])

    def _lines(self, index: int, lines: Sequence[str]) -> None:
        for line in lines:
            print(f"[{index + 1}] {line}", flush=True, file=self._out)

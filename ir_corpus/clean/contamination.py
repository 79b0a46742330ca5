"""Rows that hold text of a benchmark: runs of words, or hashes of whole texts, from a list that the user gives."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from costmodel.errors import SeercError

NGRAM = 13
_WORD = re.compile(r"\w+|[^\w\s]")
_HASH = re.compile(r"^[0-9a-f]{64}$")


class Benchmark:
    """Texts that must not be in a corpus: each line of a list is a text, or the SHA-256 of a text without spaces."""

    def __init__(self, lines: list[str]) -> None:
        self._hashes = {line for line in lines if _HASH.match(line)}
        self._grams = {gram for line in lines if not _HASH.match(line) for gram in _grams(line)}

    def holds(self, source: str) -> bool:
        """Whether a source has one of the runs of 13 words and marks, or one of the hashes."""
        if self._hashes and hashlib.sha256("".join(source.split()).encode()).hexdigest() in self._hashes:
            return True
        return bool(self._grams) and any(gram in self._grams for gram in _grams(source))


def read(path: Path | None) -> Benchmark:
    """The list in a text file, one entry a line; nothing is refused where there is no file."""
    if path is None:
        return Benchmark([])
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SeercError(f"{path} is not a text file: byte {error.start} is not UTF-8") from error
    return Benchmark([line for line in text.splitlines() if line.strip()])


def _grams(text: str) -> set[str]:
    words = _WORD.findall(text)
    if len(words) < NGRAM:
        return set()
    return {" ".join(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)}

"""One tokenizer for the three readings: texts in, ids and numbers out, a vocabulary that JSON keeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import SeercError, unknown_name
from costmodel.syntax import Statement
from costmodel.text import canonical_functions, functions, split_candidate
from costmodel.tokens.plain import no_words, op_words, operand_words, schedule_fields
from costmodel.tokens.structure import schedule_words, structure_words
from costmodel.tokens.word import Word, channels

PAD, UNKNOWN = "<pad>", "<unk>"
MAX_WORDS = 200_000


@dataclass(frozen=True)
class Scheme:
    """One way to read MLIR: words of a canonical function, and words of a schedule attribute."""

    function: Callable[[Statement], Iterator[Word]]
    schedule: Callable[[str], Iterator[Word]]


SCHEMES: dict[str, Scheme] = {
    "ops": Scheme(op_words, no_words),
    "operands": Scheme(operand_words, schedule_fields),
    "seerc": Scheme(structure_words, schedule_words),
}


@dataclass(frozen=True)
class Encoded:
    """t tokens of one text."""

    ids: NDArray[np.int32]
    """(t,): 0 is padding, 1 is unknown."""
    numbers: NDArray[np.float32]
    """(t, channels): `word.CHANNELS`."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Tokenizer:
    """A scheme with the words that its training texts held, in order of their ids from 2 on."""

    scheme: str
    words: tuple[str, ...]

    @staticmethod
    def build(scheme: str, texts: Iterable[str], schedules: Iterable[str] = ()) -> Tokenizer:
        """The tokenizer of all words in workload or candidate texts and in schedule attributes.

        Raises:
            SeercError: unknown scheme, or a text that cannot be read.
        """
        if scheme not in SCHEMES:
            raise unknown_name("tokenizer", scheme, SCHEMES)
        found = {w.text for text in texts for w in text_words(scheme, text)}
        found |= {w.text for attribute in set(schedules) for w in SCHEMES[scheme].schedule(attribute)}
        return Tokenizer(scheme, tuple(sorted(found)))

    def with_words(self, words: Iterable[str]) -> Tokenizer:
        """The tokenizer that knows some words more; ids change."""
        return Tokenizer(self.scheme, tuple(sorted({*self.words, *words})))

    @cached_property
    def index(self) -> dict[str, int]:
        """Word to id."""
        return {word: i for i, word in enumerate(self.words, 2)}

    @property
    def size(self) -> int:
        """Number of ids."""
        return len(self.words) + 2

    def encode(self, text: str) -> Encoded:
        """The tokens of a text; those of its schedule, where it has one, are the last.

        Raises:
            SeercError: the text cannot be read.
        """
        workload, attribute = split_candidate(text)
        words = text_words(self.scheme, workload)
        return self._encode((*words, *SCHEMES[self.scheme].schedule(attribute)) if attribute else words)

    def encode_schedule(self, attribute: str) -> Encoded:
        """The tokens that a schedule attribute appends to its workload's."""
        return self._encode(tuple(SCHEMES[self.scheme].schedule(attribute)))

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The words of ids."""
        names = (PAD, UNKNOWN, *self.words)
        return [names[i] for i in ids]

    def _encode(self, words: tuple[Word, ...]) -> Encoded:
        index = self.index
        return Encoded(np.array([index.get(w.text, 1) for w in words], dtype=np.int32), channels(words))

    def to_json(self) -> str:
        """tokenizer.json."""
        return json.dumps({"scheme": self.scheme, "words": self.words}, ensure_ascii=False, indent=0) + "\n"

    @staticmethod
    def from_json(text: str | bytes) -> Tokenizer:
        """The tokenizer that `to_json` wrote; SeercError if it is none."""
        scheme, words = read_words(text)
        if scheme not in SCHEMES:
            raise unknown_name("tokenizer", scheme, SCHEMES)
        return Tokenizer(scheme, words)


def read_words(text: str | bytes) -> tuple[str, tuple[str, ...]]:
    """(scheme, words) of a tokenizer.json; SeercError if it is none."""
    try:
        content: dict[str, Any] = json.loads(text)
        scheme, words = content["scheme"], tuple(content["words"])
    except (ValueError, TypeError, KeyError) as error:
        raise SeercError(f"tokenizer.json: not a tokenizer ({error!r}); train the model again") from error
    if not all(isinstance(w, str) for w in (scheme, *words)) or len(set(words)) < len(words) or len(words) > MAX_WORDS:
        raise SeercError(
            f"tokenizer.json: its words are not at most {MAX_WORDS} different texts; train the model again"
        )
    return scheme, words


@lru_cache(maxsize=2048)
def text_words(scheme: str, text: str) -> tuple[Word, ...]:
    """Words of every function of a text in canonical form, so that names, spacing and order of ops do not matter."""
    found = canonical_functions(text)
    parsed = [f for _, canonical in found for f in functions(canonical)]
    return tuple(w for f in parsed for w in SCHEMES[scheme].function(f))

"""The arms of the experiment: which documents are made from the same pairs.

A document is `source <|end|>`, `IR <|end|>`, `source <source_to_llvm> IR <|end|>` or `IR <llvm_to_source> source
<|end|>`. Each side is cut to the same number of tokens in every arm, such that two sides fit one window, so all arms
read the same tokens of the same files and differ only in what stands next to what.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import SeercError
from ir_corpus.lm.pairs import Pair
from ir_corpus.lm.tokenizer import END, IR_TO_SOURCE, SOURCE_TO_IR, encode

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = NDArray[np.int32]


class Arm(Enum):
    """What a model is trained on; every arm starts from the same pairs and ends at the same number of tokens."""

    SOURCE = "source"
    """The sources of the pairs, as often as the tokens allow."""
    PAIRED = "paired"
    """Source and IR in one document, in both directions alike."""
    UNPAIRED = "unpaired"
    """The same sources and the same IR, each a document of its own."""
    MISPAIRED = "mispaired"
    """As paired, but the IR is that of another pair of the language."""
    MORE_SOURCE = "more-source"
    """The sources, and as many sources of further files in place of the IR."""


@dataclass(frozen=True)
class Encoded:
    """The tokens of one pair."""

    source: Ids
    ir: Ids
    language: str


@dataclass(frozen=True)
class Mixture:
    """The recipe: pairs in, an endless stream of documents out, the same one for the same seed.

    Raises:
        SeercError: there are no pairs, or the arm needs further sources of a language and there are none.
    """

    pairs: tuple[Encoded, ...]
    further: tuple[Encoded, ...]
    """Pairs whose sources only MORE_SOURCE reads; may be empty for the other arms."""
    arm: Arm
    sentinels: Mapping[str, int]
    temperature: float = 1.0
    """Languages are drawn in proportion to (their tokens) ** (1 / temperature): 1 as they are, above 1 more evenly."""
    without_ir: frozenset[str] = frozenset()
    """Languages of whose pairs only the source is read (leave one language out)."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.pairs:
            raise SeercError("no pairs to train on: the corpus has none in its split `train`")
        lacking = {p.language for p in self.pairs} - {p.language for p in self.further}
        if self.arm is Arm.MORE_SOURCE and lacking:
            raise SeercError(f"the arm more-source needs further pairs, and there are none of {', '.join(lacking)}")

    def documents(self) -> Iterator[Ids]:
        """Documents without end; every pair of a language is read once before any is read again."""
        random = np.random.default_rng([self.seed, 1])
        groups, further = _by_language(self.pairs), _by_language(self.further)
        names = sorted(groups)
        weights = np.array([sum(len(p.source) + len(p.ir) for p in groups[n]) for n in names], float)
        weights = weights ** (1.0 / self.temperature)
        streams = {n: _cycle(groups[n], np.random.default_rng([self.seed, 2, i])) for i, n in enumerate(names)}
        more = {n: _cycle(further.get(n, []), np.random.default_rng([self.seed, 3, i])) for i, n in enumerate(names)}
        while True:
            name = names[random.choice(len(names), p=weights / weights.sum())]
            pair, other = next(streams[name])
            extra = next(more[name])[0] if self.arm is Arm.MORE_SOURCE else None
            yield from self._of_pair(pair, other, extra, bool(random.integers(2)))

    def _of_pair(self, pair: Encoded, other: Encoded, extra: Encoded | None, forward: bool) -> Iterator[Ids]:
        end = np.array([self.sentinels[END]], np.int32)
        if self.arm in (Arm.SOURCE, Arm.MORE_SOURCE) or pair.language in self.without_ir:
            yield np.concatenate([pair.source, end])
            if extra is not None:
                yield np.concatenate([extra.source, end])
        elif self.arm is Arm.UNPAIRED:
            # The IR of another pair: the two halves of one pair must not stand together for being drawn together.
            yield np.concatenate([pair.source, end])
            yield np.concatenate([other.ir, end])
        else:
            ir = other.ir if self.arm is Arm.MISPAIRED else pair.ir
            middle = np.array([self.sentinels[SOURCE_TO_IR if forward else IR_TO_SOURCE]], np.int32)
            yield np.concatenate([pair.source, middle, ir, end] if forward else [ir, middle, pair.source, end])


def encode_pairs(tokenizer: Tokenizer, pairs: Sequence[Pair], window: int) -> tuple[Encoded, ...]:
    """The tokens of pairs, each side cut so that both and their two sentinels fit `window`."""
    most = (window - 2) // 2
    sources = encode(tokenizer, [p.source for p in pairs])
    irs = encode(tokenizer, [p.ir for p in pairs])
    return tuple(
        Encoded(np.array(s[:most], np.int32), np.array(i[:most], np.int32), p.language)
        for s, i, p in zip(sources, irs, pairs, strict=True)
    )


def _by_language(pairs: Sequence[Encoded]) -> dict[str, list[Encoded]]:
    found: dict[str, list[Encoded]] = {}
    for pair in pairs:
        found.setdefault(pair.language, []).append(pair)
    return found


def _cycle(pairs: list[Encoded], random: np.random.Generator) -> Iterator[tuple[Encoded, Encoded]]:
    """Every pair with one from the other half of the shuffled pairs; shuffled anew when all were drawn."""
    while pairs:
        order = random.permutation(len(pairs))
        for here, there in zip(order, np.roll(order, -max(1, len(order) // 2)), strict=True):
            yield pairs[here], pairs[there]

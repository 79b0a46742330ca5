"""From a corpus to a model's folder: choose pairs, train the tokenizer, mix, train, save."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costmodel.errors import SeercError
from costmodel.files import write_atomically
from costmodel.neural.processes import first
from ir_corpus.lm.documents import Arm, Encoded, Mixture, encode_pairs
from ir_corpus.lm.model import LanguageModel, from_scratch, go_on_from
from ir_corpus.lm.options import SIZES, LmOptions
from ir_corpus.lm.pairs import TRAIN, Pair, by_language, choose, read_corpus
from ir_corpus.lm.tokenizer import sentinel_ids, train_tokenizer
from ir_corpus.lm.training import train

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CARD = "lm.json"
"""What the model was trained on and how, beside config.json."""


def train_on_corpus(
    corpus: Path, folder: Path, options: LmOptions, tell: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Train a model on a corpus and write it to a folder; what lm.json holds. Goes on from a checkpoint in the folder.

    Raises:
        SeercError: no corpus, no pairs, no such model, or the folder holds another run.
    """
    pairs, further = choose(read_corpus(corpus, TRAIN), TRAIN, options.pairs, options.kinds), list[Pair]()
    if options.arm is Arm.MORE_SOURCE:
        pairs, further = halves(pairs)
    tell(f"{len(pairs)} pairs, and the sources of {len(further)} more")
    model = make_model(options, pairs)
    encoded, more = (encode_pairs(model.tokenizer, part, options.window) for part in (pairs, further))
    return train_pairs(model, encoded, more, options, folder, tell)


def halves(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Every second pair of each language: those that all arms read, and those whose sources more-source adds."""
    groups = by_language(pairs).values()
    return [p for group in groups for p in group[::2]], [p for group in groups for p in group[1::2]]


def make_model(options: LmOptions, pairs: Sequence[Pair], tokenizer: Tokenizer | None = None) -> LanguageModel:
    """The model before training; one from scratch has the tokenizer given, else one trained on the pairs."""
    if options.model not in SIZES:
        return go_on_from(Path(options.model))
    size = SIZES[options.model]
    if tokenizer is None:
        texts = (text for pair in pairs for text in (pair.source, pair.ir))
        tokenizer = train_tokenizer(options.tokenizer, texts, size.vocabulary)
    return from_scratch(size, tokenizer, options.window, options.seed)


def train_pairs(
    model: LanguageModel,
    pairs: tuple[Encoded, ...],
    further: tuple[Encoded, ...],
    options: LmOptions,
    folder: Path,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train on encoded pairs, save, and describe."""
    mixture = Mixture(
        pairs,
        further,
        options.arm,
        sentinel_ids(model.tokenizer),
        options.temperature,
        options.without_ir,
        options.seed,
    )
    tell(f"{options.arm.value}: {model.parameters / 1e6:.2f} million parameters, {options.tokens} tokens")
    trained = train(model, mixture, options, folder)
    languages = {name: sum(p.language == name for p in pairs) for name in sorted({p.language for p in pairs})}
    card = {
        "options": options.as_json(),
        "parameters": model.parameters,
        "vocabulary": model.tokenizer.get_vocab_size(),
        "pairs": languages,
        "trained": asdict(trained),
    }
    if first():
        model.save(folder)
        write_atomically(folder / CARD, json.dumps(card, indent=2) + "\n")
    return card


def read_card(folder: Path) -> dict[str, Any]:
    """lm.json of a model's folder; SeercError where there is none."""
    try:
        return json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SeercError(f"{folder / CARD}: cannot be read ({error}); train the model again") from error

"""The reader of each architecture: built from training texts, or read from an artefact."""

from __future__ import annotations

from collections.abc import Iterable

from costmodel.neural.dataflow import SCHEME, GraphReader
from costmodel.neural.options import NeuralOptions
from costmodel.neural.reading import Reader, TokenReader
from costmodel.tokens.tokenizer import Tokenizer, read_words


def build_reader(architecture: str, texts: Iterable[str], options: NeuralOptions, words: Iterable[str] = ()) -> Reader:
    """The reader of an architecture with the vocabulary of training texts, and the words of a pretrained encoder."""
    if architecture == SCHEME:
        return GraphReader.build(texts)
    return TokenReader(Tokenizer.build(options.tokenizer, texts).with_words(words), options.tokens)


def load_reader(content: bytes, options: NeuralOptions) -> Reader:
    """The reader that a tokenizer.json holds."""
    scheme, words = read_words(content)
    if scheme == SCHEME:
        return GraphReader(words)
    return TokenReader(Tokenizer.from_json(content), options.tokens)

"""Tokenizers of source and IR: plain byte-level BPE, and BPE that never crosses identifiers, types and digits.

Both are one `tokenizer.json` of the `tokenizers` library and know the same four sentinels.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costmodel.errors import SeercError, unknown_name

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SOURCE_TO_IR, IR_TO_SOURCE, PAD, END = "<source_to_llvm>", "<llvm_to_source>", "<|pad|>", "<|end|>"
SENTINELS = (PAD, END, SOURCE_TO_IR, IR_TO_SOURCE)
KINDS = ("bpe", "ir")
FILE = "tokenizer.json"
MOST_CHARACTERS = 16_000_000
"""Text that a tokenizer is trained on."""
IR_PIECES = "|".join(
    (
        r" ?(?:i(?:1|8|16|32|64|128)|f(?:16|32|64)|u(?:8|16|32|64))\b",  # types are whole, their numbers no digits
        r" ?[%@!#$]?[A-Za-z_]+",  # identifiers, with the sigil of their kind
        r"\d",  # digits one by one: a number is spelt
        r" ?[^\s\w]+",  # punctuation
        r"\s+",
    )
)
"""What the `ir` tokenizer splits text into before BPE; merges stay inside a piece."""


def train_tokenizer(kind: str, texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A tokenizer of at most `vocabulary` tokens, sentinels and the 256 bytes among them; no text is unknown to it.

    Raises:
        SeercError: the kind is not one of KINDS, or the vocabulary is too small for the bytes.
    """
    from tokenizers import Tokenizer, decoders, models, trainers

    if kind not in KINDS:
        raise unknown_name("tokenizer", kind, KINDS)
    if vocabulary < 256 + len(SENTINELS):
        raise SeercError(f"a vocabulary of {vocabulary} cannot hold the 256 bytes and the sentinels: give at least 260")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _pre_tokenizer(kind)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SENTINELS),
        initial_alphabet=sorted(_alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_capped(texts), trainer)
    return tokenizer


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model's folder.

    Raises:
        SeercError: there is none, it is damaged, or it lacks a sentinel.
    """
    from tokenizers import Tokenizer

    path = folder / FILE
    if not path.is_file():
        raise SeercError(f"{path}: no such file; {folder} is no model that `seerc lm train -o` wrote")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise SeercError(f"{path}: not a tokenizer ({error})") from error
    sentinel_ids(tokenizer)
    return tokenizer


def sentinel_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """The id of each sentinel; SeercError where one is missing."""
    found = {s: i for s in SENTINELS if (i := tokenizer.token_to_id(s)) is not None}
    if len(found) < len(SENTINELS):
        raise SeercError(f"the tokenizer lacks one of {', '.join(SENTINELS)}: train the model again")
    return found


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """The ids of texts; sentinels spelt in a text are plain characters there."""
    tokenizer.encode_special_tokens = True
    return [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]


def _pre_tokenizer(kind: str) -> Any:
    from tokenizers import Regex, pre_tokenizers

    if kind == "bpe":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    split = pre_tokenizers.Split(Regex(IR_PIECES), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return pre_tokenizers.ByteLevel.alphabet()


def _capped(texts: Iterable[str]) -> Iterable[str]:
    left = MOST_CHARACTERS
    for text in texts:
        if left <= 0:
            return
        yield text[:left]
        left -= len(text)

"""Text to tokens and back: pieces of a stream join to the whole text, whatever tokens split."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.decode.text import TextStream, encode
from costmodel.errors import SeercError
from tests.compiler.decode.decode_models import byte_tokenizer

TOKENIZER = byte_tokenizer()


@given(st.text(min_size=1), st.text(), st.integers(1, 4))
def test_pieces_join_to_the_text(prompt: str, text: str, step: int) -> None:
    stream = TextStream(TOKENIZER, encode(TOKENIZER, [prompt])[0])
    tokens = TOKENIZER(text)["input_ids"]
    pieces = [stream.add(tokens[i : i + step]) for i in range(0, len(tokens), step)]
    pieces.append(stream.finish())
    assert "".join(pieces) == stream.text == text


def test_a_character_waits_for_its_bytes() -> None:
    stream = TextStream(TOKENIZER, TOKENIZER("x")["input_ids"])
    a, b, c = TOKENIZER("€")["input_ids"]
    assert [stream.add([a]), stream.add([b]), stream.add([c])] == ["", "", "€"]
    assert [stream.add([a]), stream.finish()] == ["", "\N{REPLACEMENT CHARACTER}"]


def test_special_tokens_are_not_text() -> None:
    stream = TextStream(TOKENIZER, [TOKENIZER("x")["input_ids"][0]])
    assert stream.add([TOKENIZER.eos_token_id]) == ""
    assert stream.finish() == ""


def test_chat() -> None:
    (tokens,) = encode(TOKENIZER, ["hello"], chat=True)
    assert TOKENIZER.decode(tokens) == "<user>hello:"


def failing_template() -> Any:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no user turns') }}"
    return tokenizer


def plain() -> Any:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = None
    return tokenizer


@pytest.mark.parametrize(
    ("tokenizer", "prompt", "chat", "message"),
    [
        (None, "x", False, "no tokenizer"),
        (TOKENIZER, "", False, "a prompt is empty"),
        (TOKENIZER, "\udc80", False, "not UTF-8"),
        (plain(), "x", True, "no chat template"),
        (failing_template(), "x", True, "chat template fails: no user turns"),
    ],
)
def test_what_cannot_be_encoded(tokenizer: Any, prompt: str, chat: bool, message: str) -> None:
    with pytest.raises(SeercError, match=message):
        encode(tokenizer, [prompt], chat)

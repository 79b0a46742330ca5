"""Counting tokens by bytes gives what the definition gives."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ir_corpus.pairs import token_count

TOKEN = r"[A-Za-z_]\w*|\d+|[^\w\s]"


@given(st.text(st.characters(codec="ascii"), max_size=60) | st.text("0a_ .%é\t", max_size=20))
def test_any_text_has_the_tokens_of_the_definition(text: str) -> None:
    assert token_count(text) == len(re.findall(TOKEN, text))


@pytest.mark.parametrize(("text", "count"), [("", 0), ("0x1f", 2), ("i32 %a_1, 7", 5), ("12ab34cd", 2), ("été()", 3)])
def test_some_texts(text: str, count: int) -> None:
    assert token_count(text) == count

"""Both tokenizers spell every text; the IR one keeps to its pieces."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.errors import SeercError
from ir_corpus.lm.tokenizer import KINDS, SENTINELS, encode, read_tokenizer, train_tokenizer
from tests.ir_corpus.lm.conftest import Row


@pytest.fixture(scope="module")
def tokenizers(corpus_rows: list[Row]) -> dict[str, object]:
    texts = [t for row in corpus_rows for t in (row.source, row.ir)]
    return {kind: train_tokenizer(kind, texts, 400) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text())
def test_every_text_comes_back(tokenizers: dict, kind: str, text: str) -> None:
    (ids,) = encode(tokenizers[kind], [text])
    assert tokenizers[kind].decode(ids, skip_special_tokens=False) == text.encode(errors="replace").decode()


@pytest.mark.parametrize("kind", KINDS)
def test_a_sentinel_spelt_in_a_text_is_no_sentinel(tokenizers: dict, kind: str) -> None:
    (ids,) = encode(tokenizers[kind], ["int x; // <|end|> <source_to_llvm>"])
    assert not {tokenizers[kind].token_to_id(s) for s in SENTINELS} & set(ids)


def pieces(tokenizer, text: str) -> list[str]:
    return [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def test_ir_pieces(tokenizers: dict) -> None:
    found = pieces(tokenizers["ir"], "  %v12 = add i32 %v3, 405")
    assert [p.replace("Ġ", " ") for p in found] == "  |%v|1|2| =| add| i32| %v|3|,| |4|0|5".split("|")


def test_numbers_of_the_plain_tokenizer_are_not_split(tokenizers: dict) -> None:
    assert "Ġ405" in pieces(tokenizers["bpe"], "add 405")


def test_the_vocabulary_is_at_most_what_was_asked_for(tokenizers: dict) -> None:
    assert all(t.get_vocab_size() <= 400 for t in tokenizers.values())


def test_bad_requests_are_explained() -> None:
    with pytest.raises(SeercError, match="did you mean bpe"):
        train_tokenizer("bpee", [], 400)
    with pytest.raises(SeercError, match="at least 260"):
        train_tokenizer("ir", [], 100)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SeercError, match=r"tokenizer\.json: no such file"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(SeercError, match="not a tokenizer"):
        read_tokenizer(tmp_path)

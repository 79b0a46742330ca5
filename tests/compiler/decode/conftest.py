"""One compiled decoder for all tests: a Llama with grouped queries, two sequences, drafts of two tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compiler.decode.build import compile_decoder
from compiler.decode.export import DecoderOptions
from compiler.decode.folder import CompiledDecoder
from compiler.decode.source import Source
from compiler.driver import CompileOptions
from tests.compiler.decode.decode_models import build, byte_tokenizer

OPTIONS = DecoderOptions(batch=2, context=32, widths=(1, 3), prefill=4, skippable=True)


@pytest.fixture(scope="session")
def llama() -> Any:
    return build("llama")


@pytest.fixture(scope="session")
def compiled(llama: Any) -> CompiledDecoder:
    source = Source("llama", Path(), llama, byte_tokenizer())
    return compile_decoder(source, OPTIONS, CompileOptions(cost_model="none"), lambda _: None)

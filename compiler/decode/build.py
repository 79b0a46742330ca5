"""From a transformers model to a compiled decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from compiler.decode.export import DecoderOptions, compile_steps
from compiler.decode.folder import CompiledDecoder
from compiler.decode.source import Source
from compiler.driver import CompileOptions


def compile_decoder(
    source: Source,
    options: DecoderOptions,
    compile_options: CompileOptions,
    say: Callable[[str], None],
    plan: Mapping[str, Any] | None = None,
) -> CompiledDecoder:
    """All step programs of the model; `plan` is kept with them."""
    programs = compile_steps(source.model, options, compile_options, say)
    return CompiledDecoder(source.name, options, programs, source.tokenizer, source.end_tokens(), plan)

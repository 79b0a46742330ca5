"""The same functions in several languages, for cross-language retrieval (parallel.md)."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@cache
def parallel_functions() -> dict[str, tuple[str, ...]]:
    """Of each language (lower case) the functions, in the same order in all of them."""
    text = files("ir_corpus.lm").joinpath("parallel.md").read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    for section in _SECTION.split(text)[2::2]:
        for language, source in _BLOCK.findall(section):
            found.setdefault(language, []).append(source)
    return {language: tuple(sources) for language, sources in found.items()}

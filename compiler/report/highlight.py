"""MLIR text as HTML with its words marked for colour."""

from __future__ import annotations

import html
import re

_TOKEN = re.compile(
    r"(?P<comment>//[^\n]*)"
    r'|(?P<string>"[^"\n]*")'
    r"|(?P<type>\b(?:tensor|memref|vector|array)(?=<)|\b(?:[fiu]\d+|bf16|index)\b)"
    r"|(?P<value>%[\w#]+)"
    r"|(?P<symbol>[@#^][\w$.]+)"
    r"|(?P<op>\b[a-z_]+\.[a-z_.]+\b|\b(?:return|module)\b)"
    r"|(?P<number>(?<![\w.])-?\d[\d.]*(?:e[+-]?\d+)?\b)"
)


def highlight(text: str) -> str:
    """Escaped HTML; comments, strings, types, values, symbols, ops and numbers stand in <i class=...>."""
    parts: list[str] = []
    end = 0
    for found in _TOKEN.finditer(text):
        parts += [html.escape(text[end : found.start()]), f'<i class="{found.lastgroup}">{html.escape(found[0])}</i>']
        end = found.end()
    return "".join([*parts, html.escape(text[end:])])

"""What a corpus stores, counted for its manifest, and rows refused beside equal ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ir_corpus.pairs import Pair, digest, function_key

LONG = "function: max tokens"


class Counts:
    """What is stored, counted as it passes, with the hashes by which equal rows are known."""

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._functions = set[str]()
        self._split_of: dict[bytes, str] = {}
        self.files: dict[str, set[str]] = {}
        self.rows: dict[str, Counter[str]] = {"file": Counter(), "function": Counter()}
        self.licences: Counter[str] = Counter()
        self.splits: dict[str, Counter[str]] = {}
        self.short: Counter[str] = Counter()

    def refused(self, pair: Pair) -> str:
        """Why a row must not be stored beside those before it; counts the row if it may."""
        source, canonical = bytes.fromhex(pair.source_sha256)[:16], bytes.fromhex(pair.canonical)[:16]
        if self._split_of.setdefault(source, pair.split) != pair.split:
            return "clean: equal source in another split"
        if pair.kind == "function":
            function = digest(function_key(pair))[:32]
            if function in self._functions:
                return "clean: equal function"
            if self._split_of.setdefault(canonical, pair.split) != pair.split:
                return "clean: equal function in another split"
            self._functions.add(function)
            if pair.tokens >= self._max_tokens:
                return LONG
            self.short[pair.language] += pair.tokens < 4096
        else:
            self.files.setdefault(pair.language, set()).add(f"{pair.package}/{pair.path}")
        self.rows[pair.kind][pair.language] += 1
        self.licences[pair.licence] += 1
        self.splits.setdefault(pair.language, Counter())[pair.split] += 1
        return ""

    def described(self, reasons: Mapping[str, Counter[str]]) -> dict[str, Any]:
        """The counts of the manifest; `pairs` are file pairs, one for each level, `files` their distinct files.

        `functions_within_max_tokens` are the shares of function pairs that the limit of tokens left.
        """
        functions = self.rows["function"]
        long = {name: counts[LONG] + counts["function: too long"] for name, counts in reasons.items()}
        return {
            "pairs": dict(sorted(self.rows["file"].items())),
            "files": {language: len(names) for language, names in sorted(self.files.items())},
            "functions": dict(sorted(functions.items())),
            "functions_under_4096_tokens": {
                name: round(self.short[name] / functions[name], 4) for name in sorted(functions)
            },
            "functions_within_max_tokens": {
                name: round(functions[name] / (functions[name] + long[name]), 4) for name in sorted(functions)
            },
            "licences": dict(sorted(self.licences.items())),
            "splits": {language: dict(sorted(counts.items())) for language, counts in sorted(self.splits.items())},
            "reasons": {language: dict(sorted(counts.items())) for language, counts in sorted(reasons.items())},
        }

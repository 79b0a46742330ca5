"""Between text and tokens: prompts in, text out as soon as its characters are whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costmodel.errors import SeercError

CONTEXT = 8
"""Tokens of the prompt that are decoded along: some tokenizers write a space depending on the token before."""

INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


def encode(tokenizer: Any, prompts: Sequence[str], chat: bool = False) -> list[list[int]]:
    """The tokens of each prompt; with `chat` as the user's turn in the tokenizer's chat template."""
    if tokenizer is None:
        raise SeercError("the model has no tokenizer (tokenizer.json): text cannot be turned into tokens")
    if chat and not tokenizer.chat_template:
        raise SeercError("the tokenizer has no chat template: leave --chat out")
    if not all(prompts):
        raise SeercError("a prompt is empty: give at least one character")
    if any(0xD800 <= ord(c) < 0xE000 for prompt in prompts for c in prompt):
        raise SeercError("a prompt is not UTF-8 text")
    found = [_chat(tokenizer, prompt) if chat else tokenizer(prompt)["input_ids"] for prompt in prompts]
    empty = next((prompt for prompt, tokens in zip(prompts, found, strict=True) if not tokens), None)
    if empty is not None:
        raise SeercError(f"the tokenizer makes no token of the prompt {empty!r}")
    return [list(map(int, tokens)) for tokens in found]


def _chat(tokenizer: Any, prompt: str) -> Any:
    from jinja2 import TemplateError

    turn = [{"role": "user", "content": prompt}]
    try:
        return tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=True, return_dict=False)
    except (TemplateError, TypeError, ValueError) as error:
        raise SeercError(f"the tokenizer's chat template fails: {error}") from error


class TextStream:
    """The text of one sequence, piece by piece. A byte-level token may hold a part of a character: it waits."""

    def __init__(self, tokenizer: Any, prompt: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._tokens = list(prompt[-CONTEXT:])
        self._begin, self._shown = 0, len(self._tokens)
        self.text = ""

    def add(self, tokens: Sequence[int]) -> str:
        """The text that these tokens complete, without special tokens."""
        self._tokens += tokens
        return self._emit(last=False)

    def finish(self) -> str:
        """What still waits: bytes that never became a character."""
        return self._emit(last=True)

    def _emit(self, last: bool) -> str:
        before = self._decode(self._tokens[self._begin : self._shown])
        text = self._decode(self._tokens[self._begin :])
        if len(text) <= len(before) or (text.endswith(INCOMPLETE) and not last):
            return ""
        self._begin, self._shown = self._shown, len(self._tokens)
        piece = text[len(before) :]
        self.text += piece
        return piece

    def _decode(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)

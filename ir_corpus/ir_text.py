"""How printed LLVM IR is laid out: its functions, the names of their arguments, brackets and commas.

Everything here is text in, text out; `ir_corpus.llvm` parses and verifies what is made of it, so a slip is a counted
failure and never a wrong row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

WORD = re.compile(r'(["@%$#!](?:(?<=")[^"]*"|"[^"]*"|[a-zA-Z0-9_.$-]+))')
"""A name with its sigil, a string, attributes, a node: by their first characters, which `re` finds fast."""
OUTSIDE_STRINGS = r'(?=[^"\n]*(?:"[^"\n]*"[^"\n]*)*(?:\n|\Z))'  # an even number of marks up to the end of the line
_MARK = re.compile(r'[()\[\]{}<>,"](?:(?<=")[^"]*")?')  # a bracket, a comma, a string
_ARGUMENT = re.compile(r'%("[^"]*"|[-\w.$]+)$')
_PARAMETERS = re.compile(r'@(?:"[^"]*"|[-\w.$]+)\(')


def split_functions(text: str) -> list[str]:
    """What stands before the first function, the function (`define` to its bracket), what stands before the next...

    Joined they are the text again. Texts are only searched, never taken apart by lines: most of a module is in its
    functions, and a step of Python for each line of them was a third of the pipeline's time.
    """
    text, parts, end = f"\n{text}", list[str](), 1
    start = text.find("\ndefine ")
    while start >= 0:
        body_end = text.index("\n}", start) + 2
        parts += [text[end : start + 1], text[start + 1 : body_end]]
        start, end = text.find("\ndefine ", body_end), body_end
    return [*parts, text[end:]]


def argument_names(header: str) -> Iterator[str]:
    """The names of a definition's parameters; a parameter ends in its name, at the outermost level."""
    start = parameters_start(header)
    for parameter in split_outermost(header[start : closing(header, start - 1)]):
        if found := _ARGUMENT.search(parameter.strip()):
            yield found[1]


def parameters_start(header: str) -> int:
    """Index after the `(` that opens the parameters of a `define` or `declare` line."""
    found = _PARAMETERS.search(header)
    if found is None:
        raise ValueError(f"no function in {header[:80]!r}")
    return found.end()


def closing(text: str, start: int) -> int:
    """Index of the bracket that closes the one at `start`; strings are skipped."""
    depth = 0
    for found in _MARK.finditer(text, start):
        if found[0] in "([{<":
            depth += 1
        elif found[0] in ")]}>":
            depth -= 1
            if depth == 0:
                return found.start()
    raise ValueError(f"unbalanced brackets in {text[start : start + 80]!r}")


def split_outermost(text: str) -> list[str]:
    """Split at the commas that stand in no bracket and no string."""
    parts, depth, start = list[str](), 0, 0
    for found in _MARK.finditer(text):
        if found[0] in "([{<":
            depth += 1
        elif found[0] in ")]}>":
            depth -= 1
        elif found[0] == "," and depth == 0:
            parts.append(text[start : found.start()])
            start = found.end()
    return [*parts, text[start:]]

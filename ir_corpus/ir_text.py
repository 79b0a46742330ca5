"""Edits of printed LLVM IR, line by line: what is removed, and how local values are numbered.

Everything here is text in, text out; `ir_corpus.llvm` parses and verifies the result, so a slip is a counted failure
and never a wrong row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_ATTACHED = re.compile(r"(?:,? ![\w.]+ (?:!\d+|!\{\}))+(?= \{$|$)")
_ATTACHED_DECLARE = re.compile(r"^declare(?: ![\w.]+ !\d+)+")
_DROPPED_LINE = re.compile(r"^(?:source_filename = |; |![\w.]+ = !\{|\s*#dbg_)")
_LABEL_COMMENT = re.compile(r"^([^\s;][^;]*:)\s+; .*$")
_NODE = re.compile(r"^!\d+ = ")
_STRING_ATTRIBUTE = re.compile(r' "[^"]*"(?:="[^"]*")?')
_EMPTY_GROUP = re.compile(r"^attributes #(\d+) = \{ *\}$", re.MULTILINE)
_TOKEN = re.compile(r'%"[^"]*"|%[-\w.$]+|"[^"]*"')
_LABEL = re.compile(r'^("[^"]*"|[-\w.$]+):')
_RESULT = re.compile(r'^\s+%("[^"]*"|[-\w.$]+) = ')
_TYPE = re.compile(r'^%("[^"]*"|[-\w.$]+) = type ', re.MULTILINE)
_ADDRESSED = re.compile(r'blockaddress\(@("[^"]*"|[-\w.$]+),')
_NUMBER = re.compile(r"^\d+$")


def stripped(text: str) -> str:
    """Without debug info, metadata attachments, named metadata, and attributes that only describe the machine."""
    return _without_empty_groups("\n".join(map(_stripped_line, _kept(text))))


def _kept(text: str) -> Iterator[str]:
    """The lines that stay; most are instructions, which one look decides."""
    for line in text.split("\n"):
        if line.startswith("  "):
            if "#dbg_" not in line or not line.lstrip().startswith("#dbg_"):
                yield line
        elif not _DROPPED_LINE.match(line) or _NODE.match(line):
            yield line


def _stripped_line(line: str) -> str:
    if line.startswith("attributes #"):
        head, _, body = line.partition("{")
        return head + "{" + _STRING_ATTRIBUTE.sub("", body)
    if line.startswith("declare !"):
        line = _ATTACHED_DECLARE.sub("declare", line)
    if " !" in line and not _NODE.match(line):
        line = _ATTACHED.sub("", line)
    return line


def _without_empty_groups(text: str) -> str:
    """LLVM prints an attribute group that has become empty, and does not read it."""
    empty = _EMPTY_GROUP.findall(text)
    if not empty:
        return text
    uses = re.compile(r'"[^"]*"| #(?:' + "|".join(empty) + r")\b")
    return uses.sub(lambda match: match[0] if match[0][0] == '"' else "", _EMPTY_GROUP.sub("", text))


def trimmed(text: str) -> str:
    """What LLVM printed, without the module's name and file, comments, and runs of empty lines."""
    lines = (line if line.startswith("  ") else _LABEL_COMMENT.sub(r"\1", line) for line in _kept(text))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n") + "\n"


def numbered(text: str) -> str:
    """Every local value and label by number, as LLVM prints a module whose local names were discarded.

    A function in which a local name is also the name of a type stays as it is: the text alone cannot tell them apart.
    So does one whose blocks have their address taken elsewhere.
    """
    types = {name.strip('"') for name in _TYPE.findall(text)}
    addressed = tuple(f"@{name}(" for name in set(_ADDRESSED.findall(text)))
    return "\n".join(part for part in _with_numbers(text.split("\n"), types, addressed))


def _with_numbers(lines: list[str], types: set[str], addressed: tuple[str, ...]) -> Iterator[str]:
    index = 0
    while index < len(lines):
        if not lines[index].startswith("define "):
            yield lines[index]
            index += 1
            continue
        end = lines.index("}", index)
        fixed = any(name in lines[index] for name in addressed)
        yield from lines[index:end] if fixed else _renumbered(lines[index:end], types)
        index = end


def _renumbered(function: list[str], types: set[str]) -> list[str]:
    names = list(_local_names(function))
    if all(_NUMBER.match(name) for name in names) or any(name in types for name in names):
        return function
    numbers = {name: f"%{number}" for number, name in enumerate(names)}
    labels = {name: number[1:] for name, number in numbers.items()}

    def renamed(match: re.Match[str]) -> str:
        word = match[0]
        return numbers.get(word[1:].strip('"'), word) if word[0] == "%" else word

    result = [_TOKEN.sub(renamed, function[0])]
    for line in function[1:]:
        if label := _LABEL.match(line):
            line = labels[label[1].strip('"')] + line[label.end() - 1 :]
        result.append(_TOKEN.sub(renamed, line) if "%" in line else line)
    return result


def _local_names(function: list[str]) -> Iterator[str]:
    """Names in the order in which LLVM numbers them: arguments, the entry block, then blocks and results."""
    arguments = list(argument_names(function[0]))
    yield from arguments
    first = next((line for line in function[1:] if line.strip()), "")
    if not _LABEL.match(first):  # the entry has a number but no label: the one after the unnamed arguments
        yield str(sum(1 for name in arguments if _NUMBER.match(name)))
    for line in function[1:]:
        found = _LABEL.match(line) or _RESULT.match(line)
        if found:
            yield found[1].strip('"')


def argument_names(header: str) -> Iterator[str]:
    """The names of a definition's parameters; a parameter ends in its name, at the outermost level."""
    start = parameters_start(header)
    for parameter in split_outermost(header[start : closing(header, start - 1)]):
        words = re.findall(r'%("[^"]*"|[-\w.$]+)$', parameter.strip())
        if words:
            yield words[0].strip('"')


def parameters_start(header: str) -> int:
    """Index after the `(` that opens the parameters of a `define` or `declare` line."""
    found = re.search(r'@(?:"[^"]*"|[-\w.$]+)\(', header)
    if found is None:
        raise ValueError(f"no function in {header[:80]!r}")
    return found.end()


def closing(text: str, start: int) -> int:
    """Index of the bracket that closes the one at `start`; strings are skipped."""
    depth, index = 0, start
    while index < len(text):
        character = text[index]
        if character == '"':
            index = text.index('"', index + 1)
        elif character in "([{<":
            depth += 1
        elif character in ")]}>":
            depth -= 1
            if depth == 0:
                return index
        index += 1
    raise ValueError(f"unbalanced brackets in {text[start : start + 80]!r}")


def split_outermost(text: str) -> list[str]:
    """Split at the commas that stand in no bracket and no string."""
    parts, depth, start, index = list[str](), 0, 0, 0
    while index < len(text):
        character = text[index]
        if character == '"':
            index = text.index('"', index + 1)
        elif character in "([{<":
            depth += 1
        elif character in ")]}>":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
        index += 1
    return [*parts, text[start:]]

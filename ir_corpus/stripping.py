"""What is taken out of a module as our LLVM printed it: debug info, metadata, comments, what describes the machine.

Patterns run over whole texts and begin with something literal, which `re` finds fast; nothing is done line by line.
"""

from __future__ import annotations

import re

from ir_corpus.ir_text import OUTSIDE_STRINGS

_DROPPED = re.compile(r"\n(?:; |source_filename = | *#dbg_)[^\n]*")
_ATTACHMENT = r"![\w.]+ (?:!\d+|!\{\})"
_ATTACHED = re.compile(rf", {_ATTACHMENT}(?:, {_ATTACHMENT})*(?=\n)")
_ATTACHED_DEFINE = re.compile(rf" {_ATTACHMENT}(?: {_ATTACHMENT})*(?= \{{\n|\n)")
_ATTACHED_DECLARE = re.compile(r"\ndeclare(?: ![\w.]+ !\d+)+")
_GROUP = re.compile(r"\nattributes #\d+ = \{[^\n]*")
_STRING_ATTRIBUTE = re.compile(r' "[^"]*"(?:="[^"]*")?')
_EMPTY_GROUP = re.compile(r"\nattributes #(\d+) = \{ *\}(?=\n)")
_NODE = re.compile(r"!\d+\b")
_PREDECESSORS = re.compile(r": +; (?:preds = |No predecessors!)[^\n]*")
_EMPTY_LINES = re.compile(r"\n\n\n+")


def parted(text: str) -> tuple[str, str]:
    """A module up to its metadata, and its metadata, which LLVM prints last; both with an empty line before."""
    text = f"\n{text}\n"
    start = text.find("\n!")
    return (text, "") if start < 0 else (text[: start + 1], text[start:])


def stripped(code: str, metadata: str) -> str:
    """A parted module without debug info, other metadata, and attributes that only describe the machine."""
    code = _ATTACHED.sub("", _DROPPED.sub("", code))
    code = _ATTACHED_DECLARE.sub("\ndeclare", _ATTACHED_DEFINE.sub("", code))
    code = _without_empty_groups(_GROUP.sub(lambda group: _STRING_ATTRIBUTE.sub("", group[0]), code))
    return code[1:] + "\n".join(_reached(code, metadata))


def _without_empty_groups(code: str) -> str:
    """LLVM prints an attribute group that has become empty, and does not read it."""
    empty = _EMPTY_GROUP.findall(code)
    if not empty:
        return code
    uses = re.compile(r" #(?:" + "|".join(empty) + r")\b" + OUTSIDE_STRINGS)
    return uses.sub("", _EMPTY_GROUP.sub("", code))


def _reached(code: str, metadata: str) -> list[str]:
    """The nodes that code still names, and what these name: mostly none, while debug info is half of many modules."""
    queue, found = _NODE.findall(code), dict[str, str]()
    lines = metadata[metadata.find("\n!0 = ") + 1 :].split("\n") if queue else []  # LLVM prints all nodes, in order
    while queue:
        name = queue.pop()
        line = lines[int(name[1:])] if name not in found and int(name[1:]) < len(lines) else ""
        if line.startswith(f"{name} = "):
            found[name] = line
            queue += _NODE.findall(line)
    return list(found.values())


def trimmed(text: str) -> str:
    """What LLVM printed, without the module's name and file, comments, and runs of empty lines."""
    code = _PREDECESSORS.sub(":", _DROPPED.sub("", f"\n{text}"))
    return _EMPTY_LINES.sub("\n\n", code).strip("\n") + "\n"

"""The smallest valid module that holds given functions: the functions, and of all else only what they name.

Other functions become declarations, variables become external ones; small private constants (strings) keep their
value. Works on text as `ir_corpus.llvm` prints it, in time linear in the module for all functions together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ir_corpus.ir_text import WORD, closing, parameters_start, split_functions, split_outermost
from ir_corpus.layout import Parts

_NAMED = re.compile(r'([@%])("[^"]*"|[-\w.$]+) = ')
_FUNCTION = re.compile(r'@("[^"]*"|[-\w.$]+)\(')
_COMDAT = re.compile(r" comdat(?:\([^)]*\))?(?= )")
_CONSTANT_BYTES = 400
_LINKAGE = frozenset(
    "private internal available_externally linkonce weak common appending extern_weak linkonce_odr weak_odr external "
    "dso_local dso_preemptable default hidden protected dllimport dllexport".split()
)
_KEPT_AFTER = re.compile(r"(?:local_)?unnamed_addr|addrspace\(\d+\)|#\d+")
_HOST = ("x86_64-unknown-linux", "x86_64-pc-linux", "x86_64-linux")


class NoSlice(Exception):
    """A function that cannot stand alone: it names a block of another function, or its text is irregular."""


@dataclass(frozen=True)
class ModuleText:
    """A printed module, by parts.

    `heads` are the lines of its target; `definitions` maps the name of a function (without sigil and quotes) to its
    text; `lines` maps every other word that may stand in a function to its line: `@name` of what is declared, of
    variables and aliases, `%name` of types, `#0` of attributes, `!0` of nodes; in the module's order.
    """

    heads: list[str] = field(default_factory=list[str])
    definitions: dict[str, str] = field(default_factory=dict[str, str])
    lines: dict[str, str] = field(default_factory=dict[str, str])
    ranks: dict[str, int] = field(default_factory=dict[str, int])
    outsides: dict[str, Outside] = field(default_factory=dict[str, "Outside"])  # what was looked up before


@dataclass(frozen=True)
class Outside:
    """What a function's own module says of a word: a line, and the words of that line."""

    line: str
    words: frozenset[str]


def read(text: str) -> ModuleText:
    """Take a printed module apart."""
    module, parts = ModuleText(), split_functions(text)
    for definition in parts[1::2]:
        module.definitions[_function_name(definition[: definition.index("\n")])] = definition
    for line in "".join(parts[::2]).split("\n"):
        if line.startswith("target "):
            module.heads.append(line)
        elif word := _word(line):
            module.lines[word] = line
    module.ranks.update((word, rank) for rank, word in enumerate(module.lines))
    return module


def _word(line: str) -> str:
    """What a line of a module says the meaning of; empty for none."""
    if line.startswith("declare "):
        return f"@{_function_name(line)}"
    if line.startswith("attributes #"):
        return line.split(" ", 2)[1]
    if line.startswith("!"):
        return line.split(" ", 1)[0]
    found = _NAMED.match(line)
    return _plain(found[1] + found[2]) if found else ""


def smallest(module: ModuleText, names: Iterable[str], keep_target: bool | None = None) -> Parts:
    """A module that defines `names`, and declares what they need.

    Args:
        module: what `read` gave.
        names: functions that the module defines.
        keep_target: whether the data layout and triple stay; by default where it is not x86-64 Linux.
    """
    wanted = list(names)
    functions = [_alone(module.definitions[name]) for name in wanted]
    needed = _needed(module, functions, {f"@{name}" for name in wanted})
    ordered = [needed[word] for word in sorted(needed.keys() & module.ranks.keys(), key=module.ranks.__getitem__)]
    foreign = not any(host in head for head in module.heads for host in _HOST)
    return Parts(
        heads=module.heads if (foreign if keep_target is None else keep_target) else [],
        types=_those(ordered, "%"),
        variables=_those(ordered, "@"),
        functions=functions,
        declarations=sorted(_those(needed.values(), "declare")),
        attributes=_those(ordered, "attributes"),
        nodes=_those(ordered, "!"),
    )


def _those(lines: Iterable[str], start: str) -> list[str]:
    return [line for line in lines if line.startswith(start)]


def _plain(word: str) -> str:
    """`@"a"` and `@a` are one name."""
    return word.replace('"', "")


def _function_name(header: str) -> str:
    found = _FUNCTION.search(header)
    if found is None:
        raise NoSlice(header[:80])
    return found[1].strip('"')


def _alone(definition: str) -> str:
    """A definition without its comdat, which would have to come along."""
    header, newline, body = definition.partition("\n")
    return _COMDAT.sub("", header) + newline + body if " comdat" in header else definition


def _needed(module: ModuleText, bodies: Iterable[str], wanted: set[str]) -> dict[str, str]:
    """Everything that functions name, with what that names in turn: word -> its line in a module of their own."""
    found, queue = dict[str, str](), {word for body in bodies for word in _words(body)}
    while queue:
        word = queue.pop()
        if word in found or word in wanted or (word[0] != "@" and word not in module.lines):
            continue  # known already, or a local value
        outside = module.outsides.get(word) or _outside(module, word)
        found[word] = outside.line
        queue |= outside.words
    return found


def _words(text: str) -> set[str]:
    return {_plain(word) if '"' in word else word for word in WORD.findall(text) if word[0] != '"'}


def _outside(module: ModuleText, word: str) -> Outside:
    """What another module says of a word; looked up once for all functions of a module."""
    line = _outside_global(module, word) if word[0] == "@" else module.lines[word]
    meaning = line if word[0] == "@" else line.partition(" = ")[2]
    outside = module.outsides[word] = Outside(line, frozenset() if word[0] == "#" else frozenset(_words(meaning)))
    return outside


def _outside_global(module: ModuleText, word: str) -> str:
    if word[1:] in module.definitions:
        definition = module.definitions[word[1:]]
        return declaration(definition[: definition.index("\n")])
    if word not in module.lines:
        raise NoSlice(f"{word} is not in the module")
    line = module.lines[word]
    return line if line.startswith("declare ") else _outside_variable(line)


def declaration(header: str) -> str:
    """The `declare` line of a `define` line: linkage, comdat, section and personality go, the type stays."""
    start = parameters_start(header)
    end = closing(header, start - 1)
    found = _FUNCTION.search(header)
    at = found.start() if found else start
    before = " ".join(word for word in header[len("define ") : at].split() if word not in _LINKAGE)
    parameters = re.sub(r' %(?:"[^"]*"|[-\w.$]+)(?=,|$)', "", header[start:end]) if "%" in header else header[start:end]
    after = " ".join(_KEPT_AFTER.findall(re.sub(r'"[^"]*"', "", header[end + 1 :])))
    return f"declare {before} {header[at:start]}{parameters}) {after}".rstrip()


def _outside_variable(line: str) -> str:
    """A variable as another module sees it; a small private constant is kept whole."""
    name, _, rest = line.partition(" = ")
    words = rest.split(" ")
    if any(word in ("alias", "ifunc") for word in words[:6]):
        return _outside_alias(name, rest)
    if words[0] in ("private", "internal") and " constant " in f" {rest[:120]}" and len(line) <= _CONSTANT_BYTES:
        return re.sub(r', comdat(?:\([^)]*\))?|, section "[^"]*"', "", line)
    kind = re.search(r"(?:^|(?<= ))(?:constant|global) ", rest)
    if kind is None:
        raise NoSlice(line[:80])
    before = " ".join(word for word in rest[: kind.end()].split() if word not in _LINKAGE)
    type_text = _first_type(rest[kind.end() :])
    align = re.search(r", align \d+(?=,|$)", rest)
    return f"{name} = external {before} {type_text}{align[0] if align else ''}"


def _outside_alias(name: str, rest: str) -> str:
    found = re.search(r"(?:^|(?<= ))(?:alias|ifunc) ", rest)
    if found is None:
        raise NoSlice(rest[:80])
    value = split_outermost(rest[found.end() :])[0].strip()
    if not value.endswith(")"):
        return f"{name} = external global {value}"
    opening = next(
        index for index in range(len(value)) if value[index] == "(" and closing(value, index) == len(value) - 1
    )
    return f"declare {value[:opening].strip()} {name}{value[opening:]}"


def _first_type(text: str) -> str:
    """The type at the start of `TYPE VALUE...`."""
    if text[0] in "{[<":
        return text[: closing(text, 0) + 1]
    if text.startswith("target("):
        return text[: closing(text, text.index("(")) + 1]
    found = re.match(r'%"[^"]*"|%[-\w.$]+|ptr addrspace\(\d+\)|[\w.]+', text)
    if found is None:
        raise NoSlice(text[:80])
    return found[0]

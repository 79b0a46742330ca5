"""The smallest valid module that holds given functions: the functions, and of all else only what they name.

Other functions become declarations, variables become external ones; small private constants (strings) keep their
value. Works on text as `ir_corpus.llvm` prints it, in time linear in the module for all functions together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ir_corpus.ir_text import closing, parameters_start, split_outermost

_NAMED = re.compile(r'^(@|%|\$)("[^"]*"|[-\w.$]+) = ')
_FUNCTION = re.compile(r'@("[^"]*"|[-\w.$]+)\(')
_REFERENCE = re.compile(r'[@%$]"[^"]*"|@[-\w.$]+|%[A-Za-z_.$][-\w.$]*|%\d+|"[^"]*"|(?<= )#\d+|!\d+\b')
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
    """A printed module, by parts; each dictionary maps a name (without sigil and quotes) to its text."""

    heads: list[str] = field(default_factory=list[str])
    types: dict[str, str] = field(default_factory=dict[str, str])
    variables: dict[str, str] = field(default_factory=dict[str, str])
    definitions: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    declarations: dict[str, str] = field(default_factory=dict[str, str])
    attributes: dict[str, str] = field(default_factory=dict[str, str])
    nodes: dict[str, str] = field(default_factory=dict[str, str])
    comdats: dict[str, str] = field(default_factory=dict[str, str])


def read(text: str) -> ModuleText:
    """Take a printed module apart."""
    module = ModuleText()
    lines = iter(text.split("\n"))
    for line in lines:
        if line.startswith("define "):
            module.definitions[_function_name(line)] = [line, *_body(lines)]
        elif line.startswith("declare "):
            module.declarations[_function_name(line)] = line
        elif line.startswith("target "):
            module.heads.append(line)
        elif line.startswith("attributes #"):
            module.attributes[line.split(" ", 2)[1]] = line
        elif line.startswith("!"):
            module.nodes[line.split(" ", 1)[0]] = line
        elif found := _NAMED.match(line):
            kinds = {"@": module.variables, "%": module.types, "$": module.comdats}
            kinds[found[1]][found[2].strip('"')] = line
    return module


def smallest(module: ModuleText, names: Iterable[str], keep_target: bool | None = None) -> str:
    """The text of a module that defines `names`, and declares what they need.

    Args:
        module: what `read` gave.
        names: functions that the module defines.
        keep_target: whether the data layout and triple stay; by default where it is not x86-64 Linux.
    """
    wanted = list(names)
    parts = _Parts(module, set(wanted))
    bodies = ["\n".join(_alone(module.definitions[name])) for name in wanted]
    for body in bodies:
        parts.need(body)
    foreign = not any(host in head for head in module.heads for host in _HOST)
    heads = module.heads if (foreign if keep_target is None else keep_target) else []
    sections = [heads, parts.ordered(module.types, parts.types), parts.variables(), bodies, parts.declarations()]
    sections += [parts.ordered(module.attributes, parts.attributes), parts.ordered(module.nodes, parts.nodes)]
    return "\n\n".join("\n".join(section) for section in sections if section) + "\n"


def _function_name(header: str) -> str:
    found = _FUNCTION.search(header)
    if found is None:
        raise NoSlice(header[:80])
    return found[1].strip('"')


def _body(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield line
        if line == "}":
            return


def _alone(definition: list[str]) -> list[str]:
    """A definition without its comdat, which would have to come along."""
    return [re.sub(r" comdat(?:\([^)]*\))?(?= )", "", definition[0]), *definition[1:]]


class _Parts:
    """What the wanted functions name, directly or through types and constants."""

    def __init__(self, module: ModuleText, wanted: set[str]) -> None:
        self.module = module
        self.wanted = wanted
        self.types, self.attributes, self.nodes = set[str](), set[str](), set[str]()
        self.used: dict[str, str] = {}

    def need(self, text: str) -> None:
        """Add everything that a text names, with what that names in turn."""
        queue = [text]
        while queue:
            for word in _REFERENCE.findall(queue.pop()):
                queue += self._named(word)

    def _named(self, word: str) -> list[str]:
        if word[0] in '"$':
            return []
        if word[0] == "#":
            self.attributes.add(word)
            return []
        name = word[1:].strip('"')
        if word[0] == "@":
            return self._global(name)
        known, table, key = (
            (self.nodes, self.module.nodes, word) if word[0] == "!" else (self.types, self.module.types, name)
        )
        if key in known or key not in table:
            return []
        known.add(key)
        return [table[key].partition(" = ")[2]]

    def _global(self, name: str) -> list[str]:
        if name in self.used or name in self.wanted:
            return []
        text = self._outside(name)
        self.used[name] = text
        return [text]

    def _outside(self, name: str) -> str:
        if name in self.module.declarations:
            return self.module.declarations[name]
        if name in self.module.definitions:
            return declaration(self.module.definitions[name][0])
        if name in self.module.variables:
            return _outside_variable(self.module.variables[name])
        raise NoSlice(f"@{name} is not in the module")

    def ordered(self, table: dict[str, str], names: set[str]) -> list[str]:
        return [text for name, text in table.items() if name in names]

    def variables(self) -> list[str]:
        return [self.used[name] for name in self.module.variables if name in self.used and self.used[name][0] == "@"]

    def declarations(self) -> list[str]:
        return sorted(text for text in self.used.values() if text.startswith("declare"))


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

"""The dataflow inside a structured op: which operation computes what from which block arguments and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from costmodel.errors import SeercError
from costmodel.syntax import Group, Statement, Token, ordered, used


@dataclass(frozen=True)
class Step:
    """One operation of a body. Its operands are numbers of `Body`'s values."""

    name: str
    operands: tuple[int, ...]
    text: str = ""
    """The value of a constant, or the dimension of `linalg.index`, as written."""


@dataclass(frozen=True)
class Body:
    """Values are numbered: block arguments from 0 on, then one a step; values of the function are -1 - their index."""

    arguments: int
    steps: tuple[Step, ...]
    yields: tuple[int, ...]


def read_body(region: list[Statement], outer: Mapping[str, int]) -> Body:
    """The body of a linalg.generic; names that it does not define are looked up in `outer`; SeercError if unknown."""
    names: dict[str, int] = {}
    steps: list[Step] = []
    yields: tuple[int, ...] = ()
    arguments = 0

    def operands(statement: Statement) -> tuple[int, ...]:
        unknown = [n for n in used(statement.items) if n not in names and n not in outer]
        if unknown:
            raise SeercError(f"line {statement.line}: {unknown[0]} is used before it is defined")
        return tuple(names[n] if n in names else -1 - outer[n] for n in used(statement.items))

    for statement in ordered(region):
        if statement.name.startswith("^"):
            for name in used(statement.items):
                names[name] = arguments
                arguments += 1
        elif statement.name == "linalg.yield":
            yields = operands(statement)
        else:
            for result in statement.results:
                names[result.split(":")[0]] = arguments + len(steps)
            text = next((t.text for t in _tokens(statement) if t.kind == "number" or t.text in ("true", "false")), "")
            steps.append(Step(statement.name, operands(statement), text))
    return Body(arguments, tuple(steps), yields)


def _tokens(statement: Statement) -> Iterator[Token]:
    return (i for i in statement.items if not isinstance(i, Group))

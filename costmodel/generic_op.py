"""The parts of an operation in MLIR's generic form: `"dialect.op"(...) <{...}> ({...}) {...} : (...) -> ...`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from costmodel.syntax import Group, Item, Items, Statement, Token, dictionary, split_commas

_DYNAMIC = str(-(2**63))


@dataclass
class Op:
    """The parts of an op in generic form; types and regions are lists of items each."""

    source: Statement
    name: str
    operands: list[Token]
    attributes: dict[str, Items]
    inherent: dict[str, Items]
    """Properties; an attribute that the op knows may also stand among `attributes`."""
    regions: list[Group]
    types: list[Items]
    results: list[Items] = field(default_factory=list[Items])

    def take(self, key: str) -> Items | None:
        """The items of a property (older MLIR: attribute), which is then no longer there."""
        found = self.inherent.pop(key, None)
        return self.attributes.pop(key, None) if found is None else found

    def numbers(self, key: str) -> list[str]:
        """The numbers of an array attribute; empty where it is missing."""
        return [t.text for t in tokens(self.take(key) or []) if t.kind == "number"]

    def word(self, text: str) -> Token:
        """A token of the pretty form."""
        kind = "number" if text.lstrip("-").isdigit() else "word" if text[:1].isalpha() else "punctuation"
        return Token(kind, text, self.source.line)

    def say(self, *texts: str) -> Items:
        """Tokens of the pretty form."""
        return [self.word(t) for t in texts]

    def bracket(self, opener: str, parts: Iterable[Items]) -> Group:
        """Parts between brackets with commas between them."""
        return Group(opener, self.commas(parts), self.source.line)

    def commas(self, parts: Iterable[Items]) -> Items:
        """Parts with commas between them."""
        out: Items = []
        for part in parts:
            out += [self.word(","), *part] if out else part
        return out

    def values(self, operands: Sequence[Token] | None = None) -> Items:
        """Operands with commas between them."""
        return self.commas([o] for o in (self.operands if operands is None else operands))

    def made(self, items: Items, name: str | None = None) -> Statement:
        """The statement of this op in pretty form."""
        return Statement(self.source.results, name or self.name, items, self.source.line)

    def rest(self) -> Items:
        """The attributes that no one has taken, as a dictionary."""
        left = {**self.inherent, **self.attributes}
        entries: list[Items] = [[self.word(k), self.word("="), *v] if v else [self.word(k)] for k, v in left.items()]
        return [self.bracket("{", entries)] if entries else []

    def list_of(self, static: str, dynamic: list[Token]) -> Group:
        """`[0, %i]`: the numbers of an attribute, the dynamic ones replaced by the next of `dynamic`."""
        following = iter(dynamic)
        texts = self.numbers(static)
        return self.bracket("[", [[next(following)] if t == _DYNAMIC else [self.word(t)] for t in texts])


def read_op(statement: Statement, name: str) -> Op:
    """The parts of a statement in generic form; ValueError or IndexError if some are missing."""
    items = statement.items
    head = [i for i in items if isinstance(i, Group)]
    colon = max(k for k, i in enumerate(items) if isinstance(i, Token) and i.text == ":")
    arrow = max(k for k, i in enumerate(items) if isinstance(i, Token) and i.text == "->")
    op = Op(statement, name, [t for t in tokens(head[0].items) if t.kind == "ssa"], {}, {}, [], [])
    for before, item in zip([None, *items], items[:colon], strict=False):
        if isinstance(item, Group) and item is not head[0]:
            if item.opener == "(":
                op.regions = [g for g in item.items if isinstance(g, Group)]
            elif item.opener == "{" and isinstance(before, Token) and before.text == "<":
                op.inherent = dictionary(item)
            elif item.opener == "{":
                op.attributes = dictionary(item)
    inputs, outputs = items[colon + 1], items[arrow + 1 :]
    op.types = split_commas(inputs.items) if isinstance(inputs, Group) else []
    first = outputs[0]
    op.results = split_commas(first.items) if isinstance(first, Group) else [outputs]
    return op


def tokens(items: Iterable[Item]) -> Iterable[Token]:
    """All tokens of items, those in brackets too."""
    for item in items:
        if isinstance(item, Token):
            yield item
        else:
            yield from tokens(item.items)

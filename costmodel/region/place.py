"""Places every op of a parsed workload at linear forms of the root's loop dimensions, as passes.region.place does."""

from __future__ import annotations

from collections.abc import Sequence

from costmodel.affine import Expression
from costmodel.region.linear import Linear
from costmodel.workload import Op, Workload


class Placement:
    """`forms` holds the loops of every placed op by its position, `index` where each value is computed.

    The walk goes on from the root, forwards through uses and backwards through definitions, until nothing is added.
    """

    def __init__(self, workload: Workload) -> None:
        self.workload, self.ops = workload, workload.ops
        self.root = workload.ops[workload.root]
        self.index: dict[int, tuple[Linear, ...]] = {}
        self.forms: dict[int, list[Linear]] = {}
        self.extents = {f"d{i}": n for i, n in enumerate(self.root.extents)}
        self._anchor(workload.root, [Linear.dim(d) for d in self.extents])
        changed = True
        while changed:
            count = range(len(self.ops))
            changed = any([self._forward(i) for i in count] + [self._backward(i) for i in reversed(count)])
            changed = changed or any(self._beside(i) for i in count)

    def _anchor(self, position: int, forms: list[Linear]) -> None:
        op = self.ops[position]
        self.forms[position] = forms
        for result, expressions in zip(op.results, op.maps[len(op.maps) - len(op.results) :], strict=True):
            self.index[result] = tuple(evaluate(e, forms) for e in expressions)

    def _forward(self, position: int) -> bool:
        """An op one of whose operands is placed."""
        op = self.ops[position]
        if position in self.forms:
            return False
        if op.name in ("tensor.expand_shape", "tensor.collapse_shape"):
            return self._reshape(op)
        forms, near = dict[int, Linear](), False
        for value, expressions in zip(op.operands, op.maps, strict=False):
            if value in self.index:
                forms, near = forms | unify(expressions, self.index[value], forms), True
        return near and self._complete(position, forms)

    def _backward(self, position: int) -> bool:
        """An op whose result is read by a placed op at plain dimensions."""
        op = self.ops[position]
        if position in self.forms or not op.maps or op.results[0] in self.index:
            return False
        for user, forms in list(self.forms.items()):
            for value, expressions in zip(self.ops[user].operands, self.ops[user].maps, strict=False):
                if value == op.results[0]:
                    found = unify(op.maps[-1], [evaluate(e, forms) for e in expressions], {})
                    if all(f.as_dim() or not f.terms for f in found.values()) and self._complete(position, found):
                        return True
        return False

    def _beside(self, position: int) -> bool:
        """An op over the root's loops that shares only arguments with what is placed (sum and sum of squares)."""
        op = self.ops[position]
        if position in self.forms or not op.maps or not self._spans_root(op):
            return False
        return self._complete(position, {})

    def _reshape(self, op: Op) -> bool:
        source, result = op.operands[0], op.results[0]
        if source not in self.index or result in self.index:
            return False
        shapes = (self.workload.values[v].shape for v in (source, result))
        self.index[result] = reshape_index(self.index[source], *shapes)
        return True

    def _complete(self, position: int, forms: dict[int, Linear]) -> bool:
        """Names what is left: size-1 dimensions are 0, reduction dimensions take a free root dimension or a new one."""
        op = self.ops[position]
        used = {d for f in forms.values() for d in f.dims()}
        for i, extent in enumerate(op.extents):
            if i in forms:
                continue
            if extent == 1:
                forms[i] = Linear()
            elif f"d{i}" not in used and self._spans_root(op):
                forms[i] = Linear.dim(f"d{i}")
                used.add(f"d{i}")
            elif op.iterators[i] == "reduction":
                free = [d for d, n in self.extents.items() if n == extent and d not in used]
                name = free[-1] if free else f"r{len(self.extents)}"
                self.extents[name] = extent
                used.add(name)
                forms[i] = Linear.dim(name)
            else:
                return False
        self._anchor(position, [forms[i] for i in range(len(op.extents))])
        return True

    def _spans_root(self, op: Op) -> bool:
        """Whether an op has the loops of a root that reduces: in a row region it then runs along them."""
        return self.root.reduction and self.workload.kind != "contraction" and op.extents == self.root.extents


def evaluate(expression: Expression, forms: Sequence[Linear]) -> Linear:
    """The result of a map at `forms`; ValueError if it is not linear."""
    if not expression.linear:
        raise ValueError("an index that is not linear")
    total = Linear(expression.constant)
    for dim, coefficient in expression.terms:
        total = total + forms[dim] * coefficient
    return total


def unify(expressions: Sequence[Expression], index: Sequence[Linear], known: dict[int, Linear]) -> dict[int, Linear]:
    """The loops that make a map give `index`, where a result of the map is one loop that is not `known`."""
    found: dict[int, Linear] = {}
    for e, form in zip(expressions, index, strict=False):
        if e.linear and len(e.terms) == 1 and e.terms[0][1] == 1 and not e.constant and e.terms[0][0] not in known:
            found[e.terms[0][0]] = form
    return found


def reshape_index(index: Sequence[Linear], source: Sequence[int], result: Sequence[int]) -> tuple[Linear, ...]:
    """Index into a reshape that adds or drops only dimensions of size 1; ValueError for others."""
    kept = iter([form for form, n in zip(index, source, strict=True) if n != 1])
    if [n for n in source if n != 1] != [n for n in result if n != 1]:
        raise ValueError(f"a reshape of {tuple(source)} to {tuple(result)} inside a region")
    return tuple(Linear() if n == 1 else next(kept) for n in result)

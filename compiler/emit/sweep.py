"""Plans a `row` region: which reductions share a sweep, what is computed once a row, what is kept in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Any

from costmodel.region.expression import Apply, Constant, Expr, Gather, Index, Load, Reduced, Reduction, Store, walk
from costmodel.region.linear import Linear, dot, row_major
from costmodel.region.region import Region
from passes.mlir import ir

_SMALLEST = 2.0**-126
_CHEAP_MATH = ("math.fma", "math.absf", "math.copysign", "math.absi")
_SLOW_ARITH = ("arith.divf", "arith.remf", "arith.divsi", "arith.divui", "arith.remsi", "arith.remui")


@dataclass(frozen=True)
class Op:
    """An operation that no source text has: what `Apply.op` needs."""

    name: str
    attributes: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Sweep:
    """One pass over the row: the reductions, their numbers in the region, and the stores that it computes."""

    reductions: tuple[Reduction, ...]
    numbers: tuple[int, ...]
    stores: tuple[Store, ...]

    def roots(self) -> list[Expr]:
        return [r.update for r in self.reductions] + [s.value for s in self.stores]


@dataclass(frozen=True)
class RowPlan:
    """`scalars[i]` is computed once a row and read as `Reduced(i + number of reductions)`; `row_stores` come last."""

    sweeps: tuple[Sweep, ...]
    scalars: tuple[Expr, ...]
    row_stores: tuple[Store, ...]
    scratch: int
    """Elements (f32) of the scratch argument, which follows the region's arguments."""


def plan_row(region: Region, reduced: frozenset[str], keep: bool) -> RowPlan:
    """The plan of a region whose reductions all run over `reduced`.

    With `keep`, expensive values that a later sweep needs again are kept in memory: in a result that is written later,
    or in scratch. Without it they stay in registers.
    """
    hoist = _Hoist(reduced, region.reductions)
    reductions = [replace(r, init=hoist.apply(r.init), update=hoist.apply(r.update)) for r in region.reductions]
    stores = [replace(s, value=hoist.apply(s.value)) for s in region.stores]
    levels: list[int] = []
    for r in reductions:
        levels.append(_level([r.init, r.update], levels, hoist.scalars, len(reductions)))
    inner = [
        (s, _level([s.value], levels, hoist.scalars, len(reductions))) for s in stores if s.address.dims() & reduced
    ]
    outer = tuple(s for s in stores if not s.address.dims() & reduced)
    sweeps: list[Sweep] = []
    for level in range(1 + max([*levels, *[n for _, n in inner]])):
        numbers = tuple(i for i, n in enumerate(levels) if n == level)
        sweeps.append(Sweep(tuple(reductions[i] for i in numbers), numbers, tuple(s for s, n in inner if n == level)))
    kept = _Keep(region, reduced, sweeps)
    if keep:
        kept.run()
    return RowPlan(tuple(kept.sweeps), tuple(hoist.scalars), outer, kept.scratch)


def _level(roots: list[Expr], levels: list[int], scalars: list[Expr], first: int) -> int:
    """The first sweep in which all of `roots` can be computed."""
    found = 0
    for node in walk(*roots):
        if isinstance(node, Reduced) and node.reduction < first:
            found = max(found, levels[node.reduction] + 1)
        elif isinstance(node, Reduced):
            found = max(found, _level([scalars[node.reduction - first]], levels, scalars, first))
    return found


def _rebuild(expr: Expr, change: Callable[[Expr], Expr | None], memo: dict[int, Expr]) -> Expr:
    """`expr` with every node for which `change` gives another one replaced, from the top down."""
    if id(expr) not in memo:
        found = change(expr)
        if found is None and isinstance(expr, Apply):
            found = replace(expr, operands=tuple(_rebuild(e, change, memo) for e in expr.operands))
        elif found is None and isinstance(expr, Gather):
            found = replace(expr, dynamic=tuple((_rebuild(e, change, memo), s, n) for e, s, n in expr.dynamic))
        memo[id(expr)] = expr if found is None else found
    return memo[id(expr)]


class _Hoist:
    """Replaces what does not vary along the row by scalars, and some divisions by a scalar by its reciprocal."""

    def __init__(self, reduced: frozenset[str], reductions: tuple[Reduction, ...]) -> None:
        self.reduced, self.reductions = reduced, reductions
        self.scalars: list[Expr] = []
        self.memo: dict[int, Expr] = {}

    def apply(self, root: Expr) -> Expr:
        return _rebuild(root, self._change, self.memo)

    def _change(self, expr: Expr) -> Expr | None:
        if isinstance(expr, (Constant, Reduced)):
            return expr
        if not self._varies(expr):
            return self._scalar(expr)
        if isinstance(expr, Apply) and expr.op.name == "arith.divf" and self._invertible(expr.operands[1]):
            value, divisor = expr.operands
            one = Constant(ir.FloatAttr.get(expr.type, 1.0), expr.type)
            inverse = self._scalar(Apply(Op("arith.divf"), (one, divisor), expr.type))
            return Apply(Op("arith.mulf"), (self.apply(value), inverse), expr.type)
        return None

    def _scalar(self, expr: Expr) -> Expr:
        self.scalars.append(expr)
        return Reduced(len(self.reductions) + len(self.scalars) - 1, expr.type)

    def _invertible(self, divisor: Expr) -> bool:
        """Whether the reciprocal is finite unless the divisor is zero: no subnormal numbers.

        Holds for normal constants, square roots, and the sum of a softmax, which is at least 1.
        """
        match divisor:
            case Constant(attribute, _):
                return abs(float(ir.FloatAttr(attribute).value)) >= _SMALLEST
            case Apply(op, _, _):
                return op.name == "math.sqrt" and not self._varies(divisor)
            case Reduced(number, _):
                update = self.reductions[number].update
                terms = update.operands if isinstance(update, Apply) and update.op.name == "arith.addf" else ()
                return any(isinstance(t, Apply) and t.op.name == "math.exp" for t in terms)
            case _:
                return False

    def _varies(self, expr: Expr) -> bool:
        return any(self._leaf_varies(node) for node in walk(expr))

    def _leaf_varies(self, node: Expr) -> bool:
        if isinstance(node, (Load, Gather)):
            return bool(node.address.dims() & self.reduced)
        if isinstance(node, Index):
            return bool(node.form.dims() & self.reduced)
        return not isinstance(node, (Apply, Constant, Reduced))


class _Keep:
    """Values of one sweep that a later one reads from memory instead of computing them again."""

    def __init__(self, region: Region, reduced: frozenset[str], sweeps: list[Sweep]) -> None:
        self.region, self.reduced, self.sweeps = region, reduced, sweeps
        self.scratch, self.kind = 0, ir.F32Type.get()
        self.kept: dict[int, tuple[int, Load]] = {}
        """By value: the sweep that stores it, and how to load it."""
        self.rebuilt: list[dict[int, Expr]] = []
        self.originals = [s.roots() for s in sweeps]
        wanted = {d for d, n in region.extents.items() if n > 1}
        full = [s for s in sweeps[-1].stores if s.address.dims() >= wanted and len(sweeps) > 1]
        self.spare = [s for s in full if any(s.address.coefficient(d) == 1 for d in reduced)]

    def run(self) -> None:
        for number, roots in enumerate(self.originals):
            memo: dict[int, Expr] = {}
            self.rebuilt.append(memo)
            made = [_rebuild(e, partial(self._read, sweep=number), memo) for e in roots]
            sweep = self.sweeps[number]
            cut = len(sweep.reductions)
            updates = [replace(r, update=e) for r, e in zip(sweep.reductions, made[:cut], strict=True)]
            stores = [replace(s, value=e) for s, e in zip(sweep.stores, made[cut:], strict=True)]
            self.sweeps[number] = replace(sweep, reductions=tuple(updates), stores=tuple(stores))
            for store, original in zip(stores, roots[cut:], strict=True):
                if store.address.dims() >= self.reduced and not _narrow(store.type):
                    self.kept.setdefault(id(original), (number, Load(store.argument, store.address, store.type)))

    def _read(self, expr: Expr, sweep: int) -> Expr | None:
        if not isinstance(expr, Apply):
            return None
        if id(expr) in self.kept and self.kept[id(expr)][0] < sweep:
            return self.kept[id(expr)][1]
        first = next((n for n in range(sweep) if id(expr) in self.rebuilt[n]), sweep)
        return self._keep(expr, first) if first < sweep and _expensive(expr) else None

    def _keep(self, expr: Apply, sweep: int) -> Load | None:
        """Stores `expr` in the sweep that computes it first; None if there is no place for its type."""
        spare = next((s for s in self.spare if s.type == expr.type and not _narrow(s.type)), None)
        if spare is not None:
            self.spare.remove(spare)
            load = Load(spare.argument, spare.address, spare.type)
        elif expr.type == self.kind:
            load = self._scratch(expr)
        else:
            return None
        self.kept[id(expr)] = (sweep, load)
        store = Store(load.argument, load.address, self.rebuilt[sweep][id(expr)], load.type)
        self.sweeps[sweep] = replace(self.sweeps[sweep], stores=(*self.sweeps[sweep].stores, store))
        return load

    def _scratch(self, expr: Apply) -> Load:
        dims = sorted(self.region.extents, key=lambda d: d in self.reduced)
        shape = [self.region.extents[d] for d in dims]
        form = Linear(self.scratch) + dot([Linear.dim(d) for d in dims], row_major(shape))
        self.scratch += -(-prod(shape) // 16) * 16
        return Load(len(self.region.arguments), form, expr.type)


def _expensive(expr: Expr) -> bool:
    return any(isinstance(e, Apply) and _slow(e.op.name) for e in walk(expr))


def _slow(name: str) -> bool:
    return (name.startswith("math.") and name not in _CHEAP_MATH) or name in _SLOW_ARITH


def _narrow(kind: Any) -> bool:
    return str(kind) == "i1"

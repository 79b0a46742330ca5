"""Rewrites of a region's loops: substitute dimensions, merge neighbours that are one in memory, replace loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import permutations

from costmodel.region.expression import Apply, Expr, Gather, Index, Load, Reduction, walk
from costmodel.region.linear import Linear
from costmodel.region.region import Region

FormRewrite = Callable[[Linear], Linear]
LoadRewrite = Callable[[Load], Load]


def roots(region: Region) -> list[Expr]:
    """Every expression of the region that is evaluated for itself."""
    return [e for r in region.reductions for e in (r.init, r.update)] + [s.value for s in region.stores]


def forms(region: Region) -> list[Linear]:
    """Every index and address form."""
    found = [s.address for s in region.stores]
    for expr in walk(*roots(region)):
        if isinstance(expr, (Load, Gather)):
            found.append(expr.address)
        elif isinstance(expr, Index):
            found.append(expr.form)
    return found


def rewrite(region: Region, extents: dict[str, int], form: FormRewrite, load: LoadRewrite | None = None) -> Region:
    """The region with every form mapped by `form` and every load by `load` (which then maps its own address)."""
    memo: dict[int, Expr] = {}

    def visit(expr: Expr) -> Expr:
        if id(expr) not in memo:
            memo[id(expr)] = change(expr)
        return memo[id(expr)]

    def change(expr: Expr) -> Expr:
        match expr:
            case Load():
                return load(expr) if load else replace(expr, address=form(expr.address))
            case Index():
                return replace(expr, form=form(expr.form))
            case Gather():
                dynamic = tuple((visit(e), s, n) for e, s, n in expr.dynamic)
                return replace(expr, address=form(expr.address), dynamic=dynamic)
            case Apply():
                return replace(expr, operands=tuple(visit(e) for e in expr.operands))
            case _:
                return expr

    def reduction(r: Reduction) -> Reduction:
        index = tuple(form(i) for i in r.index)
        dims = tuple(d for d in r.dims if d in extents)
        return Reduction(dims, visit(r.init), visit(r.update), index)

    return replace(
        region,
        extents=extents,
        reductions=tuple(reduction(r) for r in region.reductions),
        stores=tuple(replace(s, address=form(s.address), value=visit(s.value)) for s in region.stores),
    )


def substitute(region: Region, values: Mapping[str, Linear], extents: dict[str, int]) -> Region:
    """Each dimension in `values` replaced by a form of the new dimensions in `extents`."""
    return rewrite(region, extents, lambda f: f.substitute(values))


def merge_dims(region: Region, fixed: frozenset[str] = frozenset()) -> Region:
    """Merges loops that step through memory as one: `a` outside `b` with stride(a) = stride(b) * extent(b) everywhere.

    Reduction dimensions merge with each other only, and so do parallel ones; those in `fixed` stay as they are.
    """
    merged = True
    while merged:
        merged = False
        reducing = {d for r in region.reductions for d in r.dims}
        for outer, inner in permutations([d for d in region.extents if d not in fixed], 2):
            if (outer in reducing) == (inner in reducing) and _mergeable(region, outer, inner):
                extents = {d: n for d, n in region.extents.items() if d != outer}
                extents[inner] = region.extents[outer] * region.extents[inner]
                region = substitute(region, {outer: Linear()}, extents)
                merged = True
                break
    return region


def _mergeable(region: Region, outer: str, inner: str) -> bool:
    extent = region.extents[inner]
    users = [r for r in region.reductions if (outer in r.dims) != (inner in r.dims)]
    return not users and all(f.coefficient(outer) == f.coefficient(inner) * extent for f in forms(region))


def drop_unit_dims(region: Region) -> Region:
    """Loops of one iteration removed."""
    unit = {d: Linear() for d, n in region.extents.items() if n == 1}
    return substitute(region, unit, {d: n for d, n in region.extents.items() if n != 1}) if unit else region


def stores_reduced(region: Region) -> bool:
    """Whether a result runs along a reduced dimension (softmax): it needs a loop after the reduction's."""
    reduced = {d for r in region.reductions for d in r.dims}
    return any(reduced & store.address.dims() for store in region.stores)

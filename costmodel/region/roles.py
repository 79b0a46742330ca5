"""Which loop of a region plays which part: columns (vector lanes), rows (register tile), batch, reduction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from costmodel.region.expression import Load, walk
from costmodel.region.linear import Linear, dot, row_major
from costmodel.region.region import Region
from costmodel.region.rewrite import drop_unit_dims, merge_dims, rewrite, roots, substitute

PANEL, LANE = "panel", "lane"


@dataclass(frozen=True)
class Packing:
    """A copy of one operand as [batch..., panels, reduction..., width], the last panel filled up with zeros.

    The operand's element (batch, column, reduction) is at `offset` + strides; extents and strides are in elements.
    """

    argument: int
    offset: int
    batch: tuple[tuple[int, int], ...]
    """(extent, stride) of each batch dimension."""
    columns: tuple[int, int]
    reduction: tuple[tuple[int, int], ...]
    width: int

    def shape(self) -> tuple[int, ...]:
        panels = -(-self.columns[0] // self.width)
        return (*[n for n, _ in self.batch], panels, *[n for n, _ in self.reduction], self.width)

    def elements(self) -> int:
        return prod(self.shape())


@dataclass(frozen=True)
class Roles:
    """Loop dimensions by part; `packable` is the argument whose lanes run along the columns, None if there is none."""

    columns: str
    rows: str
    batch: tuple[str, ...]
    reduction: tuple[str, ...]
    packable: int | None


@dataclass(frozen=True)
class Loops:
    """A region whose columns are split into PANEL and LANE, with its other loops merged and named by part."""

    region: Region
    columns: int
    """Extent of the columns before the split."""
    rows: str
    batch: tuple[str, ...]
    reduction: tuple[str, ...]
    packing: Packing | None


def split_columns(region: Region, width: int, pack: bool) -> Loops:
    """Splits the columns into panels of `width` lanes; with `pack` the packable operand is read packed."""
    region = drop_unit_dims(region)
    roles = find_roles(region)
    packing = None
    if pack and roles.packable is not None:
        columns = region.extents[roles.columns]
        packing, region = _pack(region, roles, width)
    else:
        region = merge_dims(region)
        roles = find_roles(region)
        columns = region.extents.get(roles.columns, 1)
        region = _split(region, roles.columns, width)
    region = merge_dims(region, frozenset({PANEL, LANE}))
    reduction = tuple(d for r in region.reductions for d in r.dims)
    parallel = [d for d in region.extents if d not in (PANEL, LANE, *reduction)]
    updates = [e for r in region.reductions for e in walk(r.update) if isinstance(e, Load)]
    rows, batch = _rows(region, parallel, updates, roles.packable)
    return Loops(region, columns, rows, batch, reduction, packing)


def _split(region: Region, columns: str, width: int) -> Region:
    if not columns:
        return region
    extents = {d: n for d, n in region.extents.items() if d != columns}
    extents |= {PANEL: -(-region.extents[columns] // width), LANE: width}
    return substitute(region, {columns: Linear.dim(PANEL, width) + Linear.dim(LANE)}, extents)


def _pack(region: Region, roles: Roles, width: int) -> tuple[Packing, Region]:
    """The packed operand is contiguous over (batch, panel, reduction in loop order, lane)."""
    (operand,) = [e for e in walk(*roots(region)) if isinstance(e, Load) and e.argument == roles.packable]
    address, extents = operand.address, region.extents
    batch = [d for d in region.extents if d in address.dims() and d not in (roles.columns, *roles.reduction)]

    def along(dim: str) -> tuple[int, int]:
        return extents[dim], address.coefficient(dim)

    packing = Packing(
        operand.argument,
        address.constant,
        tuple(along(d) for d in batch),
        along(roles.columns),
        tuple(along(d) for d in roles.reduction),
        width,
    )
    order = [Linear.dim(d) for d in (*batch, PANEL, *roles.reduction, LANE)]
    packed = dot(order, row_major(packing.shape()))
    split = {roles.columns: Linear.dim(PANEL, width) + Linear.dim(LANE)}
    made = {d: n for d, n in extents.items() if d != roles.columns} | {PANEL: packing.shape()[len(batch)], LANE: width}

    def load(expr: Load) -> Load:
        form = packed if expr.argument == operand.argument else expr.address.substitute(split)
        return replace(expr, address=form)

    return packing, rewrite(region, made, lambda f: f.substitute(split), load)


def find_roles(region: Region) -> Roles:
    """Columns: where most accesses are contiguous; rows: the largest dimension that the packed operand lacks."""
    reduction = tuple(d for r in region.reductions for d in r.dims)
    parallel = [d for d in region.extents if d not in reduction]
    if not parallel:
        return Roles("", "", (), reduction, None)
    loads = [e for e in walk(*roots(region)) if isinstance(e, Load)]
    updates = [e for r in region.reductions for e in walk(r.update) if isinstance(e, Load)]
    columns = max(parallel, key=lambda d: (_score(region, d, loads, updates), region.extents[d]))
    packable = _packable(region, loads, updates, columns)
    rows, batch = _rows(region, [d for d in parallel if d != columns], updates, packable)
    return Roles(columns, rows, batch, reduction, packable)


def _rows(
    region: Region, parallel: Sequence[str], updates: Sequence[Load], packable: int | None
) -> tuple[str, tuple[str, ...]]:
    fixed = (
        {d for e in updates if e.argument == packable for d in e.address.dims()} if packable is not None else set[str]()
    )
    free = [d for d in parallel if d not in fixed]
    rows = max(free, key=lambda d: (any(d not in e.address.dims() for e in updates), region.extents[d]), default="")
    return rows, tuple(d for d in parallel if d != rows)


def _score(region: Region, dim: str, loads: list[Load], updates: list[Load]) -> float:
    """Contiguous stores count most; then contiguous or uniform loads, those inside the reduction more."""
    if region.extents[dim] == 1:
        return -1000.0
    score = 0.0
    for store in region.stores:
        score += {1: 10.0, 0: -20.0}.get(store.address.coefficient(dim), -10.0)
    for load in loads:
        weight = 2.0 if load in updates else 0.25
        score += weight * {1: 1.0, 0: 0.5}.get(load.address.coefficient(dim), -1.0)
    return score


def _packable(region: Region, loads: list[Load], updates: list[Load], columns: str) -> int | None:
    """The one operand of a contraction that varies along the columns, if another does not and it is read only there."""
    along = [e for e in updates if e.address.coefficient(columns)]
    across = [e for e in updates if not e.address.coefficient(columns)]
    if len(region.reductions) != 1 or not region.reductions[0].dims or len(along) != 1 or not across:
        return None
    argument = along[0].argument
    return argument if sum(e.argument == argument for e in loads) == 1 else None

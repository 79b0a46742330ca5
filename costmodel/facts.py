"""What a workload costs apart from how it is scheduled: extents by role, operations, bytes, strides."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

from costmodel.workload import Expression, Op, Tensor, Workload

KINDS = ("contraction", "elementwise", "reduction", "row", "plain")
OP_GROUPS: dict[str, tuple[str, ...]] = {
    "add": ("addf", "subf", "addi", "subi", "negf"),
    "mul": ("mulf", "muli", "fma"),
    "div": ("divf", "remf", "divsi", "divui", "remsi", "remui"),
    "minmax": ("maximumf", "minimumf", "maxnumf", "minnumf", "maxsi", "minsi", "maxui", "minui", "absf"),
    "select": ("select", "cmpf", "cmpi", "andi", "ori", "xori"),
    "cast": ("extf", "truncf", "sitofp", "uitofp", "fptosi", "fptoui", "index_cast", "extui", "extsi", "trunci"),
    "exp": ("exp", "exp2", "expm1", "log", "log1p", "log2"),
    "erf": ("erf",),
    "tanh": ("tanh", "sin", "cos", "powf", "fpowi"),
    "sqrt": ("sqrt", "rsqrt", "floor", "ceil", "roundeven", "round"),
    "gather": ("extract", "index"),
}
OP_CYCLES = dict(
    add=0.5,
    mul=0.5,
    div=5.0,
    minmax=0.5,
    select=1.0,
    cast=1.0,
    exp=10.0,
    erf=14.0,
    tanh=20.0,
    sqrt=6.0,
    gather=16.0,
    other=2.0,
)
"""Core cycles of one full vector operation, by group; polynomial code for the transcendental ones."""
_GROUP = {name: group for group, names in OP_GROUPS.items() for name in names}
GROUPS = tuple(OP_CYCLES)


@dataclass(frozen=True)
class Facts:
    """One workload in numbers. Extents are loop trip counts, strides are in elements, sizes in bytes."""

    kind: str
    flops: float
    """Floating-point operations; a multiply-add counts as two, every other body op as one."""
    macs: float
    points: float
    """Iterations of the root's loop nest."""
    columns: float
    """Extent of the dimension that carries the vector lanes."""
    rows: float
    """Extent of the dimension that register-tile rows run along."""
    outer: float
    """Product of the other parallel extents."""
    reduction: float
    """Product of the reduction extents."""
    inner_reduction: float
    """Extent of the longest reduction dimension."""
    loops: float
    batch: float
    """Product of the parallel extents that every operand has."""
    rows_bytes: float
    """Size of the operand that does not vary along the columns (all inputs if there is none)."""
    columns_bytes: float
    """Size of the operand that does not vary along the rows (0 if there is none)."""
    other_bytes: float
    """Size of the remaining inputs."""
    output_bytes: float
    constant_bytes: float
    element_bytes: float
    columns_constant: float
    """1 if the column operand is a constant, so that packing is free."""
    columns_stride: float
    """Stride of the column operand along the columns."""
    rows_reduction_stride: float
    """Stride of the row operand along the innermost reduction."""
    rows_stride: float
    """Stride of the row operand along the rows."""
    output_stride: float
    """Stride of the result along the columns."""
    window: float
    """Product of the short reduction extents (kernel height and width)."""
    step: float
    """Largest coefficient of a parallel dimension in an input's map (the stride of a convolution)."""
    gathers: float
    """Inputs indexed by more than plain dimensions (windows)."""
    ops: float
    epilogue_points: float
    """Iterations of all ops but the root."""
    passes: float
    """Structured ops that loop over as many points as the largest."""
    root_groups: tuple[float, ...]
    """Body ops of the root by group of GROUPS."""
    other_groups: tuple[float, ...]
    """Vector operations of all other bodies by group, per element of the result."""


@dataclass(frozen=True)
class _Access:
    """One operand of the root: its tensor and its stride in elements along each loop."""

    tensor: Tensor
    strides: dict[int, int]
    window: bool
    """Whether some index is not a plain dimension."""


@lru_cache(maxsize=4096)
def facts(workload: Workload) -> Facts:
    """The facts of a workload; pure and cached."""
    root = workload.ops[workload.root]
    kind = workload.kind or _guess_kind(workload, root)
    inputs = [_access(workload.values[v], m) for v, m in zip(root.operands, root.maps, strict=False)][: root.inputs]
    output = _written(workload, root)
    parallel = _merge(_loops(root, "parallel"), [*inputs, output])
    reduction = _merge(_loops(root, "reduction"), [*inputs, output])
    inner = max(reduction, key=lambda d: (reduction[d], d), default=-1)
    columns, rows = (inner, -1) if kind == "row" else _lanes(parallel, inputs, output)
    by_column = [a for a in inputs if a.strides.get(columns) and not a.strides.get(rows)]
    by_row = [a for a in inputs if a.strides.get(rows) and not a.strides.get(columns)]
    column_operand = max(by_column, key=lambda a: a.tensor.bytes, default=None)
    row_operand = max(by_row, key=lambda a: a.tensor.bytes, default=None)
    taken = [a.tensor for a in (column_operand, row_operand) if a]
    arguments = workload.values[: workload.arguments]
    column_extent = (reduction if kind == "row" else parallel).get(columns, 1)
    row_extent = prod(parallel.values()) if kind == "row" else parallel.get(rows, 1)
    points = max(1, root.points)
    generic = [op for op in workload.ops if op.maps]
    others = [op for op in generic if op is not root]
    written = max(1, sum(t.elements for t in workload.result_types))
    most_reads = max((op.points for op in generic), default=points)

    def read(tensor: Tensor) -> int:
        """Bytes touched: a table that is gathered from is larger than what is read of it."""
        return min(tensor.bytes, most_reads * tensor.element_bytes)

    multiply_add = reduction and root.histogram["arith.mulf"] and root.histogram["arith.addf"]
    return Facts(
        kind=kind,
        flops=float(sum(max(1, len(op.body)) * op.points for op in generic) or points),
        macs=float(points if multiply_add else 0),
        points=float(points),
        columns=float(column_extent),
        rows=float(row_extent),
        outer=float(max(1, prod(parallel.values()) // (row_extent * (1 if kind == "row" else column_extent)))),
        reduction=float(prod(reduction.values())),
        inner_reduction=float(reduction.get(inner, 1)),
        loops=float(len(parallel) + len(reduction)),
        batch=float(
            prod(n for d, n in parallel.items() if d != columns and inputs and all(d in a.strides for a in inputs))
        ),
        rows_bytes=float(row_operand.tensor.bytes if row_operand else 0),
        columns_bytes=float(column_operand.tensor.bytes if column_operand else 0),
        other_bytes=float(sum(read(t) for t in arguments if t not in taken)),
        output_bytes=float(sum(t.bytes for t in workload.result_types)),
        constant_bytes=float(sum(read(t) for t in arguments if t.constant)),
        element_bytes=float(output.tensor.element_bytes),
        columns_constant=float(bool(column_operand and column_operand.tensor.constant)),
        columns_stride=float(column_operand.strides.get(columns, 0) if column_operand else 0),
        rows_reduction_stride=float(row_operand.strides.get(inner, 0) if row_operand else 0),
        rows_stride=float(row_operand.strides.get(rows, 0) if row_operand else 0),
        output_stride=float(output.strides.get(columns, 0)),
        window=float(prod(n for d, n in reduction.items() if d != inner)),
        step=float(max((c for m in root.maps for e in m for d, c in e.terms if d in parallel), default=1)),
        gathers=float(sum(a.window for a in inputs)),
        ops=float(len(generic)),
        epilogue_points=float(sum(op.points for op in others)),
        passes=float(sum(op.points >= max(o.points for o in generic) for op in generic)) if generic else 1.0,
        root_groups=_groups(root),
        other_groups=tuple(sum(_groups(op)[g] * op.points for op in others) / written for g in range(len(GROUPS))),
    )


def _access(tensor: Tensor, expressions: tuple[Expression, ...]) -> _Access:
    strides: dict[int, int] = {}
    for expression, stride in zip(expressions, tensor.strides, strict=False):
        for dim, coefficient in expression.terms:
            strides[dim] = strides.get(dim, 0) + stride * coefficient
    return _Access(tensor, strides, any(len(e.terms) > 1 or not e.linear for e in expressions))


def _written(workload: Workload, root: Op) -> _Access:
    """The root's result, placed like the function's result of the same shape."""
    value = workload.values[root.results[0]] if root.results else workload.values[root.operands[-1]]
    placed = next((t for t in workload.result_types if t.shape == value.shape), value)
    plain = tuple(Expression(((d, 1),)) for d in range(len(value.shape)))
    return _access(placed, root.maps[-1] if root.maps else plain)


def _loops(root: Op, iterator: str) -> dict[int, int]:
    """Extents of the loops of one kind, outermost first, without those of one step."""
    parallel = iterator == "parallel"
    return {d: n for d, n in enumerate(root.extents) if n > 1 and (root.iterators[d] == "parallel") == parallel}


def _merge(loops: dict[int, int], accesses: list[_Access]) -> dict[int, int]:
    """Neighbouring loops that every access walks like one become one, as the emitter merges them."""
    merged: dict[int, int] = {}
    for dim, extent in loops.items():
        last = next(reversed(merged), None)
        if last is not None and all(a.strides.get(last, 0) == a.strides.get(dim, 0) * extent for a in accesses):
            merged[dim] = merged.pop(last) * extent
        else:
            merged[dim] = extent
    return merged


def _lanes(parallel: dict[int, int], inputs: list[_Access], output: _Access) -> tuple[int, int]:
    """(column loop, row loop), -1 for none: columns are where accesses are contiguous, rows the largest other loop."""

    def score(dim: int) -> tuple[float, int]:
        stores = {1: 10.0, 0: -20.0}.get(output.strides.get(dim, 0), -10.0)
        return stores + sum(2 * {1: 1.0, 0: 0.5}.get(a.strides.get(dim, 0), -1.0) for a in inputs), parallel[dim]

    columns = max(parallel, key=score, default=-1)
    along = [a for a in inputs if a.strides.get(columns)]
    packed = along[0] if len(along) == 1 and len(inputs) > 1 else None
    free = [d for d in parallel if d != columns and not (packed and packed.strides.get(d))]
    rows = max(free, key=lambda d: (any(not a.strides.get(d) for a in inputs), parallel[d]), default=-1)
    return columns, rows


def _groups(op: Op) -> tuple[float, ...]:
    counts = dict.fromkeys(GROUPS, 0.0)
    for name, count in op.histogram.items():
        counts[_GROUP.get(name.split(".")[-1], "other")] += count if name != "arith.constant" else 0
    return tuple(counts.values())


def _guess_kind(workload: Workload, root: Op) -> str:
    """The kind of a workload that does not say."""
    if not root.reduction:
        return "elementwise"
    if root.histogram["arith.mulf"] and root.inputs == 2:
        return "contraction"
    return "row" if root.iterators[-1] == "reduction" and len(workload.ops) > 4 else "reduction"

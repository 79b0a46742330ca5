"""linalg.generic as data: operands, maps, loops and body, what kind of work it is, and how to build another one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from passes.mlir import ir, linalg

Values = dict[ir.Value, ir.Value]

COMBINERS = frozenset(
    f"arith.{name}"
    for name in ("addf addi mulf muli maximumf minimumf maxnumf minnumf maxsi minsi maxui minui andi ori xori".split())
)

WIDENINGS = frozenset(f"arith.{name}" for name in ("extf", "extsi", "extui", "sitofp"))


@dataclass(frozen=True)
class Generic:
    """A `linalg.generic` read once, because every access through the bindings costs microseconds.

    `maps` holds one map for each of `inputs + outputs`; `parallel[d]` is false where loop d reduces; `sizes[d]` is its
    trip count.
    """

    op: ir.Operation
    inputs: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]
    maps: tuple[ir.AffineMap, ...]
    parallel: tuple[bool, ...]

    @staticmethod
    def read(op: ir.Operation) -> Generic:
        view = op.opview
        maps = tuple(ir.AffineMapAttr(attr).value for attr in op.attributes["indexing_maps"])
        parallel = tuple("parallel" in str(attr) for attr in op.attributes["iterator_types"])
        return Generic(op, tuple(view.inputs), tuple(view.outputs), maps, parallel)

    @property
    def operands(self) -> tuple[ir.Value, ...]:
        return self.inputs + self.outputs

    @property
    def block(self) -> ir.Block:
        return self.op.regions[0].blocks[0]

    @cached_property
    def arguments(self) -> tuple[ir.Value, ...]:
        return tuple(self.block.arguments)

    @cached_property
    def body(self) -> tuple[ir.Operation, ...]:
        """The ops of the body, the `linalg.yield` last."""
        return tuple(op.operation for op in self.block.operations)

    @property
    def yields(self) -> tuple[ir.Value, ...]:
        return tuple(self.body[-1].operands)

    @cached_property
    def dims(self) -> tuple[tuple[int, ...] | None, ...]:
        """For each operand the loops that index it, or None if its map is more than a choice of loops."""
        return tuple(map(map_dims, self.maps))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        sizes: dict[int, int] = {}
        for value, map_ in zip(self.operands, self.maps, strict=True):
            for expr, size in zip(map_.results, shape(value), strict=True):
                if isinstance(expr, ir.AffineDimExpr):
                    sizes[expr.position] = size
        return tuple(sizes[d] for d in range(len(self.parallel)))

    @property
    def elementwise(self) -> bool:
        return all(self.parallel)

    @cached_property
    def copies(self) -> bool:
        """The body only passes on the first input."""
        return len(self.body) == 1 and self.elementwise and self.yields == self.arguments[:1] and bool(self.inputs)

    @cached_property
    def captured(self) -> tuple[ir.Value, ...]:
        """Values of the enclosing block that the body uses, in order of first use."""
        inner: set[ir.Value] = set(self.arguments)
        found: dict[ir.Value, None] = {}
        for op in self.body:
            for nested in walk(op):
                for value in nested.operands:
                    if value not in inner:
                        found[value] = None
                inner.update(defined(nested))
        return tuple(found)

    @cached_property
    def gathers(self) -> bool:
        return any(op.name == "tensor.extract" for op in self.body)


def shape(value: ir.Value) -> tuple[int, ...]:
    """The static shape of a tensor; () for a scalar."""
    type_ = value.type
    return tuple(type_.shape) if isinstance(type_, ir.RankedTensorType) else ()


def map_dims(map_: ir.AffineMap) -> tuple[int, ...] | None:
    results = map_.results
    if all(isinstance(expr, ir.AffineDimExpr) for expr in results):
        return tuple(expr.position for expr in results)
    return None


def map_of(loops: int, dims: Iterable[int]) -> ir.AffineMap:
    """The map of `loops` loops that picks those in `dims`."""
    return ir.AffineMap.get(loops, 0, [ir.AffineExpr.get_dim(d) for d in dims])


def compose(outer: ir.AffineMap, inner: ir.AffineMap) -> ir.AffineMap:
    """The map `outer(inner(loops))`."""
    return ir.AffineMap.get(inner.n_dims, 0, [expr.compose(inner) for expr in outer.results])


def walk(op: ir.Operation) -> Iterable[ir.Operation]:
    """`op` and the ops nested in it, in order."""
    yield op
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield from walk(inner.operation)


def defined(op: ir.Operation) -> Iterable[ir.Value]:
    """The results of `op` and the arguments of its blocks."""
    yield from op.results
    for region in op.regions:
        for block in region.blocks:
            yield from block.arguments


def clone(op: ir.Operation, values: Values) -> ir.Operation:
    """A copy of `op` at the insertion point whose operands go through `values`; its results are added to `values`."""
    copy = op.clone()
    for nested in walk(copy):
        for index, operand in enumerate(nested.operands):
            replacement = values.get(operand)
            if replacement is not None:
                nested.operands[index] = replacement
    values.update(zip(op.results, copy.results, strict=True))
    return copy


def inline_body(generic: Generic, values: Values, loops: Sequence[int] | None = None) -> list[ir.Value]:
    """Copy a body to the insertion point; `loops[d]` is the new number of loop d. Returns what the body yields."""
    for op in generic.body[:-1]:
        copy = clone(op, values)
        if loops is not None and op.name == "linalg.index":
            number = loops[ir.IntegerAttr(op.attributes["dim"]).value]
            copy.attributes["dim"] = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), number)
    return [values.get(value, value) for value in generic.yields]


def build(
    inputs: Sequence[ir.Value],
    outputs: Sequence[ir.Value],
    maps: Sequence[ir.AffineMap],
    parallel: Sequence[bool],
    body: Callable[[list[ir.Value]], Sequence[ir.Value]],
) -> ir.Operation:
    """A `linalg.generic` at the insertion point; `body` gets the block arguments and returns what is yielded."""
    iterators = [ir.Attribute.parse(f"#linalg.iterator_type<{'parallel' if p else 'reduction'}>") for p in parallel]
    op = linalg.GenericOp(
        [value.type for value in outputs],
        inputs,
        outputs,
        ir.ArrayAttr.get([ir.AffineMapAttr.get(m) for m in maps]),
        ir.ArrayAttr.get(iterators),
    )
    types = [ir.ShapedType(value.type).element_type for value in [*inputs, *outputs]]
    block = op.regions[0].blocks.append(*types)
    with ir.InsertionPoint(block):
        linalg.YieldOp(body(list(block.arguments)))
    return op.operation


def classify(generic: Generic) -> str:
    """`elementwise`, `contraction`, `row`, `reduction` or `plain`, from the loops, the maps and the body alone."""
    if generic.elementwise:
        return "elementwise" if all(d is not None for d in generic.dims[len(generic.inputs) :]) else "plain"
    if len(generic.outputs) != 1 or generic.gathers or generic.dims[-1] is None or combiner(generic) is None:
        return "plain"
    if is_contraction(generic):
        return "contraction"
    return "row" if reduces_rows(generic) else "reduction"


def combiner(generic: Generic) -> ir.Operation | None:
    """The last op of a reduction body if it combines the accumulator with a value that does not depend on it."""
    if len(generic.body) < 2:
        return None
    last, accumulator = generic.body[-2], generic.arguments[-1]
    uses = [use for use in accumulator.uses]
    if last.name not in COMBINERS or generic.yields[0] != last.results[0] or len(uses) != 1:
        return None
    return last if uses[0].owner.operation == last else None


def is_contraction(generic: Generic) -> bool:
    """A multiply-add of two tensors with a loop that only one of them and the result have (so not a depthwise one)."""
    last = combiner(generic)
    if last is None or last.name not in ("arith.addf", "arith.addi") or len(generic.inputs) != 2:
        return False
    product = next((v for v in last.operands if v != generic.arguments[-1]), None)
    if (
        product is None
        or not isinstance(product, ir.OpResult)
        or product.owner.name not in ("arith.mulf", "arith.muli")
    ):
        return False
    factors = [_source(value) for value in product.owner.operands]
    if set(factors) != set(generic.arguments[:2]):
        return False
    used = [_loops(m) for m in generic.maps[:2]]
    windows = set().union(*(_window_loops(m) for m in generic.maps[:2]))
    parallel = {d for d, p in enumerate(generic.parallel) if p}
    own = [bool((used[0] - used[1]) & parallel), bool((used[1] - used[0]) & parallel)]
    plain_reduction = any(d not in windows for d, p in enumerate(generic.parallel) if not p)
    return all(own) or (any(own) and plain_reduction)


def reduces_rows(generic: Generic) -> bool:
    """All tensors are read in loop order, and the reduced loops are the innermost dimensions of the first input."""
    count = len(generic.parallel)
    reduced = [d for d in range(count) if not generic.parallel[d]]
    rows = count - len(reduced)
    return (
        reduced == list(range(rows, count))
        and generic.dims[0] == tuple(range(count))
        and generic.dims[-1] == tuple(range(rows))
        and all(d is not None for d in generic.dims)
    )


def _source(value: ir.Value) -> ir.Value:
    """The value before casts to a wider type, or of an integer to a float."""
    while isinstance(value, ir.OpResult) and value.owner.name in WIDENINGS:
        value = value.owner.operands[0]
    return value


def _loops(map_: ir.AffineMap) -> set[int]:
    return set().union(*(_expr_loops(expr) for expr in map_.results))


def _window_loops(map_: ir.AffineMap) -> set[int]:
    """Loops that share a dimension with another loop, as d0 + d2 in a convolution."""
    return set().union(*(loops for expr in map_.results if len(loops := _expr_loops(expr)) > 1))


def _expr_loops(expr: ir.AffineExpr) -> set[int]:
    if isinstance(expr, ir.AffineDimExpr):
        return {expr.position}
    if isinstance(expr, ir.AffineBinaryExpr):
        return _expr_loops(expr.lhs) | _expr_loops(expr.rhs)
    return set()

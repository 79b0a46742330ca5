"""Emits any linalg region by transform dialect scripts: tile, fuse, peel, vectorise, hoist, bufferise.

What a script cannot do to an op (a body that does not vectorise) is left to loops inside the same kernel. Scripts are
built and applied step by step, so that each sees the shapes that the step before left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compiler.emit.kernel import Kernel
from compiler.emit.plain import BUFFERS, DESTINATIONS, LOOPS, diagnostic, on_memrefs, run_passes
from compiler.emit.transform_order import sort_dimensions
from compiler.emit.transform_tiles import (
    inner_tile,
    is_static,
    lane_loop,
    loop_order,
    may_vectorize,
    related_loops,
    row_loop,
    windowed,
)
from passes.fusion.generic import Generic, is_contraction, walk
from passes.mlir import apply_named_sequence, ir
from passes.region.structure import UnsupportedRegion, find_function
from passes.tiling.schedule import Schedule

ANY = "!transform.any_op"
_CLEAN = ("func.func(linalg-generalize-named-ops)", "canonicalize", "cse")
_PREPARE = (*DESTINATIONS, _CLEAN[0], "linalg-fold-unit-extent-dims", "canonicalize", "cse")

_VECTOR_PATTERNS = (
    # Sets that do not terminate: cast_away_vector_leading_one_dim, transfer_permutation_patterns and
    # fold_tensor_subset_ops_into_vector_transfers together; lower_shape_cast with lower_broadcast and canonicalization.
    ("vector.reduction_to_contract", "vector.transfer_permutation_patterns"),
    ("vector.cast_away_vector_leading_one_dim",),
    ("tensor.fold_tensor_subset_ops_into_vector_transfers",),
)
_LOWER_PATTERNS = (
    ("memref.fold_memref_alias_ops",),
    (
        'vector.lower_contraction lowering_strategy = "outerproduct"',
        "vector.lower_transpose",
        "vector.lower_outerproduct",
    ),
    ('vector.reorder_multi_reduction_dims lowering_strategy = "innerreduction"',),
    ('vector.multi_reduction_flattening lowering_strategy = "innerreduction"',),
    ('vector.multi_reduction_unrolling lowering_strategy = "innerreduction"',),
    ("vector.transfer_permutation_patterns",),
    (
        "vector.transfer_to_scf max_transfer_rank = 1 full_unroll = true",
        "vector.lower_transfer max_transfer_rank = 1",
    ),
)


def emit_transform(module: Any, schedule: Schedule, name: str) -> Kernel:
    """The kernel of a region function on tensors; `module` holds only that function and is left as it is.

    UnsupportedRegion with MLIR's diagnostic if a step fails.
    """
    made = on_memrefs(module, name)
    try:
        sort_dimensions(find_function(made))
        run_passes(made, _PREPARE)
        steps = _Steps(made, schedule)
        steps.tile_and_fuse()
        steps.tile_inside()
        steps.vectorize()
        run_passes(made, BUFFERS)
        steps.lower()
        run_passes(made, ("func.func(scf-forall-to-parallel)", *LOOPS, "convert-vector-to-scf", "canonicalize", "cse"))
        _own_buffers(made)
    except ir.MLIRError as error:
        raise UnsupportedRegion(f"{name}: the transform script failed: {diagnostic(error)}") from error
    return Kernel(name, made)


class _Steps:
    """The steps of the transformation, in order; each leaves valid IR."""

    def __init__(self, module: Any, schedule: Schedule) -> None:
        self.module, self.schedule = module, schedule

    # tiles around the last op, with its producers inside

    def tile_and_fuse(self) -> None:
        """Tiles the op that makes the last result along the loops that all reductions share, producers inside."""
        ops = [op for op in self._ops("linalg.generic") if is_static(op)]
        if not ops or not Generic.read(ops[-1]).sizes:
            return
        self._order_loops(ops)
        ops = [op for op in self._ops("linalg.generic") if is_static(op)]
        last, related = ops[-1], related_loops(ops[-1], ops)
        levels = self._levels(last, related)  # before attributes are set: an op's hash covers them
        lane = lane_loop(Generic.read(last))
        for op, loops in related.items():
            own = [loop for loop, d in loops.items() if d == lane]
            if own:
                op.attributes["seerc.lane"] = ir.IntegerAttr.get(ir.IndexType.get(), own[0])
            op.attributes["seerc.loops"] = ir.DenseI64ArrayAttr.get(sorted(loops.values()))
        last.attributes["seerc.last"] = ir.UnitAttr.get()
        for level in levels:
            if any(level):
                self._tile(self._one("seerc.last"), level)
                self._fuse({d for d, size in enumerate(level) if size})
        self._peel()

    def _order_loops(self, ops: Sequence[Any]) -> None:
        """Loops in the order in which the last op stores, so that the vectors of all ops have the same order."""
        last = Generic.read(ops[-1])
        stored = last.dims[-1] or ()
        related = related_loops(ops[-1], ops)
        orders = [loop_order(Generic.read(op), loops, stored) for op, loops in related.items()]
        for op, order in zip(list(related), orders, strict=True):
            if order != sorted(order):
                op.attributes["seerc.order"] = ir.UnitAttr.get()
                line = f"%new = transform.structured.interchange %op iterator_interchange = {order} : ({ANY}) -> {ANY}"
                self._apply([_match("%op", "seerc.order"), line])
                self._forget("seerc.order")

    def _levels(self, last: Any, related: dict[Any, dict[int, int]]) -> list[list[int]]:
        """Tile sizes of the outer and the inner loops around `last`."""
        generic, schedule = Generic.read(last), self.schedule
        reductions = [op for op in related if not all(Generic.read(op).parallel)]
        shared = {d for d, parallel in enumerate(generic.parallel) if parallel}
        for op in reductions:
            own = Generic.read(op).parallel
            shared &= {d for loop, d in related[op].items() if own[loop]}
        lane = lane_loop(generic)
        main = reductions[0] if reductions else last
        back = {d: loop for loop, d in related[main].items()}
        row = None
        if lane in shared and lane in back:
            found = row_loop(Generic.read(main), back[lane], [back[d] for d in shared if d in back])
            row = related[main].get(found) if found is not None else None
        outer, inner = [0] * len(generic.sizes), [0] * len(generic.sizes)
        for d in shared:
            size = schedule.vector * schedule.vectors if d == lane else schedule.rows if d == row else 1
            if size < generic.sizes[d]:
                into = inner if d == (row if schedule.order == "columns-rows" else lane) else outer
                into[d] = size
        return [outer, inner] if any(outer) else [inner]

    def _tile(self, op: Any, sizes: Sequence[int]) -> None:
        """Tiles one op; the outermost new loop gets `seerc.loop`."""
        for loop in self._ops("scf.for", "scf.forall"):
            if "seerc.loop" in loop.attributes:
                del loop.attributes["seerc.loop"]
        op.attributes["seerc.tile"] = ir.UnitAttr.get()
        extents = Generic.read(op).sizes
        whole = [s if n % (s or 1) == 0 else 0 for s, n in zip(sizes, extents, strict=True)]
        threads = whole if self.schedule.parallel and not self._ops("scf.forall") else []
        lines = [_match("%op", "seerc.tile")]
        target, outer = "%op", ""
        if any(threads):
            tile = f"transform.structured.tile_using_forall %op tile_sizes {threads}"
            lines.append(f"%in, %all = {tile} : ({ANY}) -> ({ANY}, {ANY})")
            target, outer = "%in", "%all"
            sizes = [0 if t else s for s, t in zip(sizes, threads, strict=True)]
        count = sum(s > 0 for s in sizes)
        if count:
            kinds = ", ".join([ANY] * (count + 1))
            tile = f"transform.structured.tile_using_for {target} tile_sizes {list(sizes)}"
            lines.append(f"%tiled, %loops:{count} = {tile} : ({ANY}) -> ({kinds})")
            outer = outer or "%loops#0"
        lines.append(f'transform.annotate {outer} "seerc.loop" : {ANY}')
        self._apply(lines)
        self._forget("seerc.tile")

    def _fuse(self, tiled: set[int]) -> None:
        """Moves producers into the loop, those that share all of its loops: nothing is computed twice."""
        while True:
            loop = self._one("seerc.loop")
            ready = [op for op in self._ops("linalg.generic") if _feeds(op, loop) and tiled <= _loops_of(op)]
            if not ready:
                return
            ready[-1].attributes["seerc.fuse"] = ir.UnitAttr.get()
            lines = [
                _match("%op", "seerc.fuse"),
                _match("%loop", "seerc.loop"),
                "%in, %new = transform.structured.fuse_into_containing_op %op into %loop "
                f": ({ANY}, {ANY}) -> ({ANY}, {ANY})",
            ]
            self._apply(lines)
            self._forget("seerc.fuse")
            run_passes(self.module, ("cse",))

    def _peel(self) -> None:
        """Splits the last, smaller step off every loop, outermost first; then all shapes are static."""
        run_passes(self.module, _CLEAN)
        while loops := [op for op in self._ops("scf.for") if _has_remainder(op)]:
            loops[0].attributes["seerc.peel"] = ir.UnitAttr.get()
            lines = [
                _match("%loop", "seerc.peel", '!transform.op<"scf.for">'),
                f'%main, %rest = transform.loop.peel %loop : (!transform.op<"scf.for">) -> ({ANY}, {ANY})',
            ]
            self._apply(lines)
            self._forget("seerc.peel")
            run_passes(self.module, _CLEAN)

    # each op by itself

    def tile_inside(self) -> None:
        """Tiles what is still larger than a vector tile, every op by itself."""
        for op in self._ops("linalg.generic"):
            op.attributes["seerc.large"] = ir.UnitAttr.get()
        while large := [op for op in self._ops("linalg.generic") if "seerc.large" in op.attributes]:
            op = large[0]
            del op.attributes["seerc.large"]
            sizes = inner_tile(Generic.read(op), self.schedule) if is_static(op) else []
            if any(sizes):
                self._tile(op, sizes)
        self._peel()
        self._split_lanes()

    def _split_lanes(self) -> None:
        """Reductions along the lanes: a vector of partial results, combined at the end."""
        for op in self._ops("linalg.generic"):
            generic = Generic.read(op)
            if is_static(op) and (lane := _long_lane(generic, self.schedule)) is not None:
                width = self.schedule.vector * self.schedule.vectors
                sizes = [width if d == lane else 0 for d in range(len(generic.sizes))]
                op.attributes["seerc.tile"] = ir.UnitAttr.get()
                line = (
                    f"%fill, %part, %sum, %loop = transform.structured.tile_reduction_using_for %op "
                    f"by tile_sizes = {sizes} : ({ANY}) -> ({ANY}, {ANY}, {ANY}, {ANY})"
                )
                self._try([_match("%op", "seerc.tile"), line])
                self._forget("seerc.tile")
        self._peel()

    def vectorize(self) -> None:
        """Turns every op that is small enough into vector operations and keeps accumulators in registers."""
        small = [op for op in self._ops("linalg.generic") if may_vectorize(op)]
        if any(windowed(Generic.read(op)) for op in small):
            self._apply([_patterns("linalg.fold_unit_extent_dims_via_slices")])
            run_passes(self.module, _CLEAN)
            small = [op for op in self._ops("linalg.generic") if may_vectorize(op)]
        for op in small:
            op.attributes["seerc.vectorize"] = ir.UnitAttr.get()
            self._try([_match("%op", "seerc.vectorize"), f"transform.structured.vectorize %op : {ANY}"])
            self._forget("seerc.vectorize")
        lines = [_patterns(*patterns, "canonicalization") for patterns in _VECTOR_PATTERNS]
        hoist = [
            _match("%loops", None, ANY, "scf.for"),
            f"transform.loop.hoist_loop_invariant_subsets %loops : {ANY}",
        ]
        self._apply(lines)
        for _ in range(2):
            run_passes(self.module, ("canonicalize", "cse", "loop-invariant-code-motion"))
            if self._ops("scf.for"):
                self._apply(hoist)
            self._apply(lines[-1:])

    def lower(self) -> None:
        """On memrefs: contractions to outer products, transfers to vectors of rank one."""
        for patterns in _LOWER_PATTERNS:
            self._apply([_patterns(*patterns, "canonicalization")])
            run_passes(self.module, ("canonicalize", "cse"))

    # scripts

    def _apply(self, lines: Sequence[str]) -> None:
        """Runs a script on the module; ir.MLIRError if it fails."""
        body = "\n".join(lines)
        script = ir.Module.parse(
            "module attributes {transform.with_named_sequence} {\n"
            f"transform.named_sequence @__transform_main(%root: {ANY}) {{\n{body}\ntransform.yield\n}}\n}}"
        )
        apply_named_sequence(self.module, script.body.operations[0], script)

    def _try(self, lines: Sequence[str]) -> None:
        """Runs a script; an op that it cannot transform is left as it is."""
        body = "\n".join(line.replace("%root", "%inner") for line in lines)
        self._apply([f"transform.sequence %root : {ANY} failures(suppress) {{\n^bb0(%inner: {ANY}):\n{body}\n}}"])

    def _ops(self, *names: str) -> list[Any]:
        return [op for op in walk(self.module.operation) if op.name in names]

    def _one(self, key: str) -> Any:
        return next(op for op in walk(self.module.operation) if key in op.attributes)

    def _forget(self, key: str) -> None:
        for op in walk(self.module.operation):
            if key in op.attributes:
                del op.attributes[key]


def _own_buffers(module: Any) -> None:
    """Stack buffers in the body of a parallel loop become heap buffers: OpenMP's lowering keeps scopes of one block."""
    for loop in [op for op in walk(module.operation) if op.name == "scf.parallel"]:
        body = loop.regions[0].blocks[0]
        *_, end = body.operations
        for op in [op for op in walk(loop) if op.name == "memref.alloca"]:
            with ir.InsertionPoint.at_block_begin(body):
                made = ir.Operation.create("memref.alloc", results=[op.results[0].type], attributes=_plain_sizes(op))
            with ir.InsertionPoint(end):
                ir.Operation.create("memref.dealloc", operands=[made.results[0]])
            op.results[0].replace_all_uses_with(made.results[0])
            op.erase()


def _plain_sizes(op: Any) -> dict[str, Any]:
    return {key: op.attributes[key] for key in ("operandSegmentSizes", "alignment") if key in op.attributes}


def _match(handle: str, key: str | None, kind: str = ANY, name: str = "") -> str:
    what = f"attributes {{{key}}}" if key else f'ops{{["{name}"]}}'
    return f"{handle} = transform.structured.match {what} in %root : ({ANY}) -> {kind}"


def _patterns(*names: str) -> str:
    body = "\n".join(f"transform.apply_patterns.{name}" for name in names)
    return f"transform.apply_patterns to %root {{\n{body}\n}} : {ANY}"


def _feeds(op: Any, loop: Any) -> bool:
    """Whether an op outside of the loop is sliced inside of it."""
    if _inside(op, loop):
        return False
    users = [use.owner.operation for result in op.results for use in result.uses]
    return any(user.name == "tensor.extract_slice" and _inside(user, loop) for user in users)


def _inside(op: Any, loop: Any) -> bool:
    while op is not None and op.name != "builtin.module":
        if op == loop:
            return True
        op = op.parent.operation if op.parent is not None else None
    return False


def _loops_of(op: Any) -> set[int]:
    return set(op.attributes["seerc.loops"]) if "seerc.loops" in op.attributes else set()


def _has_remainder(loop: Any) -> bool:
    low, high, step = [_constant(v) for v in list(loop.operands)[:3]]
    if low is None or high is None or step is None:
        return False
    return high - low > step and (high - low) % step != 0


def _constant(value: Any) -> int | None:
    op = value.owner
    if isinstance(op, ir.Block) or op.name != "arith.constant":
        return None
    return ir.IntegerAttr(op.attributes["value"]).value


def _long_lane(generic: Generic, schedule: Schedule) -> int | None:
    """The reduced loop that the lanes run along, if it is longer than a vector tile."""
    lane = lane_loop(generic)
    if lane is None or generic.parallel[lane] or is_contraction(generic):
        return None
    return lane if generic.sizes[lane] > schedule.vector * schedule.vectors else None

"""A copy of a sub-block that works on the chosen tokens alone."""

from __future__ import annotations

from collections.abc import Sequence

from passes.adaptive.axes import SEQUENCE, TOKEN, Axes, Axis, Mixed, has, loop_axes, narrowed, operand_axes, size_of
from passes.adaptive.dataflow import Dataflow
from passes.adaptive.routing import Routes
from passes.adaptive.rows import Scalars, cast, element_of, index, loops
from passes.fusion.generic import Generic, shape
from passes.fusion.graph import is_cloned
from passes.mlir import ir, linalg, tensor


class FewerTokens:
    """Copies ops with k in the place of T, one by one, at the insertion point.

    What the ops read besides the stream and is indexed by tokens (rotary tables, position biases, masks) is gathered
    at the chosen tokens' true positions, for each sequence its own. Causal masks stay causal, because the tokens keep
    their order.
    """

    def __init__(self, flow: Dataflow, axes: dict[ir.Value, Axes], routes: Routes, chosen: tuple[ir.Value, ir.Value]):
        """`axes` as of `axes.track`; `chosen`: the stream, and it at the chosen tokens."""
        self.flow, self.axes, self.routes = flow, axes, routes
        self.values: dict[ir.Value, ir.Value] = dict([chosen])
        self._gathered: dict[tuple[ir.Value, Axes], ir.Value] = {}

    def copy(self, vertex: int) -> None:
        """Copy one op; `values` gets its results."""
        op, generic = self.flow.nodes[vertex].op, self.flow.structured(vertex)
        if generic is not None:
            self._copy_loops(op, generic)
            return
        copy = op.clone()
        for number, value in enumerate(op.operands):
            copy.operands[number] = self.values[value]
        sizes = narrowed(self.axes[op.results[0]], self.routes.count)
        for attribute in ("static_output_shape", "static_sizes"):
            if attribute in copy.attributes:
                copy.attributes[attribute] = ir.DenseI64ArrayAttr.get(sizes)
        self._finish(op, copy)

    def _copy_loops(self, op: ir.Operation, generic: Generic) -> None:
        along = loop_axes(generic, self.axes)
        batch = next((loop for loop, axis in along.items() if [p.role for p in axis] == [SEQUENCE]), None)
        operands: list[ir.Value] = []
        maps = list(generic.maps)
        for number, value in enumerate(generic.operands):
            axes = operand_axes(generic, number, along)
            new = self._operand(value, axes, batch is not None)
            if len(shape(new)) > len(axes):  # each sequence has its own part of the table
                assert batch is not None
                maps[number] = ir.AffineMap.get(
                    len(generic.parallel), 0, [ir.AffineExpr.get_dim(batch), *maps[number].results]
                )
            operands.append(new)
        copy = op.clone()
        for number, value in enumerate(operands):
            copy.operands[number] = value
        if maps != list(generic.maps):
            if op.name != "linalg.generic":
                raise Mixed(f"{op.name} reads a table of positions, which differ between sequences")
            copy.attributes["indexing_maps"] = ir.ArrayAttr.get([ir.AffineMapAttr.get(m) for m in maps])
        self._finish(op, copy)

    def _finish(self, op: ir.Operation, copy: ir.Operation) -> None:
        for old, new in zip(op.results, copy.results, strict=True):
            new.set_type(ir.RankedTensorType.get(narrowed(self.axes[old], self.routes.count), element_of(old)))
            self.values[old] = new

    def _operand(self, value: ir.Value, axes: Axes, batched: bool) -> ir.Value:
        """What takes the place of an operand whose dimensions the loops run along as `axes` say."""
        if value in self.values:
            return self.values[value]
        if not any(has(axis, TOKEN) for axis in axes):
            return value
        if (value, axes) not in self._gathered:
            owner = value.owner
            blank = isinstance(owner, ir.Operation | ir.OpView) and is_cloned(owner.operation)
            made = self._blank(owner.operation, axes) if blank else self._gather(value, axes, batched)
            self._gathered[value, axes] = made
        return self._gathered[value, axes]

    def _blank(self, op: ir.Operation, axes: Axes) -> ir.Value:
        """Another `tensor.empty` or fill, with fewer tokens."""
        empty = tensor.empty(narrowed(axes, self.routes.count), element_of(op.results[0]))
        return empty if op.name == "tensor.empty" else linalg.fill(op.operands[0], outs=[empty])

    def _gather(self, table: ir.Value, axes: Axes, batched: bool) -> ir.Value:
        """`table` at the chosen tokens; with sequences that it did not have first, if there are several."""
        roles = [tuple(p.role for p in axis) for axis in axes]
        shared = self.routes.sequences > 1 and not any(SEQUENCE in r for r in roles)
        if shared and not batched:
            raise Mixed("a table of positions is read where sequences are not apart")
        sizes = [self.routes.sequences] * shared + narrowed(axes, self.routes.count)
        sequence = 0 if shared else next((d for d, r in enumerate(roles) if r == (SEQUENCE,)), None)
        inputs = [self._positions(d + shared, axis, sequence) for d, axis in enumerate(axes) if has(axis, TOKEN)]

        def body(scalars: Scalars) -> Scalars:
            found = iter(scalars)
            at = [
                cast(next(found), ir.IndexType.get()) if has(axis, TOKEN) else index(d + shared)
                for d, axis in enumerate(axes)
            ]
            return [tensor.extract(table, at)]

        return loops([value for value, _ in inputs], [dims for _, dims in inputs], sizes, element_of(table), body)

    def _positions(self, dim: int, axis: Axis, sequence: int | None) -> tuple[ir.Value, Sequence[int]]:
        """Where the elements of a dimension of tokens come from, and the dimensions that index that."""
        whole = self.routes.sequences * self.routes.tokens
        if size_of(axis) == whole and all(part.role for part in axis):
            return self.routes.chosen_rows, [dim]
        if [part.role for part in axis] == [TOKEN] and sequence is not None:
            return self.routes.origins, [sequence, dim]
        raise Mixed("a table of positions has them beside something else in one dimension")

"""Editing of sub-blocks: behind an `scf.if`, or out of the function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from passes.adaptive.blocks import Block
from passes.fusion.generic import walk
from passes.fusion.graph import is_cloned
from passes.mlir import arith, ir, linalg, scf, tensor

Replaced = dict[ir.Value, ir.Value]
Otherwise = Callable[[Block, ir.Value, ir.Operation], list[ir.Value]]


class Editor:
    """One function whose sub-blocks are edited one sum after the other, in stream order."""

    def __init__(self, main: ir.Operation) -> None:
        self.main = main
        self.block = main.regions[0].blocks[0]
        self.ops = [op.operation for op in self.block.operations]
        self.replaced: Replaced = {}

    def guard(self, sum_: Sequence[Block], mask: ir.Value) -> None:
        """Run each of the sub-blocks of one sum only where its element of `mask` is true."""
        self.choose(sum_, {part.index: part.index for part in sum_}, mask, _pass_on)

    def choose(self, sum_: Sequence[Block], elements: Mapping[int, int], mask: ir.Value, other: Otherwise) -> None:
        """Run the sub-blocks of one sum where their elements of `mask` are true, `other` in their place elsewhere.

        Args:
            sum_: all sub-blocks of the sum.
            elements: the element of the mask by number of the sub-block; the others of the sum always run.
            mask: `tensor<Nxi1>`.
            other: builds, at the insertion point, what takes the place of a sub-block: from the sub-block, the stream
                and the op that adds to it, the new stream and the escapes.
        """
        end = self._end(sum_)
        stream = self._value(sum_[0].residual)
        for part in sum_:
            if part.index in elements:
                run = self._element(mask, elements[part.index], end)
                stream = self._guard_one(part, run, stream, end, other)
            else:
                with ir.InsertionPoint(end), end.location:
                    stream = add(end, stream, part.updates)
        self._close(sum_, stream)

    def guard_when(self, part: Block, run: ir.Value, reader: ir.Operation) -> ir.Value:
        """Run a sub-block where the scalar `run` is true, right before the op `reader`; its exit, or its residual."""
        stream = self._value(part.residual)
        result = self._guard_one(part, run, stream, reader, _pass_on)
        self._close([part], result)
        return result

    def remove(self, sum_: Sequence[Block], skip: frozenset[int]) -> None:
        """Take those sub-blocks of one sum out whose numbers are in `skip`."""
        end = self._end(sum_)
        stream = self._value(sum_[0].residual)
        with ir.InsertionPoint(end), end.location:
            for part in sum_:
                if part.index in skip:
                    for value in part.escapes:
                        self._zero_uses(part, value)
                else:
                    stream = add(end, stream, part.updates)
        self._close(sum_, stream)

    def erase_dead(self) -> None:
        """Erase the ops of the function whose results nothing reads."""
        for op in reversed([op.operation for op in self.block.operations]):
            if op.results and not any(_used(result) for result in op.results):
                op.erase()

    def _element(self, mask: ir.Value, number: int, end: ir.Operation) -> ir.Value:
        with ir.InsertionPoint(end), end.location:
            return tensor.extract(mask, [arith.constant(ir.IndexType.get(), number)])

    def _guard_one(self, part: Block, run: ir.Value, stream: ir.Value, end: ir.Operation, other: Otherwise) -> ir.Value:
        own = [self.ops[index] for index in part.ops]
        with ir.InsertionPoint(end), end.location:
            guarded = scf.IfOp(run, [stream.type, *(v.type for v in part.escapes)], has_else=True)
        integer = ir.IntegerType.get_signless(64)
        guarded.operation.attributes["seerc.block"] = ir.StringAttr.get(part.kind)
        guarded.operation.attributes["seerc.block_index"] = ir.IntegerAttr.get(integer, part.index)
        with ir.InsertionPoint(guarded.else_block), end.location:
            scf.YieldOp(other(part, stream, end))
        _own_constants(guarded.else_block, self.block)
        with ir.InsertionPoint(guarded.then_block), end.location:
            result = add(end, stream, part.updates) if part.updates else part.exit
            scf.YieldOp([result, *part.escapes])
        first = guarded.then_block.operations[0].operation
        for op in own:
            op.move_before(first)
        _own_constants(guarded.then_block, self.block)
        results = list(guarded.results)
        for old, new in zip(part.escapes, results[1:], strict=True):
            _replace_outside(old, new, guarded.then_block)
        self._after(guarded.operation, part, results)
        return results[0]

    def _after(self, guarded: ir.Operation, part: Block, results: Iterable[ir.Value]) -> None:
        """Move what reads the results, and stands before them, behind them."""
        late, last = set(results), guarded
        inside = set(part.ops)
        for index in range(part.ops[0], part.ops[-1]):
            op = self.ops[index]
            if index not in inside and op.block == self.block and late & {v for o in walk(op) for v in o.operands}:
                op.move_after(last)
                late.update(op.results)
                last = op

    def _end(self, sum_: Sequence[Block]) -> ir.Operation:
        """The op that computes the exit of the sub-blocks."""
        owner = sum_[0].exit.owner
        assert isinstance(owner, ir.Operation | ir.OpView)
        return owner.operation

    def _close(self, sum_: Sequence[Block], stream: ir.Value) -> None:
        """Let `stream` take the place of the sum's exit."""
        exit_ = sum_[0].exit
        holder = self._end(sum_).block
        if holder == self.block:
            exit_.replace_all_uses_with(stream)
        else:
            _replace_outside(exit_, stream, holder)
        self.replaced[exit_] = stream

    def _value(self, value: ir.Value) -> ir.Value:
        return self.replaced.get(value, value)

    def _zero_uses(self, part: Block, value: ir.Value) -> None:
        first = self.ops[part.ops[0]]
        with ir.InsertionPoint(first), first.location:
            zeros = _zeros(value.type)
        value.replace_all_uses_with(zeros)


def _pass_on(part: Block, stream: ir.Value, _: ir.Operation) -> list[ir.Value]:
    return [stream, *(_zeros(value.type) for value in part.escapes)]


def add(like: ir.Operation, stream: ir.Value, updates: Iterable[ir.Value]) -> ir.Value:
    """`stream` plus the updates, by copies of the addition `like` at the insertion point."""
    for update in updates:
        copy = like.clone()
        copy.operands[0], copy.operands[1] = stream, update
        stream = copy.results[0]
    return stream


def _own_constants(inner: ir.Block, outer: ir.Block) -> None:
    """Copy the constants, fills and empty tensors of `outer` that `inner` reads into it."""
    copies: Replaced = {}
    start = ir.InsertionPoint(inner.operations[0])

    def own(value: ir.Value) -> ir.Value:
        op = value.owner
        if not isinstance(op, ir.Operation | ir.OpView) or op.operation.block != outer or not is_cloned(op.operation):
            return value
        if value not in copies:
            operands = [own(operand) for operand in op.operation.operands]
            copy = op.operation.clone(ip=start)
            for index, operand in enumerate(operands):
                copy.operands[index] = operand
            copies[value] = copy.results[0]
        return copies[value]

    for op in [op.operation for op in inner.operations]:
        for nested in walk(op):
            for index, operand in enumerate(nested.operands):
                if (copy := own(operand)) != operand:
                    nested.operands[index] = copy


def _replace_outside(old: ir.Value, new: ir.Value, block: ir.Block) -> None:
    """Replace the uses of `old` that do not lie in `block`."""
    for use in list(old.uses):
        owner = use.owner.operation
        if not _lies_in(owner, block):
            owner.operands[use.operand_number] = new


def _lies_in(op: ir.Operation, block: ir.Block) -> bool:
    at: ir.Operation | None = op
    while at is not None:
        if at.block == block:
            return True
        at = None if at.name == "func.func" or at.parent is None else at.parent.operation
    return False


def _zeros(type_: ir.Type) -> ir.Value:
    shaped = ir.RankedTensorType(type_)
    element = shaped.element_type
    zero = ir.FloatAttr.get(element, 0.0) if isinstance(element, ir.FloatType) else ir.IntegerAttr.get(element, 0)
    return linalg.fill(arith.constant(element, zero), outs=[tensor.empty(list(shaped.shape), element)])


def _used(value: ir.Value) -> bool:
    return next(iter(value.uses), None) is not None

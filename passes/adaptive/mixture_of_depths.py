"""`seerc-mixture-of-depths`: sub-blocks that only the best-scored tokens of a sequence go through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import ClassVar

from passes.adaptive.arguments import add_argument, main_function, weights_first
from passes.adaptive.axes import Axes, Mixed, stream_axes, track
from passes.adaptive.blocks import Block, find_blocks
from passes.adaptive.conditional import Editor
from passes.adaptive.dataflow import Dataflow
from passes.adaptive.fewer_tokens import FewerTokens
from passes.adaptive.routing import Routes, route
from passes.adaptive.rows import Scalars, as_matrix, constant, element_of, i32, loops, pick_rows, split_first
from passes.adaptive.sums import addends
from passes.base import Pass, PassContext, PassError
from passes.fusion.generic import shape
from passes.fusion.reshape import reassociation
from passes.mlir import arith, ir


@dataclass(frozen=True)
class MixtureOfDepthsPass(Pass):
    """Let k tokens of each sequence go through a sub-block and pass the others by (arXiv 2404.02258, equation 1).

    A router scores the tokens, r = x . w + offset; the k best of each sequence are gathered in the order of their
    positions, the sub-block f works on these k, and x + r f(x) takes the place of x for them. k is a number, so all
    shapes are static. w [d] is a new weight argument, `router.N` for sub-block N, after those that were there.

    Positions: rotary tables, position biases and masks are gathered at the true positions of the chosen tokens. Keys
    and values of the others do not exist in that sub-block: the chosen tokens attend to each other alone.

    **Top-k looks at the whole sequence, so this is not causal**: whether a token takes part depends on later ones. It
    is for whole-sequence programs: encoders, scoring, prefill, training. A decoder decides for each token alone
    instead, by a threshold on r: `compiler.decode.routers` and `seerc-lazy-select`. Programs that return keys and
    values are refused here.

    Where the sum is normed afterwards (BERT: x' = norm(x + f(x))) or adds up several parts, f(x) is x' - x.

    Attributes:
        blocks: numbers of the sub-blocks, in the order of `find_blocks`.
        capacity: k, for each of them or one for all.
        percent: instead, k as a share of the tokens, rounded up.
        span: how many sub-blocks in succession, from each of `blocks` on, are behind one router; 2 is a whole layer.
        scale: multiply f(x) by r; without it the router only chooses.
        offset: constant part of r; 1 makes an untrained router of zeros a plain residual.
        sequences: how many sequences share a stream [B * T, d]; 0 reads it from the attention sub-blocks.
    """

    name: ClassVar[str] = "seerc-mixture-of-depths"

    blocks: tuple[int, ...]
    capacity: tuple[int, ...] = ()
    percent: tuple[float, ...] = ()
    span: int = 1
    scale: bool = True
    offset: float = 0.0
    sequences: int = 0

    def __post_init__(self) -> None:
        given = self.capacity or self.percent
        if not self.blocks or bool(self.capacity) == bool(self.percent) or len(given) not in (1, len(self.blocks)):
            raise ValueError("give blocks, and either capacity or percent: one number, or one for each block")
        if any(b - a < self.span for a, b in zip(sorted(self.blocks), sorted(self.blocks)[1:], strict=False)):
            raise ValueError(f"blocks {self.blocks} of span {self.span} overlap")
        if self.span < 1 or self.sequences < 0 or min(given) <= 0 or (self.percent and max(given) > 100):
            raise ValueError("span and capacity are at least 1, percent is above 0 and at most 100")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        main = main_function(op, self.name)
        flow, blocks = Dataflow(main), find_blocks(main)
        if not blocks or not 0 <= min(self.blocks) <= max(self.blocks) + self.span - 1 < len(blocks):
            raise PassError(
                f"{self.name}: sub-blocks {min(self.blocks)} to {max(self.blocks) + self.span - 1} are asked for; "
                f"@main has {len(blocks)}"
            )
        given = self.capacity or self.percent
        amounts = dict(zip(self.blocks, given if len(given) > 1 else given * len(self.blocks), strict=True))
        with main.context, ir.Location.unknown():
            parts = [self._part(flow, blocks, first, amounts[first]) for first in sorted(amounts)]
            for part in reversed(parts):  # so that what a part reads is still what was found
                try:
                    part.rewrite(self.scale, self.offset)
                except Mixed as error:
                    raise self._refusal(blocks[part.first], error) from error
            Editor(main).erase_dead()
            weights_first(main)
        context.log.info("%s: %s", self.name, " ".join(f"{p.first}:{p.count}/{p.tokens}" for p in parts))

    def _part(self, flow: Dataflow, blocks: Sequence[Block], first: int, amount: float) -> _Part:
        own = blocks[first : first + self.span]
        where = f"{self.name}: sub-block {first} ({own[0].kind})"
        if any(block.escapes for block in own):
            raise PassError(
                f"{where} returns values of its own, such as keys: only whole-sequence programs can do this"
            )
        if self.span > 1 and any(block.updates for block in own):
            raise PassError(f"{where} shares its sum with another one: give span 1")
        sequences = self.sequences or _sequences(flow, blocks)
        try:
            axes = stream_axes(own[0].entry, sequences)
            tokens = prod(shape(own[0].entry)[:-1]) // sequences
            count = int(amount) if self.capacity else max(1, ceil(amount * tokens / 100 - 1e-9))
            if not 1 <= count <= tokens:
                raise Mixed(f"a capacity of {count} does not fit its {tokens} tokens")
            return _Part.find(flow, own, axes, sequences, count)
        except Mixed as error:
            raise self._refusal(own[0], error) from error

    def _refusal(self, block: Block, why: Mixed) -> PassError:
        return PassError(f"{self.name}: sub-block {block.index} ({block.kind}) cannot work on fewer tokens: {why}")


@dataclass(frozen=True)
class _Part:
    """What goes behind one router.

    Attributes:
        flow: the dataflow before any change.
        first: number of the first sub-block.
        sequences, tokens, count: B, T and k.
        entry: the stream x.
        residual: the stream in the type of what replaces `updates` or `exit`.
        updates: the values added to the stream; empty if f is exit - x.
        exit: the stream afterwards.
        vertices: the ops between the stream and that.
        axes: of their results.
        router: the new weight argument.
    """

    flow: Dataflow
    first: int
    sequences: int
    tokens: int
    count: int
    entry: ir.Value
    residual: ir.Value
    updates: tuple[ir.Value, ...]
    exit: ir.Value
    vertices: tuple[int, ...]
    axes: dict[ir.Value, Axes]
    router: ir.Value

    @staticmethod
    def find(flow: Dataflow, blocks: Sequence[Block], axes: Axes, sequences: int, count: int) -> _Part:
        """Raises Mixed if an op cannot be computed for fewer tokens."""
        entry, residual, exit_ = blocks[0].entry, blocks[0].residual, blocks[-1].exit
        updates = _updates(flow, blocks)
        start = flow.producer[entry]
        vertices = frozenset[int]().union(*(flow.between(start, flow.producer[v]) for v in updates or (exit_,)))
        if not updates:
            vertices |= flow.between(start, flow.producer[residual])
        found = track(flow, vertices, entry, axes)
        whole = stream_axes(residual, sequences)
        if any(found[value] != whole for value in updates or (exit_,)):
            raise Mixed("what it adds is not laid out as the stream")
        main = flow.block.owner.operation
        width = shape(entry)[-1]
        router = add_argument(main, ir.RankedTensorType.get([width], element_of(entry)), f"router.{blocks[0].index}")
        tokens = prod(shape(entry)[:-1]) // sequences
        part = blocks[0].index, sequences, tokens, count
        return _Part(flow, *part, entry, residual, updates, exit_, tuple(sorted(vertices)), found, router)

    def rewrite(self, scale: bool, offset: float) -> None:
        """Replace the updates, or the exit."""
        wanted = self.updates or (self.exit,)
        first = min(wanted, key=lambda value: self.flow.producer[value]).owner
        with ir.InsertionPoint(first), first.location:
            rows = as_matrix(self.entry)
            routes = route(rows, self.router, self.sequences, self.count, offset)
            chosen = pick_rows(rows, routes.chosen_rows)
            chosen = split_first(chosen, [self.sequences, self.count][-(len(shape(self.entry)) - 1) :])
        copies = FewerTokens(self.flow, self.axes, routes, (self.entry, chosen))
        done: set[int] = set()
        for value in sorted(wanted, key=lambda value: self.flow.producer[value]):
            with ir.InsertionPoint(value.owner), value.owner.location:
                for vertex in self.vertices:
                    if vertex <= self.flow.producer[value] and vertex not in done:
                        copies.copy(vertex)
                        done.add(vertex)
                value.replace_all_uses_with(self._spread(value, copies, routes, scale))

    def _spread(self, value: ir.Value, copies: FewerTokens, routes: Routes, scale: bool) -> ir.Value:
        """r f(x) or x + r (exit - x) of the chosen tokens; 0 or x of the others."""
        added, element = as_matrix(copies.values[value]), element_of(value)
        sizes = [self.sequences * self.tokens, shape(value)[-1]]
        inputs = [routes.ranks, routes.scores]
        if not self.updates:
            before = as_matrix(copies.values[self.residual])
            added = loops([added, before], [[0, 1]] * 2, shape(added), element, lambda s: [arith.subf(s[0], s[1])])
            inputs.append(as_matrix(self.residual))
        zero, limit = constant(element, 0), constant(i32(), self.count)

        def body(s: Scalars) -> Scalars:
            rank, score, mine = s[:3]
            part = arith.mulf(score, mine) if scale else mine
            other, result = (zero, part) if self.updates else (s[3], arith.addf(s[3], part))
            return [arith.select(arith.cmpi(arith.CmpIPredicate.slt, rank, limit), result, other)]

        inputs.insert(2, pick_rows(added, routes.slot_rows))
        spread = loops(inputs, [[0], [0], [0, 1], [0, 1]][: len(inputs)], sizes, element, body)
        return split_first(spread, shape(value)[:-1])


def _updates(flow: Dataflow, blocks: Sequence[Block]) -> tuple[ir.Value, ...]:
    """What is added to the stream, if that is all that happens to it."""
    if len(blocks) > 1:
        return ()
    block = blocks[0]
    if block.updates:
        return block.updates
    pair = addends(flow, flow.producer[block.exit]) or ()
    others = tuple(value for value in pair if value != block.residual)
    return others if len(others) == 1 else ()


def _sequences(flow: Dataflow, blocks: Sequence[Block]) -> int:
    """B of a stream [B, T, d], or of [B * T, d] that attention sub-blocks split into [B, T, ...]; 1 if none does."""
    *rows, _ = shape(blocks[0].entry)
    if len(rows) == 2:
        return rows[0]
    for block in blocks:
        for vertex in sorted(flow.between(flow.producer[block.entry], flow.producer[block.exit])):
            op = flow.nodes[vertex].op
            if block.kind == "attention" and op.name == "tensor.expand_shape" and shape(op.operands[0])[0] == rows[0]:
                split = [shape(op.results[0])[d] for d in reassociation(op)[0]]
                if len(split) > 1:
                    return split[0]
    return 1

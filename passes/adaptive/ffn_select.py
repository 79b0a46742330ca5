"""`seerc-ffn-select`: every FFN big or small, chosen at the call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from passes.adaptive.arguments import add_argument, main_function, weight_names, weights_first
from passes.adaptive.blocks import Block, find_blocks, sums
from passes.adaptive.conditional import Editor, add
from passes.adaptive.low_rank import LEFT, RIGHT, factored, product_with
from passes.base import Pass, PassContext, PassError
from passes.fusion.generic import Values, clone, shape
from passes.mlir import ir


@dataclass(frozen=True)
class FfnSelectPass(Pass):
    """Give every FFN sub-block a small module beside its big one (Duo-LLM, arXiv 2410.10846), and a mask that chooses.

    @main gets one more input, last: `tensor<Nxi1>`, one element for each of the N FFN sub-blocks in the order of
    `find_blocks`; true runs the big module. The small one is the same FFN whose matrices W [m, n] are products of
    thinner ones, [m, rank] and [rank, n]: norm, activation, biases and residual stay. So it needs no training to be a
    fair approximation, where a narrower FFN would. Its weights are arguments `NAME.left` and `NAME.right`, after the
    weights that were there; `low_rank.with_factors` makes the arrays, trained ones may take their place.

    A matrix is an argument of rank two that is a weight; what else multiplies stays as it is.

    Attributes:
        rank: the inner size of the factors, at least 1 and at most the smaller side of every matrix.
    """

    name: ClassVar[str] = "seerc-ffn-select"

    rank: int

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank is at least 1, got {self.rank}")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        main = main_function(op, self.name)
        blocks = find_blocks(main)
        elements = {b.index: k for k, b in enumerate(b for b in blocks if b.kind == "ffn")}
        if not elements:
            raise PassError(f"{self.name}: @main has no FFN sub-block on a residual stream")
        with main.context, ir.Location.unknown():
            editor = Editor(main)
            small = _SmallModule(main, editor, self.rank)
            mask = add_argument(main, ir.RankedTensorType.get([len(elements)], ir.IntegerType.get_signless(1)))
            for sum_ in sums(blocks):
                if not elements.keys().isdisjoint(part.index for part in sum_):
                    editor.choose(sum_, elements, mask, small.build)
            editor.erase_dead()
            weights_first(main)
        context.log.info("%s: %d FFNs, small ones of rank %d", self.name, len(elements), self.rank)


@dataclass
class _SmallModule:
    """Builds small modules; a matrix that several read is factored once."""

    main: ir.Operation
    editor: Editor
    rank: int
    factors: dict[str, tuple[ir.Value, ir.Value]] = field(default_factory=dict[str, tuple[ir.Value, ir.Value]])

    def __post_init__(self) -> None:
        arguments = self.main.regions[0].blocks[0].arguments
        self.names = {arguments[number]: name for number, name in weight_names(self.main).items()}

    def build(self, part: Block, stream: ir.Value, end: ir.Operation) -> list[ir.Value]:
        """A copy of the sub-block with factored matrices, at the insertion point."""
        values: Values = {}
        count = 0
        for op in (self.editor.ops[index] for index in part.ops):
            copy = clone(op, values)
            product = product_with(copy, self.names)
            if product is not None:
                values[op.results[0]] = factored(*product, *self._factors(product[1], part))
                copy.erase()
                count += 1
        if not count:
            raise PassError(f"{FfnSelectPass.name}: sub-block {part.index} multiplies by no matrix that is an argument")
        result = add(end, stream, [values[u] for u in part.updates]) if part.updates else values[part.exit]
        return [result, *(values[value] for value in part.escapes)]

    def _factors(self, matrix: ir.Value, part: Block) -> tuple[ir.Value, ir.Value]:
        name, (rows, columns) = self.names[matrix], shape(matrix)
        if self.rank > min(rows, columns):
            raise PassError(
                f"{FfnSelectPass.name}: rank {self.rank} is above that of {name} ({rows}x{columns}) in sub-block "
                f"{part.index}: give at most {min(rows, columns)}"
            )
        if name not in self.factors:
            element = ir.RankedTensorType(matrix.type).element_type
            kinds = [ir.RankedTensorType.get(s, element) for s in ([rows, self.rank], [self.rank, columns])]
            left = add_argument(self.main, kinds[0], name + LEFT)
            self.factors[name] = left, add_argument(self.main, kinds[1], name + RIGHT)
        return self.factors[name]

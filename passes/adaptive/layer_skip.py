"""`seerc-layer-skip`: one program of many depths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from passes.adaptive.arguments import add_argument, main_function
from passes.adaptive.blocks import find_blocks, sums
from passes.adaptive.conditional import Editor
from passes.base import Pass, PassContext, PassError
from passes.mlir import ir


@dataclass(frozen=True)
class LayerSkipPass(Pass):
    """Put every attention and FFN sub-block behind an element of a mask, or remove some.

    @main gets one more argument, last: `tensor<Nxi1>`, one element for each of the N sub-blocks of `find_blocks` in
    that order; true runs the sub-block. Skipped, it passes its stream value on unchanged, and the keys, values or
    whatever else leaves it are zeros. Values that do not depend on the stream and that several sub-blocks read (masks,
    rotary tables) are computed before, always. Sub-blocks of one sum (parallel residual) are added one after the
    other: x + attention, then + FFN.

    With `skip`, these sub-blocks are taken out instead and there is no mask. The weights that only they read stay
    arguments of @main, unused.

    Attributes:
        skip: numbers of the sub-blocks to remove; empty for a mask.
    """

    name: ClassVar[str] = "seerc-layer-skip"

    skip: tuple[int, ...] = ()

    def run(self, op: ir.Operation, context: PassContext) -> None:
        main = main_function(op, self.name)
        blocks = find_blocks(main)
        if not blocks:
            raise PassError(f"{self.name}: @main has no attention or FFN sub-block on a residual stream")
        unknown = [k for k in self.skip if not 0 <= k < len(blocks)]
        if unknown:
            raise PassError(f"{self.name}: there is no sub-block {unknown[0]}: @main has 0 to {len(blocks) - 1}")
        with main.context, ir.Location.unknown():
            editor = Editor(main)
            if self.skip:
                for sum_ in sums(blocks):
                    if not {part.index for part in sum_}.isdisjoint(self.skip):
                        editor.remove(sum_, frozenset(self.skip))
            else:
                mask = add_argument(main, ir.RankedTensorType.get([len(blocks)], ir.IntegerType.get_signless(1)))
                for sum_ in sums(blocks):
                    editor.guard(sum_, mask)
            editor.erase_dead()
        context.log.info("%s: %s", self.name, " ".join(f"{b.index}:{b.kind}" for b in blocks))

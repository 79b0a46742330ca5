"""`seerc-layer-skip`: one program of many depths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

from passes.adaptive.blocks import Block, find_blocks
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
        main = _main(op)
        blocks = find_blocks(main)
        if not blocks:
            raise PassError(f"{self.name}: @main has no attention or FFN sub-block on a residual stream")
        unknown = [k for k in self.skip if not 0 <= k < len(blocks)]
        if unknown:
            raise PassError(f"{self.name}: there is no sub-block {unknown[0]}: @main has 0 to {len(blocks) - 1}")
        with main.context, ir.Location.unknown():
            editor = Editor(main)
            if self.skip:
                for sum_ in _sums(blocks):
                    if not {part.index for part in sum_}.isdisjoint(self.skip):
                        editor.remove(sum_, frozenset(self.skip))
            else:
                mask = _add_argument(main, ir.RankedTensorType.get([len(blocks)], ir.IntegerType.get_signless(1)))
                for sum_ in _sums(blocks):
                    editor.guard(sum_, mask)
            editor.erase_dead()
        context.log.info("%s: %s", self.name, " ".join(f"{b.index}:{b.kind}" for b in blocks))


def _main(op: ir.Operation) -> ir.Operation:
    """@main of a module, or the function itself."""
    if op.name == "func.func":
        return op
    for child in [c.operation for r in op.regions for b in r.blocks for c in b.operations]:
        if child.name == "func.func" and ir.StringAttr(child.attributes["sym_name"]).value == "main":
            if child.regions[0].blocks:
                return child
    raise PassError("seerc-layer-skip needs a function @main with a body; the module has none")


def _sums(blocks: tuple[Block, ...]) -> Iterator[tuple[Block, ...]]:
    """The sub-blocks in groups that share a sum."""
    for _, group in groupby(blocks, key=lambda block: block.exit):
        yield tuple(group)


def _add_argument(main: ir.Operation, type_: ir.Type) -> ir.Value:
    """A new last argument of the function."""
    kind = ir.FunctionType(ir.TypeAttr(main.attributes["function_type"]).value)
    added = main.regions[0].blocks[0].add_argument(type_, ir.Location.unknown())
    main.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get([*kind.inputs, type_], kind.results))
    if "arg_attrs" in main.attributes:
        flags = [*ir.ArrayAttr(main.attributes["arg_attrs"]), ir.DictAttr.get({})]
        main.attributes["arg_attrs"] = ir.ArrayAttr.get(flags)
    return added

"""A decoder's step programs, compiled together so that they share one set of packed weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from compiler.adapt.plan import Router
from compiler.decode.int8 import all_blocks, int8_matrices, with_int8_weights
from compiler.decode.routed_step import RoutedDecodeStep, routed_inputs
from compiler.decode.routers import routed
from compiler.decode.step_module import DecodeStep, StepShape, example_inputs
from compiler.driver import CompileOptions
from compiler.frontend.model import Array, ImportedModel, TensorSpec
from compiler.frontend.torch_module import import_module
from compiler.native.program import Program
from compiler.together import compile_together
from costmodel.errors import SeercError
from passes.adaptive.layer_skip import LayerSkipPass
from passes.adaptive.lazy_select import LazySelectPass
from passes.base import PassContext
from passes.mlir import context, ir
from passes.region.structure import shape_of

MASK = "blocks"
"""Name of the input that says which sub-blocks run."""


@dataclass(frozen=True)
class DecoderOptions:
    """What a decoder is compiled for.

    Attributes:
        batch: sequences that are decoded together.
        context: tokens that the cache holds for each.
        widths: tokens a sequence that one step may take; 1 is always among them. K + 1 verifies a draft of K.
        prefill: tokens a sequence that one prefill step takes.
        skippable: drafting steps take a mask of the sub-blocks to run (`seerc-layer-skip`).
        removed: sub-blocks that no step has; the keys and values of a removed attention are zeros.
        int8: sub-blocks whose weights are rounded to 8 bits; 2 L, one beyond the last, is the head.
        draft_int8: drafts have a step of width 1 of their own, with all these weights in 8 bits.
        routed: layers that each token takes or passes by (mixture of depths).
    """

    batch: int = 1
    context: int = 512
    widths: tuple[int, ...] = (1,)
    prefill: int = 64
    skippable: bool = False
    removed: tuple[int, ...] = ()
    int8: tuple[int, ...] = ()
    draft_int8: bool = False
    routed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(sorted({1, *self.widths})))  # JSON has lists
        object.__setattr__(self, "removed", tuple(sorted(self.removed)))
        object.__setattr__(self, "int8", tuple(sorted(self.int8)))
        object.__setattr__(self, "routed", tuple(sorted(self.routed)))
        if self.skippable and self.removed:
            raise SeercError("sub-blocks are either removed or skippable: their numbers would change")
        if self.routed and (self.skippable or self.removed or self.int8 or len(self.widths) > 1):
            raise SeercError(
                "routed layers go with plain decoding: no drafts, no sub-blocks left out, no 8-bit weights"
            )
        if min(self.batch, self.context, self.prefill, *self.widths) < 1:
            raise SeercError(f"batch, context, widths and prefill are at least 1, got {self}")

    def shapes(self) -> list[StepShape]:
        """Every step: by width, then that of drafts if they have one, the prefill step last."""
        widths = (*self.widths, 1) if self.draft_int8 else self.widths
        steps = [StepShape(self.batch, width, self.context) for width in widths]
        return [*steps, StepShape(self.batch, self.prefill, self.context, logits=False)]

    @property
    def draft(self) -> int:
        """Which step of `shapes` drafts, and takes the mask of sub-blocks if they are skippable."""
        return len(self.widths) if self.draft_int8 else 0


def import_step(model: Any, shape: StepShape, name: str, routers: Sequence[Router] = ()) -> ImportedModel:
    """One step of a transformers model, lowered to linalg; the model is left as it was.

    With `routers`, their layers are run in steps of one token only where a sequence takes them.
    """
    kept = model.config._attn_implementation
    try:
        with torch.no_grad(), routed(model, routers, shape.context):
            if not routers:
                return import_module(DecodeStep(model, shape), example_inputs(model, shape), name)
            step = RoutedDecodeStep(model, shape, routers)
            imported = import_module(step, routed_inputs(model, shape, routers), name)
            return lazy(imported) if shape.width == 1 else imported
    finally:
        model.config._attn_implementation = kept


def compile_steps(
    model: Any,
    options: DecoderOptions,
    compile_options: CompileOptions,
    say: Callable[[str], None],
    routers: Sequence[Router] = (),
) -> list[Program]:
    """One program for each of `options.shapes()`; `say` is told what goes on; `routers` of `options.routed`."""
    imported: list[ImportedModel] = []
    matrices, rounded = int8_matrices(model, options.int8), dict[str, Array]()
    everything = int8_matrices(model, all_blocks(model)) if options.draft_int8 else matrices
    shapes = options.shapes()
    for index, shape in enumerate(shapes):
        drafts = index == options.draft
        kind = f"step of width {shape.width}" if shape.logits else f"prefill of width {shape.width}"
        say(f"importing the {kind}{' that drafts' if drafts and index else ''}")
        name = ("draft" if drafts and index else f"step-{shape.width}") if shape.logits else "prefill"
        step = import_step(model, shape, name, routers)
        step = with_int8_weights(step, everything if drafts else matrices, rounded)
        # A prefill step has 2 L outputs, and no sub-blocks of the last layer: only its keys and values are read.
        removed = [block for block in options.removed if shape.logits or block < len(step.outputs) - 2]
        step = without(step, removed) if removed else step
        imported.append(skippable(step) if options.skippable and drafts else step)
    say(f"compiling {len(imported)} programs")
    # The more tokens a step takes, the more its time depends on the packing; a step of one reads all packings alike.
    order = sorted(range(len(shapes)), key=lambda index: (not shapes[index].logits, -shapes[index].width))
    return compile_together(imported, compile_options, order)


def without(step: ImportedModel, removed: Sequence[int]) -> ImportedModel:
    """The step with these sub-blocks taken out."""
    with context(), ir.Location.unknown():
        module = ir.Module.parse(step.text)
        LayerSkipPass(tuple(removed)).run(module.operation, PassContext())
        return replace(step, text=str(module))


def lazy(step: ImportedModel) -> ImportedModel:
    """The step in which layers that no token takes are not run."""
    with context(), ir.Location.unknown():
        module = ir.Module.parse(step.text)
        LazySelectPass().run(module.operation, PassContext())
        return replace(step, text=str(module))


def skippable(step: ImportedModel) -> ImportedModel:
    """The step with one more input, last: the mask of the sub-blocks to run."""
    with context(), ir.Location.unknown():
        module = ir.Module.parse(step.text)
        LayerSkipPass().run(module.operation, PassContext())
        main = next(f for f in module.body.operations if ir.StringAttr(f.attributes["sym_name"]).value == "main")
        mask = TensorSpec(MASK, shape_of(main.regions[0].blocks[0].arguments[-1]), "i1")
        return replace(step, text=str(module), inputs=(*step.inputs, mask))

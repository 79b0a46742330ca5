"""Steps of a decoder some of whose sub-blocks have 8-bit weights (`seerc-int8-weights`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from compiler.adapt.layers import block_linears, decoder_layers
from compiler.frontend.model import Array, ImportedModel
from passes.adaptive.arguments import main_function, weight_names
from passes.adaptive.int8_weights import Int8WeightsPass, with_int8
from passes.base import PassContext
from passes.mlir import context, ir

PREFIX, VIEW = "model.", ".view"
"""What the name of a parameter has around it in a step (`DecodeStep.model`; the frontend transposes linear weights)."""


def all_blocks(model: Any) -> range:
    """Every sub-block, and the head."""
    return range(2 * len(decoder_layers(model)) + 1)


def int8_matrices(model: Any, blocks: Iterable[int]) -> frozenset[str]:
    """Names of the matrices of sub-blocks, and of the head for block 2 L, as `model.named_parameters` has them.

    A head that is tied to the embedding has both names.
    """
    blocks = tuple(blocks)
    layers = decoder_layers(model) if blocks else []
    head = 2 * len(layers)
    modules = [
        module
        for block in blocks
        for module in (
            [model.get_output_embeddings()] if block == head else block_linears(layers[block // 2], bool(block % 2))
        )
    ]
    chosen = {id(module.weight) for module in modules}
    named = model.named_parameters(remove_duplicate=False)
    return frozenset(name for name, parameter in named if id(parameter) in chosen)


def with_int8_weights(
    step: ImportedModel, matrices: frozenset[str], known: dict[str, Array] | None = None
) -> ImportedModel:
    """The step with these matrices in 8 bits; `known` as in `passes.adaptive.int8_weights.with_int8`.

    A matrix that the step does not read, as those of the last layer in a prefill step, is passed over; so is the table
    of a tied head, whose transpose the head reads.
    """
    named = [name for name in step.weights if name.removeprefix(PREFIX).removesuffix(VIEW) in matrices]
    wanted = tuple(name for name in named if name + VIEW not in step.weights)
    if not wanted:
        return step
    with context(), ir.Location.unknown():
        module = ir.Module.parse(step.text)
        Int8WeightsPass(wanted).run(module.operation, PassContext())
        names = weight_names(main_function(module.operation, Int8WeightsPass.name))
        return replace(step, text=str(module), weights=with_int8(step.weights, names.values(), known))

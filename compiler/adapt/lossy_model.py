"""The torch model of a static plan: FFNs with factored or fewer weights, as modules that can be compiled; 8-bit ones.

Weights of 8 bits are f32 numbers here, rounded; a decoder's `int8` makes integers of them, which loses nothing more.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from compiler.adapt.alternatives import rounded
from compiler.adapt.layers import (
    attention_of,
    block_linears,
    decoder_layers,
    ffn_linears,
    ffn_modules,
    matrix_of,
    untied_head,
)
from compiler.adapt.low_rank import factors_of
from compiler.adapt.plan import Plan
from costmodel.errors import SeercError


def apply_to_model(model: Any, plan: Plan) -> None:
    """Put the weights of a static plan in place; its skipped sub-blocks stay (a decoder's `removed` takes them out).

    Other plans change drafts, not the model.

    Raises:
        SeercError: the plan is of a model of another shape.
    """
    layers = decoder_layers(model)
    head = 2 * len(layers)
    blocks = [*plan.skipped, *(block for block, _ in (*plan.low_rank, *plan.small_ffn))]
    unknown = {*blocks} - {*range(head)} | {*plan.int8} - {*range(head + 1)}
    if unknown:
        raise SeercError(f"the plan is of another model: no sub-block {min(unknown)} among {head}")
    if plan.method != "static":
        return
    for block, rank in plan.low_rank:
        factor_ffn(layers[block // 2], rank)
    for block, kept in plan.small_ffn:
        narrow_ffn(layers[block // 2], kept)
    for block in plan.int8:
        linears = [untied_head(model)] if block == head else block_linears(layers[block // 2], bool(block % 2))
        for linear in linears:
            matrix_of(linear).copy_(rounded(matrix_of(linear)))


def factor_ffn(layer: Any, rank: int) -> None:
    """Each matrix of the layer's FFN as two of at most this rank, by truncated SVD."""
    for parent, name in ffn_linears(layer):
        linear = getattr(parent, name)
        factors = factors_of(matrix_of(linear), rank)
        setattr(parent, name, nn.Sequential(_linear(factors.right), _linear(factors.left, linear.bias)))


def narrow_ffn(layer: Any, kept: Sequence[int]) -> None:
    """The layer's FFN with these of its neurons."""
    *inner, outer = ffn_linears(layer)
    index = torch.tensor(list(kept))
    width = matrix_of(getattr(*outer)).shape[1]
    if not kept or min(kept) < 0 or max(kept) >= width:
        raise SeercError(f"the plan is of another model: its FFNs have {width} neurons")
    for parent, name in inner:
        linear = getattr(parent, name)
        bias = None if linear.bias is None else linear.bias.detach()[index]
        setattr(parent, name, _linear(matrix_of(linear)[index], bias))
    parent, name = outer
    linear = getattr(parent, name)
    setattr(parent, name, _linear(matrix_of(linear)[:, index], linear.bias))


def _linear(matrix: Tensor, bias: Tensor | None = None) -> nn.Linear:
    linear = nn.Linear(matrix.shape[1], matrix.shape[0], bias=bias is not None)
    with torch.no_grad():
        linear.weight.copy_(matrix)
        if bias is not None:
            linear.bias.copy_(bias)
    return linear.eval()


@contextmanager
def silenced(model: Any, blocks: Sequence[int]) -> Generator[None]:
    """While active, these sub-blocks of a transformers model add nothing; keys and values are made all the same."""
    layers = decoder_layers(model)
    with ExitStack() as stack:
        for block in blocks:
            layer = layers[block // 2]
            module = ffn_modules(layer)[-1] if block % 2 else attention_of(layer)
            stack.callback(module.register_forward_hook(_zeros).remove)
        yield


def _zeros(module: Any, arguments: Any, result: Any) -> Any:
    if isinstance(result, tuple):
        return (torch.zeros_like(result[0]), *result[1:])
    return torch.zeros_like(result)

"""Where a Hugging Face decoder keeps its layers, and in each layer its attention and its FFN: found by module names.

Llama, GPT-2, GPT-NeoX, OPT, Qwen2 and Gemma are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from costmodel.errors import SeercError

ATTENTIONS = ("self_attn", "attn", "attention")
FFNS = (("mlp",), ("fc1", "fc2"))


def decoder_layers(model: Any) -> list[Any]:
    """The list of layers of a causal language model; SeercError for a model of another structure."""
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) and all(_child(item, ATTENTIONS) for item in module):
            return list(module)
    raise SeercError(
        f"{type(model).__name__} has no list of layers with an attention ({', '.join(ATTENTIONS)}): "
        "seerc adapt knows Llama, GPT-2, GPT-NeoX, OPT, Qwen2 and Gemma"
    )


def _child(module: nn.Module, names: tuple[str, ...]) -> nn.Module | None:
    return next((child for name in names if isinstance(child := getattr(module, name, None), nn.Module)), None)


def attention_of(layer: nn.Module) -> nn.Module:
    """The attention of a layer of `decoder_layers`."""
    attention = _child(layer, ATTENTIONS)
    assert attention is not None  # `decoder_layers` has looked
    return attention


def ffn_modules(layer: Any) -> list[Any]:
    """The FFN of a layer: one module, or its two matrices where they stand in the layer itself (OPT)."""
    for names in FFNS:
        modules = [getattr(layer, name, None) for name in names]
        if all(isinstance(module, nn.Module) for module in modules):
            return modules
    raise SeercError(f"{type(layer).__name__} has no FFN named mlp, or fc1 and fc2")


Place = tuple[Any, str]
"""A module, and under which name it holds one of its children."""


def ffn_linears(layer: Any) -> list[Place]:
    """Where the matrices of the FFN stand, the one that gives the FFN's output last."""
    roots = [(layer, name) for names in FFNS for name in names if isinstance(getattr(layer, name, None), nn.Module)]
    return [place for root in roots for place in _linears(root)]


def block_linears(layer: Any, ffn: bool) -> list[Any]:
    """The modules that multiply by the matrices of a layer's FFN or attention."""
    if ffn:
        return [getattr(parent, name) for parent, name in ffn_linears(layer)]
    return [module for module in attention_of(layer).modules() if isinstance(module, nn.Linear | Conv1D)]


def _linears(place: Place) -> Iterator[Place]:
    module = getattr(*place)
    if isinstance(module, nn.Linear | Conv1D):
        yield place
    for name, _ in module.named_children():
        yield from _linears((module, name))


def matrix_of(linear: Any) -> Tensor:
    """The matrix [outputs, inputs] of a linear module: its weight, or a view of it."""
    weight: Tensor = linear.weight.detach()
    return weight.T if isinstance(linear, Conv1D) else weight


def untied_head(model: Any) -> Any:
    """The output embedding with a matrix of its own, which may be changed without the table of the input's."""
    head: Any = model.get_output_embeddings()
    if head.weight is model.get_input_embeddings().weight:
        head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
        model.config.tie_word_embeddings = False
    return head

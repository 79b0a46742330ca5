"""Mixture of depths at decode: layers of a transformers decoder that each token takes, or passes by, for itself.

A router scores the stream before its layer, s = x . w + b; a token takes the layer where s > 0 (arXiv 2404.02258,
section 3.5: causal, unlike top-k). The first token of a text always does: others use it as an attention sink. A token
that passes by leaves no key and no value in that layer, so the layer's cache has a length of its own, and room for
fewer tokens; once it is full, no more tokens take the layer. Positions stay the true ones.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from compiler.adapt.layers import decoder_layers
from compiler.adapt.plan import Router
from compiler.decode.step_module import BLOCK
from costmodel.errors import SeercError


def room(router: Router, context: int) -> int:
    """Tokens that the cache of a routed layer holds, of a context: its share, in whole blocks of keys."""
    return min(context, BLOCK * math.ceil(router.capacity * context / BLOCK))


def gate(scores: Tensor, first: Tensor, used: Tensor, holds: int) -> Tensor:
    """Who takes a layer, bool [B, q]: in the order of tokens, while there is room.

    Args:
        scores: [B, q].
        first: bool [B, q], the first token of a text.
        used: [B], tokens in the layer's cache.
        holds: how many it has room for.
    """
    wanted = (scores > 0) | first
    width = scores.shape[1]
    before = wanted.float() @ torch.ones(width, width).triu()  # a sum so far, which lowers to a product
    return wanted & (used[:, None] + before <= holds)


@contextmanager
def routed(model: Any, routers: Sequence[Router], context: int) -> Generator[None]:
    """While active, these layers of the model are routed: in steps, and in runs over whole texts without a cache.

    Raises:
        SeercError: the routers are of a model of another shape.
    """
    if not routers:  # of models of any structure
        yield
        return
    layers, width = decoder_layers(model), model.config.hidden_size
    for router in routers:
        if not 0 <= router.layer < len(layers) or len(router.weights) != width:
            raise SeercError(f"the plan is of another model: no layer {router.layer} of width {len(router.weights)}")
    before = [layers[router.layer].forward for router in routers]
    for router, inner in zip(routers, before, strict=True):
        layer = layers[router.layer]
        layer.register_buffer("seerc_router", torch.tensor(router.weights)[:, None], persistent=False)
        layer.forward = _forward(layer, inner, router, room(router, context))
    try:
        yield
    finally:
        for router, inner in zip(routers, before, strict=True):
            layers[router.layer].forward = inner
            del layers[router.layer].seerc_router


def _forward(layer: Any, inner: Callable[..., Any], router: Router, holds: int) -> Callable[..., Any]:
    signature = inspect.signature(inner)

    def forward(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        hidden: Tensor = bound.arguments["hidden_states"]
        state = bound.arguments.get("kwargs", {}).get("seerc_step", kwargs.get("seerc_step"))
        scores = (hidden @ layer.seerc_router).squeeze(-1) + router.bias
        new = torch.arange(hidden.shape[1])
        if state is None:
            taken = gate(scores, (new == 0).expand(scores.shape), torch.zeros(len(hidden)), holds)
            bound.arguments["attention_mask"] = _without(bound.arguments.get("attention_mask"), taken)
        else:
            first = state.lengths[:, None] + new == 0
            taken = state.gates[router.layer] = gate(scores, first, state.own_lengths[router.layer], holds)
        result = inner(*bound.args, **bound.kwargs)
        behind = result[0] if isinstance(result, tuple) else result
        chosen = torch.where(taken[:, :, None], behind, hidden)
        return (chosen, *result[1:]) if isinstance(result, tuple) else chosen

    return forward


def _without(mask: Tensor | None, taken: Tensor) -> Tensor | None:
    """An additive mask [B, 1, T, T] in which tokens that pass by are seen by themselves alone."""
    if taken.shape[1] == 1:
        return mask
    if mask is None or not mask.is_floating_point():
        raise SeercError("routed layers of a whole text need the mask of eager attention")
    own = torch.eye(taken.shape[1], dtype=torch.bool)
    return mask.masked_fill(~(taken[:, None, None, :] | own), torch.finfo(mask.dtype).min)

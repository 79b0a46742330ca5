"""Growing a model in depth without changing what it computes.

G_stack (Du et al., arXiv 2405.15319) stacks copies of a trained shallow model. Here the copies start with their output
projections at zero, so that a grown model is exactly the shallow one until it is trained on: every skip set of
grown layers has a known acceptance of 1.
"""

from __future__ import annotations

import copy
from typing import Any

import torch


def grow(model: Any, factor: int) -> Any:
    """A causal Llama-style model with `factor` times the layers: the trained ones first, then copies that add nothing.

    Args:
        model: a transformers model with `model.layers`, each with `self_attn.o_proj` and `mlp.down_proj`.
        factor: growth factor; the paper advises 4.

    Raises:
        ValueError: the factor is below 1.
    """
    if factor < 1:
        raise ValueError(f"a model grows by a factor of at least 1, got {factor}")
    shallow = len(model.model.layers)
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = shallow * factor
    if getattr(config, "layer_types", None):
        config.layer_types = list(config.layer_types) * factor
    grown = type(model)(config)
    state = {k: v for k, v in model.state_dict().items() if ".layers." not in k}
    grown.load_state_dict(state, strict=False)
    for index, layer in enumerate(grown.model.layers):
        layer.load_state_dict(model.model.layers[index % shallow].state_dict())
        if index >= shallow:
            _silence(layer)
    return grown


@torch.no_grad()
def _silence(layer: Any) -> None:
    """Zero what the attention and the FFN add to the residual stream."""
    for projection in (layer.self_attn.o_proj, layer.mlp.down_proj):
        projection.weight.zero_()
        if projection.bias is not None:
            projection.bias.zero_()

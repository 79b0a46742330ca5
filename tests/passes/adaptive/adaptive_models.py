"""Small transformers with seeded weights, and the modules whose outputs their sub-blocks add to the stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
import transformers

from compiler.frontend.huggingface import Pixels, Tokens
from compiler.frontend.load import from_module
from compiler.frontend.model import LoadedModel

LAYERS = 2
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 101,
}
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
GPT = {"n_embd": 32, "n_layer": LAYERS, "n_head": 4, "n_inner": 48, "vocab_size": 101}
OPT = {
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "ffn_dim": 48,
    "vocab_size": 101,
    "word_embed_proj_dim": 32,
}
DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {**SIZES, "num_key_value_heads": 2}),
    "qwen2": ("Qwen2", {**SIZES, "num_key_value_heads": 2}),
    "qwen3": ("Qwen3", {**SIZES, **GROUPED}),
    "gemma": ("Gemma", {**SIZES, **GROUPED}),
    "gemma2": ("Gemma2", {**SIZES, **GROUPED}),
    "gpt2": ("GPT2", GPT),
    "gptj": ("GPTJ", {**GPT, "rotary_dim": 4}),
    "gpt-neox": ("GPTNeoX", SIZES),
    "opt": ("OPT", OPT),
    "opt-post-norm": ("OPT", {**OPT, "do_layer_norm_before": False}),
}
CLASSES = {"GPT2": "GPT2LMHeadModel"}


def decoder(name: str) -> Any:
    """A Hugging Face decoder."""
    kind, fields = DECODERS[name]
    tokens = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 1}
    config = getattr(transformers, f"{kind}Config")(**fields, **tokens, use_cache=False, attn_implementation="eager")
    torch.manual_seed(0)
    return getattr(transformers, CLASSES.get(kind, f"{kind}ForCausalLM"))(config).eval()


def build(name: str, batch: int = 1) -> tuple[Any, tuple[torch.Tensor, ...]]:
    """A model and its inputs."""
    torch.manual_seed(0)
    ids = (torch.randint(0, 101, (batch, 16)),)
    if name == "bert":
        config = transformers.BertConfig(**SIZES, attn_implementation="eager")
        return Tokens(transformers.BertModel(config).eval()), ids
    if name == "vit":
        image = {"image_size": 32, "patch_size": 8, "num_labels": 10, "attn_implementation": "eager"}
        config = transformers.ViTConfig(**{k: v for k, v in SIZES.items() if k != "vocab_size"}, **image)
        return Pixels(transformers.ViTForImageClassification(config).eval(), "logits"), (torch.randn(1, 3, 32, 32),)
    return Tokens(decoder(name), "logits"), ids


@cache
def loaded(name: str, batch: int = 1) -> LoadedModel:
    """The imported model; tests must leave its module as it is."""
    return from_module(*build(name, batch), name)


def parts(module: Any) -> list[Any]:
    """The modules whose results are added to the stream, in order."""
    model = getattr(module, "model", module)
    names = ("self_attn", "attn", "attention"), ("mlp",)
    if hasattr(model, "encoder"):
        return [part for layer in model.encoder.layer for part in (layer.attention.output, layer.output)]
    layers = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))
    return [next(getattr(layer, n) for n in group if hasattr(layer, n)) for layer in layers for group in names]


@contextmanager
def skipping(module: Any, mask: Sequence[int]) -> Iterator[None]:
    """The torch module with the sub-blocks off whose element of `mask` is 0."""
    off = _pass_on if hasattr(getattr(module, "model", module), "encoder") else _zero
    hooks = [part.register_forward_hook(off) for part, run in zip(parts(module), mask, strict=True) if not run]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _zero(_module: Any, _arguments: Any, result: Any) -> Any:
    return (torch.zeros_like(result[0]), *result[1:]) if isinstance(result, tuple) else torch.zeros_like(result)


def _pass_on(_module: Any, arguments: Any, _result: Any) -> Any:
    """BERT's output modules get (what is added, the stream) and return norm(sum)."""
    return arguments[1]


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.abs(got - want).max() / np.abs(want).max())

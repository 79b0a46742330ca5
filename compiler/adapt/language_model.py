"""The language models that `seerc adapt` takes: a built-in one or a local Hugging Face folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from costmodel.errors import SeercError, unknown_name


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model in float32, its tokenizer, and the folder of both."""

    model: Any
    tokenizer: Any
    folder: Path


def load_language_model(spec: str) -> LanguageModel:
    """Load `zoo:smollm2` or a folder with config.json, safetensors and a tokenizer; never code or pickles from it.

    Raises:
        SeercError: no such model, no weights, no tokenizer, or not a causal language model.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = model_folder(spec)
    if not list(folder.glob("*.safetensors")):
        raise SeercError(f"{folder} has no *.safetensors: what a model may skip depends on its trained weights")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, trust_remote_code=False, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError) as error:
        raise SeercError(f"{folder}: no causal language model with a tokenizer: {str(error).splitlines()[0]}") from None
    return LanguageModel(model.eval(), tokenizer, folder)


def model_folder(spec: str) -> Path:
    """The Hugging Face folder of a built-in model or the folder itself; SeercError if there is none."""
    if spec.startswith("zoo:"):
        from compiler.zoo.text import smollm2_folder

        if spec != "zoo:smollm2":
            raise unknown_name("language model", spec, ["zoo:smollm2"])
        return smollm2_folder()
    folder = Path(spec)
    if not (folder / "config.json").is_file():
        raise SeercError(f"{spec}: give zoo:smollm2 or a Hugging Face folder (config.json, *.safetensors, tokenizer)")
    return folder

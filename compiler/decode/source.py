"""The transformers decoder that a user names: a zoo model or a local Hugging Face folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.frontend.model import FrontendError, failure

DECODERS = ("smollm2",)
"""Zoo models that are decoders with trained weights and a tokenizer."""


@dataclass(frozen=True)
class Source:
    """A model for causal language modelling (f32, evaluation mode), and its tokenizer if the folder has one."""

    name: str
    folder: Path
    model: Any
    tokenizer: Any

    def end_tokens(self) -> tuple[int, ...]:
        """Tokens that end a text, from the generation configuration."""
        found = getattr(self.model.generation_config, "eos_token_id", None)
        return () if found is None else tuple(found) if isinstance(found, list | tuple) else (found,)


def load_source(spec: str) -> Source:
    """`zoo:smollm2` or a folder with config.json and safetensors; FrontendError for anything else."""
    import torch
    import transformers
    from safetensors import SafetensorError

    transformers.logging.disable_progress_bar()  # the command line shows its own
    folder = _folder(spec)
    if [*folder.glob("*.bin"), *folder.glob("*.pt")] and not list(folder.glob("*.safetensors")):
        raise FrontendError(f"{spec}: holds pickled weights only; convert them to model.safetensors")
    try:
        options: Any = {"local_files_only": True, "use_safetensors": True, "trust_remote_code": False}
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise failure(f"{spec}: transformers cannot load a causal language model", error) from error
    tokenizer = load_tokenizer(folder) if (folder / "tokenizer.json").exists() else None
    return Source(spec.removeprefix("zoo:").rstrip("/").rpartition("/")[2], folder, model.eval(), tokenizer)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a Hugging Face folder; FrontendError if it is damaged."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the parser of tokenizer.json raises plain Exception
        raise failure(f"{folder}: cannot load the tokenizer", error) from error


def _folder(spec: str) -> Path:
    if spec == "zoo:smollm2":
        from compiler.zoo.text import smollm2_folder

        return smollm2_folder()
    if spec.startswith("zoo:"):
        raise FrontendError(f"{spec} is no decoder with trained weights: {', '.join(f'zoo:{d}' for d in DECODERS)}")
    folder = Path(spec)
    if not (folder / "config.json").is_file():
        raise FrontendError(f"{spec}: expected zoo:NAME or a Hugging Face folder with config.json and safetensors")
    return folder

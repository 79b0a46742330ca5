"""Small seeded decoders, a byte-level tokenizer, and step programs that PyTorch runs in place of compiled ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn

from compiler.decode.decoder import Decoder
from compiler.decode.export import MASK, DecoderOptions
from compiler.decode.generate import Draft, Request, Statistics, generate
from compiler.decode.step_module import DecodeStep, StepShape, example_inputs
from compiler.frontend.model import TensorSpec

VOCABULARY = 260  # bytes and special tokens
WINDOW = 5
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,  # tied random weights repeat their input
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 48, "n_positions": 64, "initializer_range": 0.2}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"num_key_value_heads": 2}),
    "gpt2": ("GPT2", GPT2),
    "gpt-neox": ("GPTNeoX", {}),
    "opt": ("OPT", {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.2}),
    "qwen2": ("Qwen2", {"num_key_value_heads": 2}),
    "gemma2": ("Gemma2", {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": WINDOW}),
}
CLASSES = {"GPT2": "GPT2LMHeadModel"}
PROMPTS = ([7, 0, 200, 31, 99, 4, 250, 16, 12], [8, 77])
"""Ragged; the first one holds the padding token, and is longer than a prefill step and the sliding window."""


def build(name: str) -> Any:
    """A transformers model in evaluation mode with seeded random weights."""
    kind, fields = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**SIZES, **fields})
    return getattr(transformers, CLASSES.get(kind, f"{kind}ForCausalLM"))(config).eval()


def byte_tokenizer() -> Any:
    """Token i < 256 is one byte, 256 ends a text, 257 is unused: every character beyond ASCII is split."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    model = models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[])
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<pad>")
    made.chat_template = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}:"
    return made


class EagerStep:
    """`DecodeStep` run by PyTorch, with the interface of `Program` that `Decoder` needs."""

    def __init__(self, model: Any, shape: StepShape, skippable: bool) -> None:
        self._model, self._skippable = model, skippable
        self._step = DecodeStep(model, shape)
        examples = example_inputs(model, shape)
        with torch.no_grad():
            results = self._step(*examples)
        self.inputs = _specs(examples)
        self.outputs = _specs(results)
        if skippable:
            self.inputs.append(TensorSpec(MASK, (len(parts(model)),), "i1"))

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Callable[[int | None], None]:
        tensors = [torch.from_numpy(array) for array in inputs]

        def run(_threads: int | None) -> None:
            arguments = tensors[:-1] if self._skippable else tensors
            off = [i for i, on in enumerate(tensors[-1].tolist()) if not on] if self._skippable else []
            with torch.no_grad(), skipping(self._model, off), attention(self._model, "seerc-step"):
                results = self._step(*arguments)
            for array, result in zip(outputs, results, strict=True):
                array[...] = result.numpy()

        return run


def _specs(tensors: Sequence[Tensor]) -> list[TensorSpec]:
    kinds = {torch.int64: "i64", torch.float32: "f32"}
    return [TensorSpec(f"t{i}", tuple(t.shape), kinds[t.dtype]) for i, t in enumerate(tensors)]


def parts(model: Any) -> list[Any]:
    """The modules whose results are added to the residual stream, in order."""
    layers = next(m for m in model.modules() if isinstance(m, nn.ModuleList))
    names = ("self_attn", "attn", "attention"), ("mlp", "fc2")
    return [next(getattr(layer, n) for n in group if hasattr(layer, n)) for layer in layers for group in names]


@contextmanager
def skipping(model: Any, off: Sequence[int]) -> Iterator[None]:
    """The model without these sub-blocks."""
    with ExitStack() as stack:
        for index in off:
            stack.enter_context(parts(model)[index].register_forward_hook(_zero))
        yield


def _zero(_module: Any, _arguments: Any, result: Any) -> Any:
    return (torch.zeros_like(result[0]), *result[1:]) if isinstance(result, tuple) else torch.zeros_like(result)


@contextmanager
def attention(model: Any, kind: str) -> Iterator[None]:
    kept, model.config._attn_implementation = model.config._attn_implementation, kind
    try:
        yield
    finally:
        model.config._attn_implementation = kept


def eager_decoder(model: Any, options: DecoderOptions) -> Decoder:
    """A decoder whose steps PyTorch runs."""
    steps = [EagerStep(model, s, options.skippable and i == options.draft) for i, s in enumerate(options.shapes())]
    return Decoder(steps, draft=options.draft)  # type: ignore[arg-type]


def reference(model: Any, prompt: Sequence[int], count: int, end: Sequence[int] = ()) -> list[int]:
    """What transformers' `generate` adds to one prompt, greedily."""
    ids = torch.tensor([list(prompt)])
    with attention(model, "eager"), torch.no_grad():
        result = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=count,
            do_sample=False,
            eos_token_id=list(end) or None,
            pad_token_id=0,
        )
    return result[0, len(prompt) :].tolist()


def generated(
    decoder: Any,
    prompts: Sequence[Sequence[int]],
    request: Request,
    draft: Draft | None = None,
    statistics: Statistics | None = None,
) -> list[list[int]]:
    """All new tokens of each sequence."""
    found: list[list[int]] = [[] for _ in prompts]
    for part in generate(decoder, prompts, request, draft, statistics):
        for tokens, new in zip(found, part, strict=True):
            tokens += new
    return found


class MarkovDecoder:
    """A decoder of `batch` sequences whose logits depend on the last token alone: `full` and `draft` [V, V]."""

    def __init__(self, full: np.ndarray, draft: np.ndarray, batch: int, widths: tuple[int, ...]) -> None:
        self.full, self.skipping, self.batch, self.widths, self.drafts_apart = full, draft, batch, widths, False
        self.blocks, self.context, self.lengths = 1, 64, np.zeros(batch, np.int64)

    def prefill(self, prompts: Sequence[Sequence[int]]) -> np.ndarray:
        self.lengths[:] = [len(prompt) - 1 for prompt in prompts]
        return np.array([[prompt[-1]] for prompt in prompts])

    def step(self, ids: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        return (self.full if mask is None or mask.all() else self.skipping)[ids]

    draft = step

    def keep(self, counts: int | np.ndarray) -> None:
        self.lengths += counts

    def rewind(self, lengths: np.ndarray) -> None:
        self.lengths[:] = lengths

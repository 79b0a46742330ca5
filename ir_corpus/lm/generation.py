"""Text that a model writes: greedy or sampled continuations of a prompt."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from costmodel.errors import SeercError
from ir_corpus.lm.model import LanguageModel
from ir_corpus.lm.tokenizer import END, IR_TO_SOURCE, PAD, SENTINELS, SOURCE_TO_IR, encode, sentinel_ids


def complete(
    model: LanguageModel,
    prompts: Sequence[str],
    tokens: int,
    then: str | None = None,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """Continuations of at most `tokens` tokens, without the prompts, up to the first sentinel.

    Args:
        then: a sentinel that follows the prompt (SOURCE_TO_IR asks for the IR of a source), or None.
        temperature: 0 takes the likeliest token each time.

    Raises:
        SeercError: a prompt is too long for the model.
    """
    ids = sentinel_ids(model.tokenizer)
    rows = [[ids[END], *prompt, *([ids[then]] if then else [])] for prompt in encode(model.tokenizer, list(prompts))]
    longest, most = max(map(len, rows), default=0), model.network.config.max_position_embeddings
    if longest + tokens > most:
        raise SeercError(f"a prompt of {longest} tokens and {tokens} more: the model reads at most {most}")
    padded = torch.tensor([[ids[PAD]] * (longest - len(r)) + r for r in rows])
    mask = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in rows])
    device = model.network.device
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        chosen = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        found = model.network.generate(
            input_ids=padded.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=tokens,
            pad_token_id=ids[PAD],
            eos_token_id=[ids[s] for s in (END, SOURCE_TO_IR, IR_TO_SOURCE, PAD)],
            **chosen,
        )
    return [_text(model, row[longest:].tolist(), ids) for row in found]


def _text(model: LanguageModel, row: list[int], ids: dict[str, int]) -> str:
    stops = {ids[s] for s in SENTINELS}
    end = next((i for i, token in enumerate(row) if token in stops), len(row))
    return model.tokenizer.decode(row[:end])

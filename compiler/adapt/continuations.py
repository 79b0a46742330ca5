"""What the full model says after each prompt: greedy continuations, generated once and kept in the user's cache."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from costmodel.errors import SeercError
from costmodel.files import write_atomically

BATCH = 16


@dataclass(frozen=True)
class Continuations:
    """Prompts with their continuations, padded on the right: `tokens` [B, T], `starts` and `ends` [B].

    tokens[b, starts[b]:ends[b]] were generated, tokens[b, :starts[b]] is the prompt.
    """

    tokens: Tensor
    starts: Tensor
    ends: Tensor


def continue_prompts(
    model: Any, tokenizer: Any, prompts: Sequence[str], length: int = 64, cache: Path | None = None
) -> Continuations:
    """Greedy continuations of up to `length` tokens; one that ends at once is left out.

    Args:
        model: a causal language model as transformers loads it (before a ResidualStream takes it over).
        tokenizer: its tokenizer.
        prompts: texts.
        length: new tokens a prompt.
        cache: folder to keep the result in, by the content of weights, prompts and length; None keeps nothing.

    Raises:
        SeercError: there is no tokenizer, or no prompt has a continuation.
    """
    path = None if cache is None else cache / f"{_digest(model, prompts, length)}.npz"
    if path is not None and path.exists():
        with np.load(path, allow_pickle=False) as arrays:
            return Continuations(*(torch.from_numpy(arrays[name]) for name in ("tokens", "starts", "ends")))
    if tokenizer is None:
        raise SeercError("the model has no tokenizer (tokenizer.json): prompts cannot be turned into tokens")
    rows = [
        row
        for first in range(0, len(prompts), BATCH)
        for row in _generate(model, tokenizer, prompts[first : first + BATCH], length)
    ]
    result = _padded([row for row in rows if row[1].numel()])
    if path is not None:
        buffer = io.BytesIO()
        np.savez(buffer, tokens=result.tokens.numpy(), starts=result.starts.numpy(), ends=result.ends.numpy())
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())
    return result


def _generate(model: Any, tokenizer: Any, prompts: Sequence[str], length: int) -> list[tuple[Tensor, Tensor]]:
    """(prompt ids, generated ids) of each prompt, without padding and without the end token."""
    from transformers import GenerationConfig

    end = model.config.eos_token_id
    ends = set(end if isinstance(end, list) else [end]) - {None}
    pad = min(ends) if ends else 0
    encoded = [torch.tensor(tokenizer(prompt)["input_ids"], dtype=torch.long) for prompt in prompts]
    width = max(len(ids) for ids in encoded)
    ids = torch.full((len(encoded), width), pad)
    mask = torch.zeros_like(ids)
    for row, one in enumerate(encoded):
        ids[row, width - len(one) :], mask[row, width - len(one) :] = one, 1
    options = GenerationConfig(max_new_tokens=length, do_sample=False, pad_token_id=pad, eos_token_id=sorted(ends))
    with torch.no_grad():
        made = model.generate(ids, attention_mask=mask, generation_config=options)[:, width:]
    return [(one, _until(row, ends)) for one, row in zip(encoded, made, strict=True)]


def _until(row: Tensor, ends: set[int]) -> Tensor:
    stop = next((index for index, token in enumerate(row.tolist()) if token in ends), len(row))
    return row[:stop]


def _padded(rows: list[tuple[Tensor, Tensor]]) -> Continuations:
    if not rows:
        raise SeercError("the model ends every prompt at once: there is nothing to measure acceptance on")
    starts = torch.tensor([len(prompt) for prompt, _ in rows])
    ends = torch.tensor([len(prompt) + len(made) for prompt, made in rows])
    tokens = torch.zeros(len(rows), int(ends.max()), dtype=torch.long)
    for index, (prompt, made) in enumerate(rows):
        tokens[index, : ends[index]] = torch.cat([prompt, made])
    return Continuations(tokens, starts, ends)


def _digest(model: Any, prompts: Sequence[str], length: int) -> str:
    digest = hashlib.sha256(repr((model.config.to_json_string(), list(prompts), length)).encode())
    for name, weight in model.state_dict().items():
        digest.update(name.encode())
        digest.update(weight.detach().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()

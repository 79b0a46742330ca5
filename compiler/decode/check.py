"""Greedy text of a compiled decoder beside that of transformers' own `generate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from compiler.adapt.plan import Router
from compiler.decode.generate import Request
from compiler.decode.routers import routed

TIE = 1e-3
"""Logits closer than this may change places by rounding alone."""


@dataclass(frozen=True)
class Difference:
    """Sequence `prompt` differs first at its new token number `token`.

    `gap`: the model's highest logit less the lower one of our token and its token; None if one text is merely shorter.
    """

    prompt: int
    token: int
    gap: float | None

    @property
    def tie(self) -> bool:
        """Whether rounding explains it."""
        return self.gap is not None and self.gap < TIE


def differences(
    model: Any,
    prompts: Sequence[Sequence[int]],
    texts: Sequence[Sequence[int]],
    request: Request,
    routers: Sequence[Router] = (),
    context: int = 0,
) -> list[Difference]:
    """Where our new tokens differ from those of the model (eager attention, f32, each prompt alone).

    With `routers`, of the model routed by them for a context: it then reads the whole text anew for each token.
    """
    config = model.config
    attention, config._attn_implementation = config._attn_implementation, "eager"
    try:
        with torch.no_grad(), routed(model, routers, context):
            found = [
                _difference(model, index, prompt, text, greedy_tokens(model, prompt, request, cache=not routers))
                for index, (prompt, text) in enumerate(zip(prompts, texts, strict=True))
            ]
    finally:
        config._attn_implementation = attention
    return [difference for difference in found if difference is not None]


def greedy_tokens(model: Any, prompt: Sequence[int], request: Request, cache: bool = True) -> list[int]:
    """New tokens of `generate` without search or penalties. The mask is given: a prompt may hold the padding token."""
    ids = torch.tensor([list(prompt)])
    end = {"eos_token_id": list(request.end)} if request.end else {}
    result = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=request.tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        pad_token_id=0,
        use_cache=cache,
        **end,
    )
    return result[0, len(prompt) :].tolist()


def _difference(
    model: Any, index: int, prompt: Sequence[int], ours: Sequence[int], theirs: Sequence[int]
) -> Difference | None:
    if list(ours) == list(theirs):
        return None
    place = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
    if place is None:
        return Difference(index, min(len(ours), len(theirs)), None)
    ids = torch.tensor([[*prompt, *ours[:place]]])
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, -1]
    return Difference(index, place, float(logits.max() - logits[[ours[place], theirs[place]]].min()))

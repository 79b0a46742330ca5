"""One model ready to be studied: its residual stream, and oracles on calibration and on held-out texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from compiler.adapt.continuations import Continuations, continue_prompts
from compiler.adapt.int8_drafts import Int8Drafts
from compiler.adapt.oracle import Oracle
from compiler.adapt.prompts import split_texts
from compiler.adapt.stream import ResidualStream
from compiler.decode.source import Source
from compiler.zoo.files import cache_folder
from costmodel.errors import SeercError


@dataclass(frozen=True)
class Study:
    """What the searches work on."""

    stream: ResidualStream
    calibration: Oracle
    held_out: Oracle


def open_study(
    source: Source,
    prompts: Sequence[str],
    length: int,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
    int8_drafts: bool = False,
) -> Study:
    """Let a model continue the prompts (cached), split them at random and record both halves; takes the model over.

    `int8_drafts`: what is measured are drafts with weights of 8 bits.
    """
    tell(f"continuing {len(prompts)} prompts")
    texts = continue_prompts(source.model, source.tokenizer, prompts, length, cache_folder() / "adapt")
    stream = ResidualStream(source.model)
    chosen, held = split_texts(len(texts.starts), seed)
    if not chosen:
        raise SeercError("the model ends all prompts but one at once: give --calibration prompts that it continues")
    tell("recording the full model")
    drafting = Int8Drafts(stream) if int8_drafts else None
    return Study(stream, *(Oracle(stream, take(texts, part), drafting) for part in (chosen, held)))


def take(texts: Continuations, rows: Sequence[int], longest: int | None = None) -> Continuations:
    """Some of the texts, with continuations cut to `longest` tokens."""
    picked = torch.tensor(list(rows))
    ends = texts.ends[picked]
    if longest is not None:
        ends = torch.minimum(ends, texts.starts[picked] + longest)
    return Continuations(texts.tokens[picked, : int(ends.max())], texts.starts[picked], ends)

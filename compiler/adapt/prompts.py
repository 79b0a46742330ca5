"""The texts on which a choice is calibrated and held out: one prompt a line."""

from __future__ import annotations

import random
from pathlib import Path

from costmodel.errors import SeercError

BUILT_IN = Path(__file__).with_name("prompts.txt")


def read_prompts(path: Path = BUILT_IN) -> tuple[str, ...]:
    """The non-empty lines of a UTF-8 text, duplicates dropped; SeercError for fewer than four."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise SeercError(f"{path} is not a text file: byte {error.start} is not UTF-8") from error
    prompts = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if len(prompts) < 4:
        raise SeercError(f"{path} has {len(prompts)} prompts (one a line): at least four are needed, half held out")
    return prompts


def split_texts(count: int, seed: int = 0) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Indices of the calibration texts and of the held-out ones: random halves, the second one the larger."""
    order = random.Random(seed).sample(range(count), count)
    return tuple(order[: count // 2]), tuple(order[count // 2 :])

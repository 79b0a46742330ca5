"""What one step of a program costs, block by block, as the chooser reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StepCosts:
    """Predicted nanoseconds of one step of a program.

    `blocks[b]` of sub-block b (A1, F1, A2, F2, ... in stream order), `rest` of everything else (embedding, final norm,
    head, host), `head` the part of it that is the product with the head's matrix (0: not known). `spread`: relative
    half-width of an interval that holds nine of ten blocks' times. `again`: of a step without some sub-blocks that runs
    right after another one like it, when the weights left may fit a nearer cache; None: as the sum of what is left.
    `draft`: the costs of a step that drafts, where that is another program.
    """

    blocks: tuple[float, ...]
    rest: float
    spread: float = 0.0
    again: Callable[[frozenset[int]], float] | None = None
    draft: StepCosts | None = None
    head: float = 0.0

    def numbers(self) -> dict[str, Any]:
        """For JSON."""
        return {"blocks": self.blocks, "rest": self.rest, "spread": self.spread}


Costs = Callable[[int], StepCosts]  # by width q (new tokens a sequence), at the batch and context asked for


def drafting(costs: Costs) -> StepCosts:
    """What a step that drafts costs, before sub-blocks are skipped."""
    one = costs(1)
    return one.draft or one

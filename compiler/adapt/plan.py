"""The plan that `seerc adapt -o` writes and `seerc generate` reads: what is skipped, and the numbers behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from costmodel.errors import SeercError
from costmodel.files import write_atomically

FORMAT = 1


@dataclass(frozen=True)
class Router:
    """Who takes `layer`: tokens with x . `weights` + `bias` > 0, about the share `capacity` of them."""

    layer: int
    capacity: float
    bias: float
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Plan:
    """What was decided for one model at one batch and context.

    `skipped`: sub-blocks in stream order (A1, F1, A2, F2, ... from 0) that the draft (skip) or the program (static)
    leaves out; `low_rank`: [sub-block, rank] of FFNs with truncated weights, `small_ffn`: [sub-block, neurons kept]
    (both static only). `int8`: sub-blocks with 8-bit weights, 2 L for the head: of the program (static) or of the draft
    (skip: all or none). `stop_below`: a drafted token of lower probability ends its draft, which has at most
    `draft_length` tokens. `routers`: of routed layers, in order (mod only).
    `acceptance` and `acceptance_low`: on held-out texts, the value and its lower confidence bound. Speed-ups are over
    the plain program.
    """

    method: str
    decision: str
    why: str
    batch: int
    context: int
    skipped: tuple[int, ...]
    draft_length: int
    acceptance: float | None
    acceptance_low: float | None
    predicted_speedup: float
    predicted_speedup_low: float
    low_rank: tuple[tuple[int, int], ...] = ()
    measured_speedup: float | None = None
    small_ffn: tuple[tuple[int, tuple[int, ...]], ...] = ()
    stop_below: float | None = None
    routers: tuple[Router, ...] = ()
    int8: tuple[int, ...] = ()

    def write(self, path: Path) -> None:
        """Write the plan as JSON, whole or not at all."""
        write_atomically(path, json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n")


def read_router(one: Mapping[str, Any]) -> Router:
    """A router of a plan's JSON; KeyError, ValueError or TypeError for anything else."""
    weights = tuple(map(float, one["weights"]))
    return Router(int(one["layer"]), float(one["capacity"]), float(one["bias"]), weights)


def read_plan(path: Path) -> Plan:
    """A plan that `Plan.write` wrote; SeercError for anything else."""
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("format") != FORMAT:
            raise SeercError(f"{path} is a plan of another format: write it again with `seerc adapt -o`")
        skipped = tuple(int(block) for block in data.pop("skipped"))
        low_rank = tuple((int(block), int(rank)) for block, rank in data.pop("low_rank"))
        small_ffn = tuple((int(block), tuple(map(int, kept))) for block, kept in data.pop("small_ffn", ()))
        if data.pop("capacities", ()):  # of before routers were fitted
            raise SeercError(f"{path} routes layers without routers: write it again with `seerc adapt --method mod`")
        routers = tuple(read_router(one) for one in data.pop("routers", ()))
        int8 = tuple(int(block) for block in data.pop("int8", ()))
        return Plan(skipped=skipped, low_rank=low_rank, small_ffn=small_ffn, routers=routers, int8=int8, **data)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SeercError(f"{path} is no plan: write one with `seerc adapt MODEL -o {path.name}`") from error

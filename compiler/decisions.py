"""What a compile decided, in the cache: the fused module and a schedule for every workload.

The same model text, cost model, target and versions give the same decisions, so a second compile need not make them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from compiler.cache import Cache, cache_key
from costmodel.protocol import Value
from costmodel.target import Target
from passes.tiling.schedule import Schedule
from passes.tiling.select import Choice

VERSION = "9"
"""Counts up when fusion, layout or the schedule space changes."""


@dataclass(frozen=True)
class Decisions:
    """The fused module's text, and the choice for each workload key."""

    fused: str
    choices: Mapping[str, Choice]

    def to_bytes(self) -> bytes:
        choices = {key: _to_json(choice) for key, choice in self.choices.items()}
        return json.dumps({"fused": self.fused, "choices": choices}).encode()

    @staticmethod
    def from_bytes(content: bytes) -> Decisions:
        fields = json.loads(content)
        return Decisions(fields["fused"], {key: _from_json(made) for key, made in fields["choices"].items()})


def decisions_key(text: str, cost_model: str, target: Target, panels: Mapping[str, int], caution: float = 0.0) -> str:
    """The cache key; `cost_model` is costmodel.protocol.identity of the model, the others what the driver was given."""
    parts = [cost_model, target.to_json(), text, *([json.dumps(panels, sort_keys=True)] if panels else [])]
    parts += [f"caution {caution}"] if caution else []
    return cache_key("decisions", VERSION, version("torch-mlir"), *parts)


def load_decisions(cache: Cache | None, key: str) -> Decisions | None:
    """Decisions made before, if the cache has them."""
    content = cache.get(key) if cache is not None else None
    return Decisions.from_bytes(content) if content is not None else None


def _to_json(choice: Choice) -> dict[str, Any]:
    return {
        "schedule": str(choice.schedule),
        "candidate": choice.candidate,
        "predicted": {metric: list(value) for metric, value in choice.predicted.items()},
        "considered": choice.considered,
        "reason": choice.reason,
    }


def _from_json(made: dict[str, Any]) -> Choice:
    predicted = {metric: Value(*value) for metric, value in made.pop("predicted").items()}
    return Choice(Schedule.parse(made.pop("schedule")), predicted=predicted, **made)

"""`example-op-count`: a cost model that only counts operations; it shows the protocol, not a good idea."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from costmodel.protocol import Prediction, Value
from costmodel.target import Target

_OPERATION = re.compile(r"^\s*%\S+(?: = |:\d+ = )", re.MULTILINE)


@dataclass(frozen=True)
class OpCountModel:
    """Every operation that has a result takes `ns_each`, give or take half."""

    ns_each: float = 100.0
    name: str = "example-op-count"

    def predict(
        self, candidates: Sequence[str], target: Target, metrics: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Latency for each candidate text; knows no other metric."""
        if metrics is not None and "latency_ns" not in metrics:
            return [{} for _ in candidates]
        times = [self.ns_each * len(_OPERATION.findall(text)) for text in candidates]
        return [{"latency_ns": Value(ns, 0.5 * ns, 1.5 * ns)} for ns in times]

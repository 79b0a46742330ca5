"""Is a text valid IR, and does it compute what its reference computes? Asked of a child process with limits."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ir_corpus
from costmodel.errors import SeercError
from ir_corpus.sandbox import Limits, Place, run

LIMITS = Limits(seconds=300.0, memory_mib=1_024, disk_mib=16)
"""What ends a program that hangs is the CPU time that jit_child allows itself: a busy machine changes no verdict."""
ROOT = Path(ir_corpus.__file__).parent.parent


@dataclass(frozen=True)
class Verdict:
    """What became of one text."""

    parses: bool
    """LLVM's parser takes it, and it defines a function."""
    verifies: bool
    runs_equal: bool | None
    """Whether it returns what the reference returns for every argument tried; None where that cannot be run."""


def judge(candidate: str, reference: str) -> Verdict:
    """Parse, verify and run a candidate beside its reference.

    Run is the first function of the reference that takes and returns integers or floats only and needs nothing outside
    of its module. A crash, a hang or too much memory of the candidate is no equality; of the reference, no test.
    """
    found = _child({"ir": candidate, "function": None})
    parses, verifies = bool(found.get("functions")), bool(found.get("functions")) and bool(found.get("verified"))
    expected = _child({"ir": reference, "function": ""})
    if not expected.get("outputs"):
        return Verdict(parses, verifies, None)
    if not verifies:
        return Verdict(parses, False, False)
    actual = _child({"ir": candidate, "function": expected["function"], "signature": expected["signature"]})
    return Verdict(parses, True, bool(actual.get("outputs") == expected["outputs"]))


def _child(request: dict[str, Any]) -> dict[str, Any]:
    """The answer of ir_corpus.lm.jit_child; empty where the IR killed it.

    Raises:
        SeercError: the child could not be started or failed by itself, which says nothing about the IR.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Place(ROOT, Path(folder), in_tree=False)
        place = replace(place, environment={"PYTHONPATH": str(place.inner_tree)})
        (place.work / "request.json").write_text(json.dumps(request), encoding="utf-8")
        argv = [sys.executable, "-m", "ir_corpus.lm.jit_child", "request.json", "answer.json"]
        outcome = run(argv, place, LIMITS)
        if outcome.reason in ("rejected", "compiler missing"):
            raise SeercError(f"generated IR cannot be judged here: {outcome.message}")
        return {} if outcome.reason else json.loads((place.work / "answer.json").read_text(encoding="utf-8"))

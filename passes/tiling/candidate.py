"""Candidates: a workload text with a schedule on its root op."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from costmodel.region.region import Region
from passes.mlir import context, ir
from passes.region.read import read_region
from passes.region.structure import UnsupportedRegion, find_function, find_root
from passes.tiling.schedule import Schedule

_PLACEHOLDER = Schedule("plain")


@dataclass(frozen=True)
class Template:
    """A workload that has been read: its region, None if only the plain lowering can compute it."""

    workload: str
    region: Region | None
    reason: str
    """Why there is no region."""
    _text: str

    def candidate(self, schedule: Schedule) -> str:
        """The candidate text; the text of the workload but for the schedule attribute."""
        head, tail = self._parts
        return f"{head}{schedule}{tail}"

    @cached_property
    def _parts(self) -> tuple[str, str]:
        head, _, tail = self._text.partition(str(_PLACEHOLDER))
        return head, tail


@contextmanager
def same_context() -> Generator[None]:
    """The current MLIR context, a fresh one if there is none: making one costs more than reading a workload."""
    if ir.Context.current is not None:
        yield
        return
    with context():
        yield


def read_template(workload: str) -> Template:
    """Reads a workload (or candidate: its schedule is dropped); ir.MLIRError if it does not parse."""
    with same_context(), ir.Location.unknown():
        module = ir.Module.parse(workload)
        function = find_function(module)
        try:
            region, reason = read_region(module), ""
        except UnsupportedRegion as error:
            region, reason = None, str(error)
        set_schedule(function, _PLACEHOLDER)
        return Template(workload, region, reason, str(module))


def attach_schedule(workload: str, schedule: Schedule) -> str:
    """The candidate text of one schedule."""
    return read_template(workload).candidate(schedule)


def set_schedule(function: Any, schedule: Schedule) -> None:
    """Writes the schedule on the function's root op, in place of `seerc.root`."""
    owner = _schedule_owner(function)
    if "seerc.root" in owner.attributes:
        del owner.attributes["seerc.root"]
    owner.attributes["seerc.schedule"] = ir.Attribute.parse(str(schedule), function.context)


def _schedule_owner(function: Any) -> Any:
    """The root op; the function itself if it has no structured op."""
    try:
        return find_root(function)
    except UnsupportedRegion:
        return function.operation

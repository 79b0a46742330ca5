"""Candidates: a workload text with a schedule on its root op."""

from __future__ import annotations

from passes.mlir import context, ir
from passes.region.read import Region, find_function, find_root, read_region
from passes.tiling.schedule import Schedule


def attach_schedule(workload: str, schedule: Schedule) -> str:
    """The candidate text."""
    with context(), ir.Location.unknown():
        module = ir.Module.parse(workload)
        root = find_root(find_function(module))
        if "seerc.root" in root.attributes:
            del root.attributes["seerc.root"]
        root.attributes["seerc.schedule"] = ir.Attribute.parse(str(schedule))
        return str(module)


def read_workload(workload: str) -> Region:
    """The region of a workload or candidate text; UnsupportedRegion if it does not fit the expression form."""
    with context(), ir.Location.unknown():
        return read_region(ir.Module.parse(workload))

"""From a candidate's text to its kernel and its object code."""

from __future__ import annotations

from typing import Any

from compiler.emit.kernel import Kernel
from compiler.emit.plain import emit_plain
from compiler.emit.row import emit_row
from compiler.emit.tile import emit_tile
from compiler.native.lower import compile_object
from costmodel.errors import SeercError
from passes.mlir import context, ir
from passes.region.read import read_region
from passes.region.structure import UnsupportedRegion, find_function
from passes.tiling.schedule import Schedule


def emit_candidate(text: str) -> Kernel:
    """The kernel of a candidate (a module of one function with its schedule), still in its own MLIR context.

    Raises UnsupportedRegion if the schedule's algorithm cannot compute the region (`plain` can), SeercError with MLIR's
    diagnostic if the text is not valid.
    """
    with context(), ir.Location.unknown():
        try:
            module = ir.Module.parse(text)
        except ir.MLIRError as error:
            raise SeercError(f"not a valid candidate: {_first_line(error)}") from error
        try:
            return _emit(module)
        except ir.MLIRError as error:
            name = find_function(module).name.value
            raise UnsupportedRegion(f"{name}: MLIR refuses an op of the kernel: {_first_line(error)}") from error


def build_candidate(text: str) -> bytes:
    """The object file of a candidate's kernel, which defines the function of the same name."""
    kernel = emit_candidate(text)
    return compile_object(kernel.module, kernel.name)


def read_schedule(func: Any) -> Schedule:
    """The schedule on one of the function's ops, or on the function (a plain region may have no structured op)."""
    for op in [*func.entry_block.operations, func]:
        attributes = op.operation.attributes
        if "seerc.schedule" in attributes:
            return Schedule.parse(str(attributes["seerc.schedule"]))
    raise SeercError(f"{func.name.value}: no op of the candidate has a seerc.schedule")


def _emit(module: Any) -> Kernel:
    func = find_function(module)
    schedule = read_schedule(func)
    match schedule.algorithm:
        case "plain":
            return emit_plain(module, func.name.value)
        case "transform":
            from compiler.emit.transform import emit_transform

            return emit_transform(module, schedule, func.name.value)
        case "row":
            return emit_row(read_region(module), schedule)
        case "winograd2" | "winograd4":
            from compiler.emit.winograd import emit_winograd

            return emit_winograd(read_region(module), schedule)
        case _:
            return emit_tile(read_region(module), schedule)


def _first_line(error: ir.MLIRError) -> str:
    return next((str(found.message) for found in error.error_diagnostics), str(error).splitlines()[0])

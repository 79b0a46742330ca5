"""Emits any region function through upstream passes alone: the fallback, correct before fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compiler.emit.kernel import Kernel
from costmodel.region.region import Argument
from passes.fusion.generic import clone
from passes.mlir import PassManager, ir
from passes.region.structure import UnsupportedRegion, find_function, read_arguments

_STACK_BYTES = 16 << 10
"""Buffers up to this size live on the stack; larger ones are allocated and freed."""

DESTINATIONS = (
    "func.func(refback-generalize-tensor-concat,convert-elementwise-to-linalg)",
    "canonicalize",
    "cse",
    "eliminate-empty-tensors",
)
"""On tensors: ops on memory that is not a linalg op become one, and results are computed where they are stored."""

BUFFERS = (
    "one-shot-bufferize{allow-return-allocs-from-loops=1}",
    "canonicalize",
    "cse",
    "func.func(buffer-hoisting,buffer-loop-hoisting)",
    f"func.func(promote-buffers-to-stack{{max-alloc-size-in-bytes={_STACK_BYTES}}})",
    "buffer-deallocation-pipeline",
)
"""From tensors to memrefs."""

LOOPS = ("func.func(tm-tensor-to-loops)", "func.func(convert-linalg-to-loops)", "canonicalize", "cse")
"""From what is left of linalg on memrefs to loops."""


def emit_plain(module: Any, name: str) -> Kernel:
    """The kernel of a region function on tensors; `module` holds only that function and is left as it is.

    Arguments and results become strided memrefs. UnsupportedRegion with MLIR's diagnostic if a pass refuses an op.
    """
    made = on_memrefs(module, name)
    try:
        run_passes(made, DESTINATIONS + BUFFERS + LOOPS)
    except ir.MLIRError as error:
        raise UnsupportedRegion(f"{name}: the plain lowering failed: {diagnostic(error)}") from error
    return Kernel(name, made)


def on_memrefs(module: Any, name: str) -> Any:
    """A module with the kernel's function: its arguments in memory, the region's body still on tensors."""
    made = ir.Module.create()
    with ir.InsertionPoint(made.body):
        _Wrapper(find_function(module)).write(name)
    return made


def run_passes(module: Any, passes: Sequence[str]) -> None:
    """Runs module passes in place; ir.MLIRError if one fails."""
    PassManager.parse(f"builtin.module({','.join(passes)})").run(module.operation)


def diagnostic(error: ir.MLIRError) -> str:
    """MLIR's first complaint."""
    return next((str(d.message) for d in error.error_diagnostics), str(error).splitlines()[0])


class _Wrapper:
    """The function on memrefs: its arguments as tensors, the body of the region, and the results stored in place."""

    def __init__(self, func: Any) -> None:
        self.func = func
        self.arguments, self.inputs = read_arguments(func)
        self.i1, self.i8 = ir.IntegerType.get_signless(1), ir.IntegerType.get_signless(8)

    def write(self, name: str) -> None:
        scratch = ir.MemRefType.get([1], ir.F32Type.get())
        types = [*[self._memref(a) for a in self.arguments], scratch]
        attributes = {
            "sym_name": ir.StringAttr.get(name),
            "function_type": ir.TypeAttr.get(ir.FunctionType.get(types, [])),
        }
        made = ir.Operation.create("func.func", attributes=attributes, regions=1)
        block = made.regions[0].blocks.append(*types)
        with ir.InsertionPoint(block):
            self._body(list(block.arguments))
            ir.Operation.create("func.return")

    def _memref(self, argument: Argument) -> Any:
        layout = ir.StridedLayoutAttr.get(0, list(argument.strides))
        return ir.MemRefType.get(list(argument.shape), self._stored(argument.type), layout)

    def _stored(self, kind: Any) -> Any:
        """i1 is one byte in memory."""
        return self.i8 if kind == self.i1 else kind

    def _body(self, memrefs: list[Any]) -> None:
        values: dict[Any, Any] = {}
        block = self.func.entry_block
        for value, argument, memref in zip(block.arguments, self.arguments, memrefs, strict=False):
            values[value] = self._read(argument, memref)
        *ops, end = list(block.operations)
        for op in ops:
            clone(op.operation, values)
        for value, argument, memref in zip(
            end.operation.operands, self.arguments[self.inputs :], memrefs[self.inputs : -1], strict=True
        ):
            self._write(values[value], argument, memref)

    def _read(self, argument: Argument, memref: Any) -> Any:
        kind = ir.RankedTensorType.get(list(argument.shape), memref.type.element_type)
        op = ir.Operation.create(
            "bufferization.to_tensor", results=[kind], operands=[memref], attributes={"restrict": ir.UnitAttr.get()}
        )
        return self._cast(op.results[0], argument.type, "arith.trunci")

    def _write(self, value: Any, argument: Argument, memref: Any) -> None:
        value = self._cast(value, memref.type.element_type, "arith.extui")
        unit = ir.UnitAttr.get()
        ir.Operation.create(
            "bufferization.materialize_in_destination",
            operands=[value, memref],
            attributes={"restrict": unit, "writable": unit},
        )

    def _cast(self, value: Any, kind: Any, name: str) -> Any:
        """The tensor with other elements, by an elementwise op on tensors."""
        if value.type.element_type == kind:
            return value
        target = ir.RankedTensorType.get(list(value.type.shape), kind)
        return ir.Operation.create(name, results=[target], operands=[value]).results[0]

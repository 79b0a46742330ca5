"""Lowers an aten graph to linalg-on-tensors text through torch-mlir, with every constant array as an argument."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.frontend import outline
from compiler.frontend.graph import WeightGraph
from compiler.frontend.model import Array, FrontendError, TensorSpec
from compiler.frontend.weights import extract_weights, tensor_spec
from passes.mlir import PassManager, ir, torch_dialect

TO_LINALG = (
    "builtin.module(func.func(torch-match-quantized-custom-ops),"
    "torchdynamo-export-to-torch-backend-pipeline{extra-library=},"
    "torch-backend-to-linalg-on-tensors-backend-pipeline{allow-non-finites=true})"
)
ONNX_TO_LINALG = (
    "builtin.module(torch-onnx-to-torch-backend-pipeline{backend-legal-ops=aten.flatten.using_ints,aten.unflatten.int},"
    "torch-backend-to-linalg-on-tensors-backend-pipeline{allow-non-finites=true})"
)
TIDY = "builtin.module(canonicalize,cse,symbol-dce)"
FOREIGN = ("torch.", "tm_tensor.", "torch_c.")


@dataclass(frozen=True)
class Lowered:
    """Linalg text, its weights in argument order, and the inputs and results of @main (named arg0..., output0...)."""

    text: str
    weights: dict[str, Array]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def lower_graph(weights: WeightGraph, name: str) -> Lowered:
    """Lowers a folded graph, which it uses up; raises FrontendError naming the op that has no lowering."""
    from torch_mlir.extras.fx_importer import FxImporter

    arrays = {weights.labels[n]: to_numpy(v) for n, v in _in_order(weights)}
    cuts = outline.cut(weights)
    context = ir.Context()
    torch_dialect.register_dialect(context)
    importer = FxImporter(context=context)
    importer.import_stateless_graph(weights.graph, func_name="main")
    return lower_module(importer.module, arrays, name, cuts)


def _in_order(weights: WeightGraph) -> list[tuple[Any, Any]]:
    return [(n, weights.values[n]) for n in weights.graph.nodes if n in weights.values]


def to_numpy(tensor: Any) -> Array:
    """The tensor's memory as an array, strides kept; bfloat16 is widened to f32."""
    import torch

    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def lower_module(
    module: ir.Module,
    arrays: dict[str, Array],
    name: str,
    cuts: Sequence[outline.Cut] = (),
    pipeline: str = TO_LINALG,
) -> Lowered:
    """Runs torch-mlir's pipelines over a torch-dialect module whose @main takes `arrays` first, then puts `cuts` back.
    """
    before = module.operation.get_asm(large_elements_limit=16, enable_debug_info=True)
    diagnostics = list[str]()
    with module.context as context, ir.Location.unknown(context):
        handler = context.attach_diagnostic_handler(lambda d: diagnostics.append(f"{d.location}: {d.message}") or True)
        try:
            PassManager.parse(pipeline).run(module.operation)
            main = _main(module)
            _drop_asserts(module)
            _drop_argmax(module)
            outline.put_back(module, main, cuts)
            PassManager.parse(TIDY).run(module.operation)
        except ir.MLIRError as error:
            diagnostics.extend(f"{d.location}: {d.message}" for d in error.error_diagnostics)
            raise _failure(name, before, diagnostics, pipeline) from None
        finally:
            handler.detach()
        foreign = _foreign_ops(module)
        if foreign:
            reasons = [f"{op.location}: {op.name} has no lowering to linalg" for op in foreign]
            raise _failure(name, before, reasons, pipeline)
        arrays = extract_weights(main, arrays)
        types = main.type
        inputs = tuple(tensor_spec(f"arg{k}", t) for k, t in enumerate(types.inputs[len(arrays) :]))
        outputs = tuple(tensor_spec(f"output{k}", t) for k, t in enumerate(types.results))
        return Lowered(module.operation.get_asm(), arrays, inputs, outputs)


def _main(module: ir.Module) -> Any:
    return next(op for op in module.body.operations if op.operation.name == "func.func")


def _drop_asserts(module: ir.Module) -> None:
    """cf.assert guards what is undefined in torch (an index out of range); kernels do not check."""
    found = list[Any]()
    module.operation.walk(lambda op: _collect(op, found, ("cf.assert",)))
    for op in found:
        op.erase()


def _drop_argmax(module: ir.Module) -> None:
    """Turns (max, index of max) reductions whose index nobody reads into plain max reductions.

    torch-mlir lowers amax and amin so. The index is the second result, its block argument the last.
    """
    found = list[Any]()
    module.operation.walk(lambda op: _collect(op, found, ("linalg.generic",)))
    for op in found:
        if len(op.results) != 2 or any(True for _ in op.results[1].uses):
            continue
        maps, kinds = op.attributes["indexing_maps"], op.attributes["iterator_types"]
        operands = list(op.operands)[:-1]
        attributes = {
            "indexing_maps": ir.ArrayAttr.get(list(maps)[:-1]),
            "iterator_types": kinds,
            "operandSegmentSizes": ir.DenseI32ArrayAttr.get([len(operands) - 1, 1]),
        }
        new = ir.Operation.create(
            "linalg.generic", [op.results[0].type], operands, attributes, regions=1, loc=op.location,
            ip=ir.InsertionPoint(op),
        )  # fmt: skip
        block = op.regions[0].blocks[0]
        block.append_to(new.regions[0])
        _drop_index(block)
        op.results[0].replace_all_uses_with(new.results[0])
        op.erase()


def _drop_index(block: Any) -> None:
    """Leaves only the first value of the block's yield and what computes it; erases the last argument."""
    ops = list(block.operations)
    result = ops[-1].operands[0]
    ops[-1].operation.erase()
    with ir.InsertionPoint(block):
        ir.Operation.create("linalg.yield", [], [result])
    for op in reversed(ops[:-1]):
        if not any(True for r in op.results for _ in r.uses):
            op.operation.erase()
    block.erase_argument(len(block.arguments) - 1)


def _collect(op: Any, found: list[Any], prefixes: Sequence[str]) -> ir.WalkResult:
    if op.name.startswith(tuple(prefixes)):
        found.append(op)
    return ir.WalkResult.ADVANCE


def _foreign_ops(module: ir.Module) -> list[Any]:
    found = list[Any]()
    module.operation.walk(lambda op: _collect(op, found, FOREIGN))
    return found


def _failure(name: str, before: str, diagnostics: list[str], pipeline: str) -> FrontendError:
    """The error for a model without a lowering, with the IR that reproduces it saved beside the command."""
    digest = hashlib.sha256(before.encode()).hexdigest()[:12]
    path = Path(tempfile.gettempdir()) / f"seerc-{name.replace('/', '_')}-{digest}.mlir"
    path.write_text(before)
    first = diagnostics[0] if diagnostics else "the lowering failed without a diagnostic"
    return FrontendError(f"{name}: {first}\nreproduce with: seerc opt {path} --pass-pipeline='{pipeline}'")

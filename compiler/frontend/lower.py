"""Lowers an aten graph to linalg-on-tensors text through torch-mlir, with every constant array as an argument."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.frontend import outline, repairs
from compiler.frontend.graph import WeightGraph
from compiler.frontend.model import Array, FrontendError, TensorSpec
from compiler.frontend.weights import extract_weights, tensor_spec
from costmodel.files import write_atomically
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
TIDY = "builtin.module(func.func(linalg-inline-scalar-operands),canonicalize,cse,symbol-dce)"
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
    """Lowers a torch-dialect module whose @main takes `arrays` first, then puts `cuts` back."""
    before = module.operation.get_asm(large_elements_limit=16, enable_debug_info=True)
    diagnostics = list[str]()
    with module.context as context, ir.Location.unknown(context):
        handler = context.attach_diagnostic_handler(lambda d: diagnostics.append(f"{d.location}: {d.message}") or True)
        try:
            PassManager.parse(pipeline).run(module.operation)
            main = _main(module)
            repairs.drop_asserts(module)
            repairs.drop_argmax(module)
            outline.put_back(module, main, cuts)
            PassManager.parse(TIDY).run(module.operation)
            repairs.keep_nan(module)
        except ir.MLIRError as error:
            diagnostics.extend(f"{d.location}: {d.message}" for d in error.error_diagnostics)
            raise _failure(name, before, diagnostics, pipeline) from None
        finally:
            handler.detach()
        foreign = [op for op in repairs.find(module, *FOREIGN) if not op.name.endswith(".yield")]
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


def _failure(name: str, before: str, diagnostics: list[str], pipeline: str) -> FrontendError:
    """The error for a model without a lowering, with the IR that reproduces it saved beside the command."""
    digest = hashlib.sha256(before.encode()).hexdigest()[:12]
    path = Path(tempfile.gettempdir()) / f"seerc-{name.replace('/', '_')}-{digest}.mlir"
    write_atomically(path, before)
    first = _readable(diagnostics[0]) if diagnostics else "the lowering failed without a diagnostic"
    return FrontendError(f"{name}: {first}; reproduce with: seerc opt {path} --pass-pipeline='{pipeline}'")


def _readable(diagnostic: str) -> str:
    """`model.py:4: torch.aten.foo has no lowering to linalg` where MLIR says it in a paragraph."""
    place = re.match(r'loc\((?:callsite\()?"([^"]+)":(\d+):\d+.*?\): ', diagnostic)
    where = f"{place[1]}:{place[2]}: " if place else ""
    message = diagnostic[place.end() :] if place else diagnostic
    op = re.search(r'torch\.operator.*?name = "([\w.]+)"', message) or re.search(
        r"legalize operation '([\w.]+)'", message
    )
    return f"{where}{op[1]} has no lowering to linalg" if op else f"{where}{message.splitlines()[0]}"

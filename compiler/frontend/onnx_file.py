"""A `.onnx` file -> ImportedModel, through torch-mlir's ONNX importer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from compiler.frontend.lower import ONNX_TO_LINALG, lower_module
from compiler.frontend.model import Array, FrontendError, ImportedModel, TensorSpec
from passes.mlir import ir, torch_dialect


def import_onnx(path: Path, specs: Sequence[TensorSpec] = ()) -> ImportedModel:
    """Lowers the graph with its float initialisers as weight arguments.

    `specs` fix the shapes of inputs that the file leaves dynamic, by name or else by position. Raises FrontendError
    for an unreadable file, a shape that stays dynamic, or an operator without a lowering.
    """
    model = _load(path)
    _fix_shapes(path, model, specs)
    weights = _take_weights(model)
    model = _infer(path, model)
    from torch_mlir.extras.onnx_importer import ModelInfo, NodeImporter, OnnxImportError

    model.graph.name = "main"
    mlir_context = ir.Context()
    torch_dialect.register_dialect(mlir_context)
    info = ModelInfo(model)
    module: Any = info.create_module(context=mlir_context)
    try:
        NodeImporter.define_function(info.main_graph, module.operation).import_all()
    except (OnnxImportError, ValueError, TypeError) as error:
        raise FrontendError(f"{path}: {error}") from None
    lowered = lower_module(module, weights, path.stem, pipeline=ONNX_TO_LINALG)
    names = [i.name for i in model.graph.input][len(weights) :]
    inputs = tuple(replace(s, name=n) for n, s in zip(names, lowered.inputs, strict=True))
    outputs = tuple(replace(s, name=o.name) for o, s in zip(model.graph.output, lowered.outputs, strict=True))
    sources = {"file": path.name, "onnx": version("onnx"), "torch-mlir": version("torch-mlir")}
    return ImportedModel(path.stem, lowered.text, lowered.weights, inputs, outputs, sources)


def _load(path: Path) -> Any:
    try:
        import onnx
    except ModuleNotFoundError:
        raise FrontendError(f"{path}: reading ONNX needs the package onnx: pip install onnx") from None
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path))
        if not model.opset_import:
            raise FrontendError(f"{path}: not a readable ONNX model: it is empty")
        return model
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        raise FrontendError(f"{path}: not a readable ONNX model: {error}") from None


def _fix_shapes(path: Path, model: Any, specs: Sequence[TensorSpec]) -> None:
    """Writes static shapes into the graph inputs that are no initialisers; clears stale inner shapes."""
    initialised = {i.name for i in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in initialised]
    given = {s.name: s for s in specs}
    for position, value in enumerate(inputs):
        dims = value.type.tensor_type.shape.dim
        spec = given.get(value.name) or given.get(f"input{position}")
        if spec is not None:
            if len(dims) and len(dims) != len(spec.shape):
                raise FrontendError(f"{path}: input {value.name} has rank {len(dims)}, not {len(spec.shape)} ({spec})")
            del dims[:]
            for size in spec.shape:
                dims.add().dim_value = size
        if any(not d.dim_value for d in dims):
            raise FrontendError(f"{path}: input {value.name} has a dynamic shape: give --input {value.name}=1x...xf32")
    if specs:
        del model.graph.value_info[:]
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")


def _take_weights(model: Any) -> dict[str, Array]:
    """Moves float initialisers of more than one element to the front of the graph's inputs; returns their arrays."""
    from onnx import helper, numpy_helper

    weights = dict[str, Array]()
    initialised = {i.name for i in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in initialised]
    kept = list[Any]()
    for initialiser in model.graph.initializer:
        array = numpy_helper.to_array(initialiser)
        if array.dtype.kind != "f" or array.size <= 1:
            kept.append(initialiser)
            continue
        weights[initialiser.name] = np.ascontiguousarray(array)
    typed = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
             for n, a in weights.items()]  # fmt: skip
    del model.graph.input[:]
    model.graph.input.extend([*typed, *inputs])
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return weights


def _infer(path: Path, model: Any) -> Any:
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True, strict_mode=False)
    except onnx.shape_inference.InferenceError as error:
        raise FrontendError(f"{path}: shapes cannot be inferred: {error}") from None
    known = {o.name for o in inferred.graph.output if o.type.tensor_type.HasField("shape")}
    missing = [o.name for o in inferred.graph.output if o.name not in known]
    if missing:
        raise FrontendError(f"{path}: the shape of output {missing[0]} cannot be inferred")
    return inferred

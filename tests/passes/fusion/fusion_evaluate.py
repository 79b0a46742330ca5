"""Runs a module of linalg on tensors through bufferization and plain loops: slow, and none of it is seerc's."""

from __future__ import annotations

import ctypes

import numpy as np
from torch_mlir.dialects.transform import interpreter
from torch_mlir.runtime import get_ranked_memref_descriptor

from passes.fusion.generic import walk
from passes.mlir import ExecutionEngine, PassManager, context, ir, linalg, tensor

_DECOMPOSE = """
module attributes {transform.with_named_sequence} {
  transform.named_sequence @__transform_main(%module: !transform.any_op {transform.readonly}) {
    %f = transform.structured.match ops{["func.func"]} in %module : (!transform.any_op) -> !transform.any_op
    transform.apply_patterns to %f { transform.apply_patterns.tensor.decompose_concat } : !transform.any_op
    transform.yield
  }
}
"""
_TO_BUFFERS = (
    "builtin.module(one-shot-bufferize{"
    "bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map "
    "allow-return-allocs-from-loops=true},"
    "buffer-results-to-out-params{modify-public-functions=true hoist-static-allocs=true})"
)
_TO_LLVM = (
    "builtin.module(func.func(convert-linalg-to-loops),convert-scf-to-cf,expand-strided-metadata,lower-affine,"
    "convert-math-to-llvm,convert-math-to-libm,convert-arith-to-llvm,convert-index-to-llvm,finalize-memref-to-llvm,"
    "convert-func-to-llvm,convert-cf-to-llvm,reconcile-unrealized-casts)"
)
_TYPES = {"f32": np.float32, "f64": np.float64, "i64": np.int64}


def evaluate(text: str, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The results of @main."""
    with context(), ir.Location.unknown():
        module = ir.Module.parse(text)
        main = next(op.operation for op in module.body.operations if "@main" in str(op.operation).split("\n")[0])
        main.attributes["llvm.emit_c_interface"] = ir.UnitAttr.get()
        types = ir.FunctionType(ir.TypeAttr(main.attributes["function_type"]).value).results
        outputs = [np.zeros(tuple(t.shape), _TYPES[str(t.element_type)]) for t in types]
        decompose = ir.Module.parse(_DECOMPOSE)
        interpreter.apply_named_sequence(module.operation, decompose.body.operations[0], decompose)
        separate_destinations(module)
        PassManager.parse(_TO_BUFFERS).run(module.operation)
        for op in [op for op in walk(module.operation) if op.name == "memref.copy"]:
            with ir.InsertionPoint(op):
                linalg.copy(op.operands[0], outs=[op.operands[1]])
            op.erase()
        PassManager.parse(_TO_LLVM).run(module.operation)
        engine = ExecutionEngine(module, opt_level=0)
        pointers = [ctypes.pointer(ctypes.pointer(get_ranked_memref_descriptor(a))) for a in [*inputs, *outputs]]
        engine.invoke("main", *pointers)
    return outputs


def separate_destinations(module: ir.Module) -> None:
    """An empty tensor for each result: one-shot-bufferize gives two results of an op that share one the same buffer."""
    for op in [op for op in walk(module.operation) if op.name == "linalg.generic" and len(op.results) > 1]:
        with ir.InsertionPoint(op):
            for index in range(len(op.operands) - len(op.results), len(op.operands)):
                value = op.operands[index]
                if isinstance(value, ir.OpResult) and value.owner.name == "tensor.empty":
                    op.operands[index] = tensor.empty(list(value.type.shape), value.type.element_type)

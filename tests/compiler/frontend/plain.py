"""Runs linalg text through upstream passes alone: slow loops, for checking a frontend without the rest of seerc."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch_mlir.runtime import get_ranked_memref_descriptor

from compiler.frontend.model import ImportedModel
from passes.mlir import ExecutionEngine, PassManager, context, ir

DECOMPOSE_CONCAT = """
module attributes {transform.with_named_sequence} {
  transform.named_sequence @__transform_main(%root: !transform.any_op) {
    %f = transform.structured.match ops{["func.func"]} in %root : (!transform.any_op) -> !transform.any_op
    transform.apply_patterns to %f { transform.apply_patterns.tensor.decompose_concat } : !transform.any_op
    transform.yield
  }
}
"""
BUFFERIZE = """builtin.module(inline,transform-interpreter,canonicalize,cse,
  one-shot-bufferize{bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map},
  buffer-results-to-out-params{modify-public-functions=true hoist-static-allocs=true})"""
TO_LLVM = """builtin.module(
  func.func(linalg-generalize-named-ops,convert-linalg-to-loops),convert-scf-to-cf,expand-strided-metadata,
  lower-affine,convert-math-to-llvm,convert-math-to-libm,convert-arith-to-llvm,finalize-memref-to-llvm,
  convert-func-to-llvm,convert-cf-to-llvm,convert-index-to-llvm,reconcile-unrealized-casts)"""
DTYPES = {"f32": np.float32, "i64": np.int64, "i1": np.bool_, "i32": np.int32}


def run(model: ImportedModel, inputs: Sequence[Any]) -> list[Any]:
    """The outputs of @main for arrays `inputs`."""
    with context(), ir.Location.unknown():
        module = ir.Module.parse(model.text)
        main = next(o for o in module.body.operations if str(o.attributes["sym_name"]) == '"main"')
        main.attributes["llvm.emit_c_interface"] = ir.UnitAttr.get()
        transform = ir.Module.parse(DECOMPOSE_CONCAT)
        module.operation.attributes["transform.with_named_sequence"] = ir.UnitAttr.get()
        module.body.append(transform.body.operations[0])
        PassManager.parse(BUFFERIZE).run(module.operation)
        for op in list(module.body.operations):
            if op.operation.name == "transform.named_sequence":
                op.operation.erase()
        _linalg_copies(module)
        PassManager.parse(TO_LLVM).run(module.operation)
        engine = ExecutionEngine(module, opt_level=1)
        outputs = [np.empty(s.shape, DTYPES[s.dtype]) for s in model.outputs]
        arrays = [np.ascontiguousarray(a).reshape(a.shape) for a in [*model.weights.values(), *inputs]]
        descriptors = [get_ranked_memref_descriptor(a) for a in [*arrays, *outputs]]
        engine.invoke("main", *[ctypes.pointer(ctypes.pointer(d)) for d in descriptors])
    return outputs


def _linalg_copies(module: Any) -> None:
    """Strided memref.copy calls a runtime function that the JIT lacks."""
    found = list[Any]()

    def collect(op: Any) -> ir.WalkResult:
        if op.name == "memref.copy":
            found.append(op)
        return ir.WalkResult.ADVANCE

    module.operation.walk(collect)
    for op in found:
        rank = op.operands[0].type.rank
        maps = ", ".join(["affine_map<({0}) -> ({0})>".format(", ".join(f"d{k}" for k in range(rank)))] * 2)
        kinds = ", ".join(["#linalg.iterator_type<parallel>"] * rank)
        attributes = {
            "indexing_maps": ir.Attribute.parse(f"[{maps}]"),
            "iterator_types": ir.Attribute.parse(f"[{kinds}]"),
            "operandSegmentSizes": ir.DenseI32ArrayAttr.get([1, 1]),
        }
        generic = ir.Operation.create(
            "linalg.generic", [], list(op.operands), attributes, regions=1, ip=ir.InsertionPoint(op)
        )
        element = op.operands[0].type.element_type
        block = generic.regions[0].blocks.append(element, element, arg_locs=[ir.Location.unknown()] * 2)
        with ir.InsertionPoint(block):
            ir.Operation.create("linalg.yield", [], [block.arguments[0]])
        op.erase()

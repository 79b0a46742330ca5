"""The one module that imports the MLIR Python bindings, so that another build of them can be swapped in."""

from __future__ import annotations

from torch_mlir import ir
from torch_mlir.dialects import affine, arith, func, linalg, llvm, math, memref, scf, tensor, vector
from torch_mlir.dialects import torch as torch_dialect
from torch_mlir.dialects.transform.interpreter import apply_named_sequence
from torch_mlir.execution_engine import ExecutionEngine
from torch_mlir.passmanager import PassManager

__all__ = [
    "ExecutionEngine",
    "PassManager",
    "affine",
    "apply_named_sequence",
    "arith",
    "context",
    "func",
    "ir",
    "linalg",
    "llvm",
    "math",
    "memref",
    "scf",
    "tensor",
    "torch_dialect",
    "vector",
]


def context() -> ir.Context:
    """A fresh context with every dialect of the bindings; seerc's own attributes are discardable and need none."""
    made = ir.Context()
    torch_dialect.register_dialect(made)
    return made

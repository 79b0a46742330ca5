"""MLIR kernel to object file: the pass pipeline down to the LLVM dialect, and LLVM's code generator.

What was found (AMD Zen 4 with AVX-512, and checked by tests/compiler/native/test_lower.py):
- `vector.fma` and `math.fma` become one vfmadd instruction; arith mulf + addf only with `fastmath<contract>` on both.
- Safe fast-math flags: contract, nsz, arcp, reassoc (sums change in the last bits). Unsafe: nnan and ninf (masks use
  -inf), hence also `fast`.
- vector<16xf32> is computed in zmm and vector<8xf32> in ymm registers; LLVM neither splits nor merges them.
"""

from __future__ import annotations

import ctypes
import os

from compiler.native.math import expand_math
from compiler.native.openmp import openmp_library
from costmodel.errors import SeercError
from passes.mlir import ExecutionEngine, PassManager, context, ir, linalg

_PLACEHOLDER = 64
"""The address given to functions of other objects: the code is linked in memory too, but never run there."""

_BEFORE = "convert-linalg-to-loops,convert-vector-to-scf,canonicalize,cse"
_OPENMP = "convert-scf-to-openmp,canonicalize"  # canonicalize inlines memref.alloca_scope, which holds one block only
_TO_LLVM = (
    "lower-affine",
    "convert-vector-to-scf",
    "convert-scf-to-cf",
    "expand-strided-metadata",
    "lower-affine",
    "convert-vector-to-llvm",
    "arith-expand",
    "convert-arith-to-llvm",
    "convert-math-to-llvm",
    "convert-math-to-libm",
    "finalize-memref-to-llvm",
    # Before OpenMP's conversion, which would give the functions unpacked memref descriptors.
    "convert-func-to-llvm{use-bare-ptr-memref-call-conv=1}",
    "convert-openmp-to-llvm",
    "convert-cf-to-llvm",
    "convert-index-to-llvm",
    "convert-ub-to-llvm",
    "reconcile-unrealized-casts",
    "canonicalize",
    "cse",
)


def lower_to_llvm(module: ir.Module, openmp: bool = True) -> None:
    """Rewrite func, scf, vector, memref, arith, math, affine and linalg (on memrefs) into the LLVM dialect, in place.

    `scf.parallel` runs on OpenMP's threads, or as a loop if not `openmp`. Functions take bare pointers.
    """
    with module.context:
        _copy_by_loops(module)
        _run(module, _BEFORE)
        expand_math(module)
        if openmp:
            _run(module, _OPENMP)
            _drop_inner_barriers(module)
        _run(module, ",".join(_TO_LLVM))
        if openmp:
            _keep_apart(module)


def compile_object(module: ir.Module | str, name: str, openmp: bool = True, cpu: str | None = None) -> bytes:
    """The ELF object (position independent, optimised for this CPU) of a kernel's module; `name` is a function in it.

    `cpu`, a processor name of LLVM's, takes the place of this CPU. The module is consumed: it is lowered in place if it
    is not in the LLVM dialect yet. Beside `name` the object defines the wrapper `_mlir_NAME`, which link_shared hides.
    Raises SeercError with LLVM's reason.
    """
    parsed: ir.Module = _parse(module, name) if isinstance(module, str) else module
    lower_to_llvm(parsed, openmp)
    if cpu is not None:
        _restrict(parsed, cpu)
    libraries = [str(openmp_library())] if openmp else []
    try:
        with parsed.context:
            engine = ExecutionEngine(
                parsed, opt_level=3, shared_libs=libraries, enable_object_dump=True, enable_pic=True
            )
            for function in _walk(parsed, "llvm.func"):
                if not function.regions[0].blocks:
                    symbol = ir.StringAttr(function.attributes["sym_name"]).value
                    engine.raw_register_runtime(symbol, ctypes.c_void_p(_PLACEHOLDER))
            if not engine.raw_lookup(name):
                raise SeercError(f"kernel {name}: the module defines no such function")
    except RuntimeError as error:
        raise SeercError(f"kernel {name}: code generation failed: {error}") from error
    return _dumped(engine)


def _dumped(engine: ExecutionEngine) -> bytes:
    memory = os.memfd_create("seerc-object")
    try:
        engine.dump_to_object_file(f"/proc/self/fd/{memory}")
        with os.fdopen(os.dup(memory), "rb") as file:
            file.seek(0)
            return file.read()
    finally:
        os.close(memory)


def _parse(text: str, name: str) -> ir.Module:
    try:
        return ir.Module.parse(text, context())
    except ir.MLIRError as error:
        raise SeercError(f"kernel {name}: not valid MLIR: {_first_line(error)}") from error


def _run(module: ir.Module, pipeline: str) -> None:
    try:
        PassManager.parse(f"builtin.module({pipeline})").run(module.operation)
    except ir.MLIRError as error:
        raise SeercError(f"lowering to LLVM failed: {_first_line(error)}") from error


def _first_line(error: ir.MLIRError) -> str:
    return next((str(found.message) for found in error.error_diagnostics), str(error).splitlines()[0])


def _walk(module: ir.Module, name: str) -> list[ir.OpView]:
    return [op.opview for op in _named(module.operation, name)]


def _named(root: ir.Operation, name: str) -> list[ir.Operation]:
    """The operations of a name below `root`."""
    found: list[ir.Operation] = []

    def collect(op: ir.Operation) -> ir.WalkResult:
        if op.name == name:
            found.append(op)
        return ir.WalkResult.ADVANCE

    root.walk(collect)
    return found


def _copy_by_loops(module: ir.Module) -> None:
    """memref.copy of strided buffers would call the runner library's memrefCopy: linalg.copy becomes loops."""
    for op in _walk(module, "memref.copy"):
        with ir.InsertionPoint(op), op.location:
            linalg.copy(op.operands[0], outs=[op.operands[1]])
        op.operation.erase()


def _keep_apart(module: ir.Module) -> None:
    """Say at each load and store which pointer it goes through: the code of a parallel region is moved into a function
    of its own, where the arguments' `noalias` is lost, and no load could be moved out of a loop that stores."""
    for op in _walk(module, "llvm.func"):
        function = op.operation
        if not _named(function, "omp.parallel"):
            continue
        pointers = [a for a in function.regions[0].blocks[0].arguments if str(a.type) == "!llvm.ptr"]
        scopes = dict(zip(pointers, _scopes(len(pointers), module.context), strict=True))
        for name, position in (("llvm.load", 0), ("llvm.store", 1)):
            for access in _named(function, name):
                own = scopes.get(_base(access.operands[position]))
                if own is not None:
                    others = [s for s in scopes.values() if s != own]
                    access.attributes["alias_scopes"] = ir.ArrayAttr.get([own], module.context)
                    access.attributes["noalias_scopes"] = ir.ArrayAttr.get(others, module.context)


def _scopes(count: int, where: ir.Context) -> list[ir.Attribute]:
    domain = "#llvm.alias_scope_domain<id = distinct[0]<>>"
    texts = [f"#llvm.alias_scope<id = distinct[{i + 1}]<>, domain = {domain}>" for i in range(count)]
    return list(ir.ArrayAttr(ir.Attribute.parse(f"[{', '.join(texts)}]", where)))


def _base(pointer: ir.Value) -> ir.Value:
    """The value that an address is computed from."""
    while not isinstance(pointer.owner, ir.Block) and pointer.owner.name == "llvm.getelementptr":
        pointer = pointer.owner.operands[0]
    return pointer


def _restrict(module: ir.Module, cpu: str) -> None:
    """A function's own target attributes take precedence over those of the engine; both are needed."""
    features = ir.Attribute.parse('#llvm.target_features<["+64bit"]>', module.context)
    for op in _walk(module, "llvm.func"):
        if op.operation.regions[0].blocks:
            op.operation.attributes["target_cpu"] = ir.StringAttr.get(cpu, module.context)
            op.operation.attributes["target_features"] = features


def _drop_inner_barriers(module: ir.Module) -> None:
    """The end of `omp.parallel` is a barrier already; `nowait` on the loop within saves the second one."""
    for op in _walk(module, "omp.wsloop"):
        op.attributes["nowait"] = ir.UnitAttr.get(module.context)

"""The child that parses, verifies and runs untrusted IR: `python -m ir_corpus.lm.jit_child REQUEST ANSWER`.

Request: {"ir", "function": None (only check), "" (the first that can be run) or a name, "signature"}.
Answer: {"functions", "verified", "function", "signature", "outputs"}. `execution` starts it in the sandbox of the
corpus; only modules that refer to nothing outside of them are run, so a function can call nothing.
"""

from __future__ import annotations

import ctypes
import json
import re
import resource
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TRIALS = 16
CPU_SECONDS = 5
TYPES: dict[str, Any] = {
    "i8": ctypes.c_int8,
    "i16": ctypes.c_int16,
    "i32": ctypes.c_int32,
    "i64": ctypes.c_int64,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
}


def main(request_file: str, answer_file: str) -> None:
    """Answer the request of one file in another."""
    import llvmlite.binding as llvm

    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    Path(answer_file).write_text(json.dumps(_answer(llvm, request)), encoding="utf-8")


def _answer(llvm: Any, request: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"functions": [], "verified": False}
    try:
        module = llvm.parse_assembly(request["ir"])
        answer["functions"] = [f.name for f in module.functions if not f.is_declaration]
        module.verify()
        answer["verified"] = True
    except RuntimeError:
        return answer
    if request["function"] is None or not self_contained(module, request["ir"]):
        return answer
    for function in module.functions:
        signature = scalar_signature(function)
        if signature is None or request["function"] not in ("", function.name):
            continue
        if request.get("signature", signature) != signature:
            return answer
        answer |= {"function": function.name, "signature": signature}
        answer["outputs"] = _outputs(llvm, module, function.name, signature)
        return answer
    return answer


def self_contained(module: Any, text: str) -> bool:
    """Whether the module refers to nothing outside of it, has no inline assembly and makes no pointers of numbers."""
    outside = any(f.is_declaration and not f.name.startswith("llvm.") for f in module.functions)
    outside = outside or any(g.is_declaration for g in module.global_variables)
    return not outside and not re.search(r"\basm\b|\binttoptr\b|@llvm\.(?:global_ctors|global_dtors)\b", text)


def scalar_signature(function: Any) -> list[str] | None:
    """Types of the result and the arguments of a defined function; None where one is no number."""
    if function.is_declaration:
        return None
    match = re.match(r"^\s*(\w+) \(([^.()]*)\)", str(function.global_value_type))
    if match is None:
        return None
    names = [match[1], *(t.strip() for t in match[2].split(",") if t.strip())]
    return names if all(n in TYPES for n in names) and len(names) > 1 else None


def _outputs(llvm: Any, module: Any, name: str, signature: list[str]) -> list[str]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    module.triple = llvm.get_default_triple()
    module.data_layout = str(machine.target_data)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    kinds = [TYPES[t] for t in signature]
    call = ctypes.CFUNCTYPE(*kinds)(engine.get_function_address(name))
    return [_shown(call, signature, trial) for trial in range(TRIALS)]


def _shown(call: Callable[..., Any], signature: list[str], trial: int) -> str:
    """The result for one set of arguments, floats by their bits (all NaNs alike)."""
    result = call(*(argument(t, trial, i) for i, t in enumerate(signature[1:])))
    if isinstance(result, float):
        return "nan" if result != result else struct.pack("<d", result).hex()
    return str(result)


def argument(kind: str, trial: int, place: int) -> int | float:
    """Small and large, positive and negative numbers, the same ones in every process."""
    mixed = (trial * 2654435761 + place * 40503 + 12345) & 0xFFFFFFFF
    value = (0, 1, 2, 3, 7, 10, 64, 100)[(trial + 3 * place) % 8] if trial < 8 else mixed % (1 << 16) - (1 << 15)
    if kind in ("float", "double"):
        return value / 4.0
    return int(value) % 128 if kind == "i8" else int(value)


if __name__ == "__main__":
    main(*sys.argv[1:])

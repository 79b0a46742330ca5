"""A `.mlir` file of linalg on tensors -> ImportedModel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from compiler.frontend import repairs
from compiler.frontend.model import FrontendError, ImportedModel
from compiler.frontend.weights import extract_weights, tensor_spec
from passes.mlir import context, ir

DIALECTS = ("func.", "linalg.", "tensor.", "arith.", "math.")
OPS = ("builtin.module", "scf.for", "scf.yield", "cf.assert")


def import_mlir(path: Path) -> ImportedModel:
    """Parses the file; its dense constants become weights.

    The entry is @main, or the only public function. Raises FrontendError with file:line for text that does not parse,
    for dynamic shapes and for arguments that are not tensors.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise FrontendError(f"{path}: {error}") from None
    with context(), ir.Location.unknown():
        module = _parse(path, text)
        main = _entry(path, module)
        _check_ops(path, module)
        if any("seerc.weight" in (a or {}) for a in _arg_attrs(main)):
            raise FrontendError(f"{path}: @main takes weights ({{seerc.weight}}) whose values are not in the text")
        try:
            specs = [tensor_spec(f"arg{k}", t) for k, t in enumerate(main.type.inputs)]
            outputs = tuple(tensor_spec(f"output{k}", t) for k, t in enumerate(main.type.results))
        except FrontendError as error:
            raise FrontendError(f"{path}: {error}") from None
        weights = extract_weights(main, {}, _blobs(text))
        asm = module.operation.get_asm(large_resource_limit=0).split("\n{-#")[0]
        return ImportedModel(path.stem, asm, weights, tuple(specs), outputs, {"file": path.name})


def _blobs(text: str) -> dict[str, bytes]:
    """The data of the resources at the end of the text: hexadecimal, behind four bytes of alignment."""
    return {key: bytes.fromhex(data)[4:] for key, data in re.findall(r'([\w.$-]+): "0x([0-9A-Fa-f]+)"', text)}


def _parse(path: Path, text: str) -> ir.Module:
    try:
        return ir.Module.parse(text)
    except ir.MLIRError as error:
        first = error.error_diagnostics[0]
        raise FrontendError(f"{_place(path, first.location)}: {first.message}") from None


def _place(path: Path, location: Any) -> str:
    found = re.search(r":(\d+):(\d+)", str(location))
    return f"{path}:{found[1]}:{found[2]}" if found else str(path)


def _check_ops(path: Path, module: ir.Module) -> None:
    """FrontendError at the first op that no later step knows."""
    for op in repairs.find(module, ""):
        if not op.name.startswith(DIALECTS) and op.name not in OPS:
            raise FrontendError(
                f"{_place(path, op.location)}: {op.name} has no lowering to native code: lower it to linalg on tensors "
                f"first, for instance with mlir-opt; reproduce with: seerc compile {path}"
            )
        if op.name == "func.func" and not op.regions[0].blocks:
            raise FrontendError(f"{_place(path, op.location)}: the function {op.attributes['sym_name']} has no body")


def _entry(path: Path, module: ir.Module) -> Any:
    functions = [op for op in module.body.operations if op.operation.name == "func.func"]
    public = [f for f in functions if str(f.attributes["sym_name"]) == '"main"'] or [
        f for f in functions if "sym_visibility" not in f.attributes
    ]
    if len(public) != 1:
        raise FrontendError(f"{path}: expected @main or one public function, found {len(public)}")
    public[0].attributes["sym_name"] = ir.StringAttr.get("main")
    return public[0]


def _arg_attrs(main: Any) -> list[Any]:
    return list(main.attributes["arg_attrs"]) if "arg_attrs" in main.attributes else []

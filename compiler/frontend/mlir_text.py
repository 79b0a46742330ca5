"""A `.mlir` file of linalg on tensors -> ImportedModel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from compiler.frontend.model import FrontendError, ImportedModel
from compiler.frontend.weights import extract_weights, tensor_spec
from passes.mlir import context, ir


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
        if any("seerc.weight" in (a or {}) for a in _arg_attrs(main)):
            raise FrontendError(f"{path}: @main takes weights ({{seerc.weight}}) whose values are not in the text")
        specs = [tensor_spec(f"arg{k}", t) for k, t in enumerate(main.type.inputs)]
        outputs = tuple(tensor_spec(f"output{k}", t) for k, t in enumerate(main.type.results))
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
        place = re.search(r":(\d+):(\d+)", str(first.location))
        where = f":{place[1]}:{place[2]}" if place else ""
        raise FrontendError(f"{path}{where}: {first.message}") from None


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

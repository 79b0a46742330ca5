"""Workload texts: a region function with its operands' strides written on it, and the copies that layouts need."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from passes.mlir import ir

_FUNCTION = "kernel"


def region_text(function: Any, strides: Sequence[Sequence[int]]) -> str:
    """The module text of one region function, named `kernel`, with `strides` of arguments, then results, on it."""
    with function.context, ir.Location.unknown():
        module = ir.Module.create()
        with ir.InsertionPoint(module.body):
            clone = function.operation.clone()
        kind = function.type
        before = list(function.attributes["arg_attrs"]) if "arg_attrs" in function.attributes else []
        count = len(kind.inputs)
        arguments = [_with_strides(before[i] if before else None, strides[i]) for i in range(count)]
        results = [_with_strides(None, s) for s in strides[count:]]
        clone.attributes["arg_attrs"] = ir.ArrayAttr.get(arguments)
        clone.attributes["res_attrs"] = ir.ArrayAttr.get(results)
        clone.attributes["sym_name"] = ir.StringAttr.get(_FUNCTION)
        if "sym_visibility" in clone.attributes:
            del clone.attributes["sym_visibility"]
        return str(module)


def _with_strides(attributes: Any, strides: Sequence[int]) -> Any:
    made = {"seerc.strides": ir.DenseI64ArrayAttr.get(list(strides))}
    if attributes is not None and "seerc.constant" in attributes:
        made["seerc.constant"] = ir.UnitAttr.get()
    return ir.DictAttr.get(made)


def copy_text(shape: Sequence[int], kind: str, source: Sequence[int], target: Sequence[int]) -> str:
    """A copy from one layout to another; `kind` is the MLIR element type."""
    dims = ", ".join(f"d{i}" for i in range(len(shape)))
    tensor = _tensor(shape, kind)
    loops = ", ".join(['"parallel"'] * len(shape))
    return f"""#map = affine_map<({dims}) -> ({dims})>
module {{
  func.func @{_FUNCTION}(%arg0: {tensor} {{{_strides(source)}}}) -> ({tensor} {{{_strides(target)}}})
      attributes {{seerc.kind = "elementwise"}} {{
    %0 = tensor.empty() : {tensor}
    %1 = linalg.generic {{indexing_maps = [#map, #map], iterator_types = [{loops}]}}
        ins(%arg0 : {tensor}) outs(%0 : {tensor}) attrs = {{seerc.root}} {{
    ^bb0(%in: {kind}, %out: {kind}):
      linalg.yield %in : {kind}
    }} -> {tensor}
    return %1 : {tensor}
  }}
}}
"""


def fill_text(shape: Sequence[int], kind: str, value: str, target: Sequence[int]) -> str:
    """A constant written everywhere; `value` is an MLIR attribute of type `kind` such as `0.000000e+00 : f32`."""
    dims = ", ".join(f"d{i}" for i in range(len(shape)))
    tensor = _tensor(shape, kind)
    loops = ", ".join(['"parallel"'] * len(shape))
    return f"""#map = affine_map<({dims}) -> ({dims})>
module {{
  func.func @{_FUNCTION}() -> ({tensor} {{{_strides(target)}}}) attributes {{seerc.kind = "elementwise"}} {{
    %cst = arith.constant {value}
    %0 = tensor.empty() : {tensor}
    %1 = linalg.generic {{indexing_maps = [#map], iterator_types = [{loops}]}}
        outs(%0 : {tensor}) attrs = {{seerc.root}} {{
    ^bb0(%out: {kind}):
      linalg.yield %cst : {kind}
    }} -> {tensor}
    return %1 : {tensor}
  }}
}}
"""


def name_workload(text: str) -> tuple[str, str]:
    """A key from the text's hash, and the text with its function named after it."""
    key = "k" + sha256(text.encode()).hexdigest()[:12]
    return key, text.replace(f"@{_FUNCTION}(", f"@{key}(", 1)


def _tensor(shape: Sequence[int], kind: str) -> str:
    return f"tensor<{'x'.join([*map(str, shape), kind])}>"


def _strides(strides: Sequence[int]) -> str:
    return f"seerc.strides = array<i64{': ' if strides else ''}{', '.join(map(str, strides))}>"

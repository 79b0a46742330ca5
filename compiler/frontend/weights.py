"""The weight arguments of @main: literals taken out of the text, views of weights folded into the arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compiler.frontend.model import Array, FrontendError, TensorSpec
from compiler.frontend.specs import NUMPY
from passes.mlir import arith, ir, linalg

VIEWS = ("linalg.transpose", "tensor.collapse_shape", "tensor.expand_shape")
Weights = dict[int, tuple[str, Array]]  # by argument number


def tensor_spec(name: str, type_: Any) -> TensorSpec:
    """The spec of a static ranked tensor type; raises FrontendError for anything else."""
    if not isinstance(type_, ir.RankedTensorType):
        raise FrontendError(f"{name}: {type_} is not a tensor")
    if not type_.has_static_shape:
        raise FrontendError(f"{name}: {type_} has a dynamic shape; shapes must be static: write the sizes")
    element = str(type_.element_type)
    if element not in NUMPY and element != "bf16":
        raise FrontendError(f"{name}: {type_} has elements that seerc has no kernels for; known: {', '.join(NUMPY)}")
    return TensorSpec(name, tuple(type_.shape), element)


def extract_weights(
    main: Any, arrays: Mapping[str, Array], blobs: Mapping[str, bytes] | None = None
) -> dict[str, Array]:
    """The weights of @main in the order of its arguments, once nothing that is known at build time is left in it.

    @main already takes `arrays` first. Its dense constants become further weights, splat ones `linalg.fill`; transposed
    and reshaped weights become weights (views where NumPy can); weights without users are dropped. Names every weight
    argument. `blobs` holds the data of `dense_resource` constants by key.
    """
    block = main.regions[0].blocks[0]
    inputs = list(block.arguments)[len(arrays) :]
    weights = dict(enumerate(arrays.items()))
    for op in list(block.operations):
        operation = op.operation
        if operation.name == "arith.constant" and isinstance(operation.results[0].type, ir.RankedTensorType):
            _take_constant(block, operation, weights, blobs or {})
        elif operation.name in VIEWS and isinstance(operation.operands[0].owner, ir.Block):
            _take_view(block, operation, weights)
    return _arrange(main, block, inputs, weights)


def _take_constant(block: Any, op: Any, weights: Weights, blobs: Mapping[str, bytes]) -> None:
    value = op.attributes["value"]
    if isinstance(value, ir.DenseElementsAttr) and value.is_splat:
        _fill(op, value)
    else:
        _become_weight(block, op, weights, "constant.literal", _array(op.results[0].type, value, blobs))


def _take_view(block: Any, op: Any, weights: Weights) -> None:
    if op.operands[0].arg_number not in weights:
        return
    name, array = weights[op.operands[0].arg_number]
    if op.name == "linalg.transpose":
        array = array.transpose(list(op.attributes["permutation"]))
    else:
        array = array.reshape(op.results[0].type.shape)
    _become_weight(block, op, weights, f"{name}.view", array)


def _become_weight(block: Any, op: Any, weights: Weights, name: str, array: Array) -> None:
    """Replaces `op` by a new argument that holds `array`."""
    taken = {n for n, _ in weights.values()}
    unique = next(n for n in (name, *(f"{name}.{k}" for k in range(1, len(taken) + 2))) if n not in taken)
    argument = block.add_argument(op.results[0].type, op.location)
    weights[argument.arg_number] = unique, array
    op.results[0].replace_all_uses_with(argument)
    op.erase()


def _arrange(main: Any, block: Any, inputs: Sequence[Any], weights: Weights) -> dict[str, Array]:
    """Puts the weights that are used first and the inputs last, and writes @main's type and argument names."""
    old = [block.arguments[k] for k in weights if any(True for _ in block.arguments[k].uses)]
    kept = dict(weights[a.arg_number] for a in old)
    count = len(block.arguments)
    for argument in [*old, *inputs]:
        argument.replace_all_uses_with(block.add_argument(argument.type, argument.location))
    for number in reversed(range(count)):
        block.erase_argument(number)
    types = [a.type for a in block.arguments]
    main.operation.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(types, main.type.results))
    named = [ir.DictAttr.get({"seerc.weight": ir.StringAttr.get(n)}) for n in kept]
    main.operation.attributes["arg_attrs"] = ir.ArrayAttr.get([*named, *[ir.DictAttr.get({})] * len(inputs)])
    for attribute in [n for n in main.operation.attributes if n.startswith(("torch.", "llvm."))]:
        del main.operation.attributes[attribute]
    return kept


def _fill(op: Any, value: Any) -> None:
    """Replaces a splat tensor constant by a fill; constants inside other ops' regions hold no tensors."""
    with ir.InsertionPoint(op), op.location:
        scalar = arith.ConstantOp(value.type.element_type, value.get_splat_value()).result
        empty = ir.Operation.create("tensor.empty", [op.results[0].type]).results[0]
        filled = linalg.fill(scalar, outs=[empty])
    op.results[0].replace_all_uses_with(filled)
    op.erase()


def _array(type_: Any, value: Any, blobs: Mapping[str, bytes]) -> Array:
    """A constant's elements in its tensor shape; i1 becomes bool."""
    spec = tensor_spec("constant", type_)
    if isinstance(value, ir.DenseElementsAttr):
        return np.array(value).reshape(spec.shape)
    key = str(value).removeprefix("dense_resource<").split(">")[0]
    if key not in blobs or spec.dtype not in NUMPY or spec.dtype == "i1":
        raise FrontendError(f"the constant {str(value)[:80]} has no data that can be read")
    return np.frombuffer(blobs[key], NUMPY[spec.dtype]).reshape(spec.shape)

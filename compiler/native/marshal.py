"""Arguments of a program call: arrays or tensors to checked pointers, and outputs of the same kind."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from compiler.native.manifest import NUMPY_NAMES, TensorSpec
from costmodel.errors import SeercError

Array = np.ndarray[Any, Any]


def address(value: Any) -> int:
    """Where the first element of an array or tensor lies."""
    return value.__array_interface__["data"][0] if isinstance(value, np.ndarray) else value.data_ptr()


class Marshal:
    """Checks and converts the arguments of one program."""

    def __init__(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._numpy_inputs = [_numpy_dtype(spec) for spec in inputs]
        self._numpy_outputs = [_numpy_dtype(spec) for spec in outputs]
        self._input_pointers = ctypes.c_void_p * max(1, len(inputs))
        self._output_pointers = ctypes.c_void_p * max(1, len(outputs))

    def prepare(self, arguments: Sequence[Any]) -> tuple[list[Any], Any, list[Any], Any]:
        """(contiguous inputs, their pointers, fresh outputs, their pointers); keep the inputs alive over the call."""
        if len(arguments) != len(self.inputs):
            names = ", ".join(f"{spec.name}: {spec}" for spec in self.inputs)
            raise SeercError(f"the program takes {len(self.inputs)} inputs ({names}), got {len(arguments)}")
        torch = sys.modules.get("torch")
        is_tensor = [torch is not None and isinstance(value, torch.Tensor) for value in arguments]
        ready = [
            self._tensor(index, value, torch) if tensor else self._array(index, value)
            for index, (value, tensor) in enumerate(zip(arguments, is_tensor, strict=True))
        ]
        if any(is_tensor):
            outputs = [_tensor_like(spec, torch) for spec in self.outputs]
        else:
            outputs = [self._empty(index) for index in range(len(self.outputs))]
        to = self._output_pointers(*map(address, outputs))
        return ready, self._input_pointers(*map(address, ready)), outputs, to

    def bind(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> tuple[list[Array], Any, Any]:
        """(the arrays, pointers of the inputs, pointers of the outputs); SeercError where one does not fit."""
        specs = ((self.inputs, self._numpy_inputs, inputs), (self.outputs, self._numpy_outputs, outputs))
        for places, dtypes, arrays in specs:
            for index, (spec, dtype, array) in enumerate(zip(places, dtypes, arrays, strict=True)):
                if array.dtype != dtype or array.shape != spec.shape or not array.flags.c_contiguous:
                    raise _mismatch(index, spec, f"{array.dtype}[{', '.join(map(str, array.shape))}]")
        pointers = self._input_pointers(*map(address, inputs)), self._output_pointers(*map(address, outputs))
        return [*inputs, *outputs], *pointers

    def _empty(self, index: int) -> Array:
        spec, dtype = self.outputs[index], self._numpy_outputs[index]
        if dtype is None:
            raise SeercError(f"output {spec.name!r} is {spec}, which NumPy lacks: pass torch tensors")
        return np.empty(spec.shape, dtype)

    def _array(self, index: int, value: Any) -> Array:
        spec = self.inputs[index]
        if not isinstance(value, np.ndarray | np.generic):
            raise SeercError(
                f"input {index} ({spec.name}) must be a NumPy array or a CPU torch tensor, got {type(value).__name__}"
            )
        if value.dtype != self._numpy_inputs[index] or value.shape != spec.shape:
            raise _mismatch(index, spec, f"{value.dtype}[{', '.join(map(str, value.shape))}]")
        return np.ascontiguousarray(value).reshape(spec.shape)

    def _tensor(self, index: int, value: Any, torch: Any) -> Any:
        spec = self.inputs[index]
        if value.device.type != "cpu":
            raise SeercError(f"input {index} ({spec.name}) lies on {value.device}: move it with .cpu()")
        if value.dtype != getattr(torch, NUMPY_NAMES[spec.dtype]) or tuple(value.shape) != spec.shape:
            got = f"{str(value.dtype).removeprefix('torch.')}[{', '.join(map(str, value.shape))}]"
            raise _mismatch(index, spec, got)
        return value.detach().contiguous()


def _mismatch(index: int, spec: TensorSpec, got: str) -> SeercError:
    return SeercError(f"input {index} ({spec.name}) must be {spec}, got {got}")


def _tensor_like(spec: TensorSpec, torch: Any) -> Any:
    return torch.empty(spec.shape, dtype=getattr(torch, NUMPY_NAMES[spec.dtype]))


def _numpy_dtype(spec: TensorSpec) -> np.dtype[Any] | None:
    return None if spec.dtype == "bf16" else np.dtype(NUMPY_NAMES[spec.dtype])

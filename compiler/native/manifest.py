"""What a saved program says about itself: specifications, weights, hashes, the instruction set it needs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from costmodel.errors import SeercError

FORMAT = 1
NAME = "manifest.json"
ALIGNMENT = 64
NUMPY_NAMES = {
    "i1": "bool", "ui8": "uint8", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
    "f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64",
}  # fmt: skip
"""MLIR element types and their names in NumPy and PyTorch; i1 takes one byte an element."""


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: row-major, `dtype` an MLIR element type (a key of NUMPY_NAMES)."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "f32"

    def __post_init__(self) -> None:
        if self.dtype not in NUMPY_NAMES:
            raise SeercError(f"tensor {self.name!r}: dtype {self.dtype} is not one of {', '.join(NUMPY_NAMES)}")

    @property
    def item_bytes(self) -> int:
        return max(1, int(self.dtype.lstrip("uibf")) // 8)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.item_bytes

    def __str__(self) -> str:
        return f"{NUMPY_NAMES[self.dtype]}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class WeightSpec(TensorSpec):
    """A packed array in the weights blob, `offset` bytes from its start."""

    offset: int = 0


def place_weights(specs: Sequence[TensorSpec]) -> list[WeightSpec]:
    """The arrays one after the other, each at the next multiple of 64 bytes."""
    placed: list[WeightSpec] = []
    end = 0
    for spec in specs:
        offset = -(-end // ALIGNMENT) * ALIGNMENT
        placed.append(WeightSpec(spec.name, spec.shape, spec.dtype, offset))
        end = offset + spec.nbytes
    return placed


_SPECS: dict[str, Any] = {"inputs": TensorSpec, "outputs": TensorSpec, "weights": WeightSpec}


@dataclass(frozen=True)
class Manifest:
    """The record in manifest.json; `plan` is any JSON."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    workspace_bytes: int
    weights: tuple[WeightSpec, ...] = ()
    isa: tuple[str, ...] = ()
    """CPU flags, as in /proc/cpuinfo, that the code needs."""
    plan: Any = None
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """File name to `bytes` and `sha256`."""
    seerc: str = ""
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        """Write manifest.json into a folder that is not yet in its place."""
        (folder / NAME).write_text(json.dumps(asdict(self), indent=1) + "\n")

    @staticmethod
    def read(folder: Path) -> Manifest:
        """The manifest of `folder`; SeercError if it is absent, unreadable or of another format."""
        path = folder / NAME
        try:
            found: Any = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise SeercError(f"{folder} is not a seerc program: cannot read {NAME}: {error}") from error
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            version = found.get("format") if isinstance(found, dict) else None
            raise SeercError(
                f"{folder} has program format {version}, this seerc reads {FORMAT}: compile the model again"
            )
        try:
            for key, kind in _SPECS.items():
                found[key] = tuple(kind(**{**spec, "shape": tuple(spec["shape"])}) for spec in found[key])
            found["isa"] = tuple(found["isa"])
            return Manifest(**found)
        except (KeyError, TypeError) as error:
            raise SeercError(f"{path} is damaged ({error}): compile the model again") from error

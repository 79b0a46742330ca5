"""Dynamic sizes by one program per bucket: the smallest that fits runs, inputs padded to it, outputs cut."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from operator import le
from pathlib import Path
from typing import Any

import numpy as np

from compiler.native.manifest import TensorSpec
from compiler.native.program import Program, save_folder
from costmodel.errors import SeercError

_INDEX = "manifest.json"
Padding = float | int | bool | None


class BucketedProgram:
    """Programs of one model at several sizes.

    Args:
        programs: same numbers and ranks of inputs and outputs, dtypes alike.
        padding: for each input the value that fills it up to the bucket, None if its shape must match exactly.

    An output dimension that varies over the programs as an input dimension does is cut to the caller's size of that.
    """

    def __init__(self, programs: Sequence[Program], padding: Sequence[Padding]) -> None:
        if not programs:
            raise SeercError("a bucketed program needs at least one program")
        self.programs = sorted(programs, key=lambda p: sum(math.prod(spec.shape) for spec in p.inputs))
        self.padding = tuple(padding)
        if len(self.padding) != len(programs[0].inputs):
            raise SeercError(f"{len(self.padding)} padding rules for {len(programs[0].inputs)} inputs")
        self._cuts = _cuts(self.programs)

    def __call__(self, *arguments: Any, threads: int | None = None) -> list[Any]:
        """Run the smallest program that the arguments fit into."""
        shapes = [tuple(getattr(value, "shape", ())) for value in arguments]
        program = next((p for p in self.programs if self._fits(p, shapes)), None)
        if program is None:
            largest = ", ".join(map(str, self.programs[-1].inputs))
            raise SeercError(f"no bucket holds inputs of shapes {shapes}; the largest takes {largest}")
        fill = zip(program.inputs, arguments, self.padding, strict=True)
        outputs = program(*(_padded(spec, value, pad) for spec, value, pad in fill), threads=threads)
        for (output, dim), (source, source_dim) in self._cuts.items():
            size = shapes[source][source_dim]
            outputs[output] = outputs[output][(slice(None),) * dim + (slice(0, size),)]
        return outputs

    def save(self, folder: Path | str) -> None:
        """One program a bucket in subfolders, whole or not at all."""

        def write(made: Path) -> None:
            for index, program in enumerate(self.programs):
                program.save(made / f"bucket-{index}")
            record = {"buckets": len(self.programs), "padding": self.padding}
            (made / _INDEX).write_text(json.dumps(record) + "\n")

        save_folder(Path(folder), write)

    @staticmethod
    def load(folder: Path | str) -> BucketedProgram:
        """What `save` wrote; SeercError if it is damaged."""
        try:
            record = json.loads((Path(folder) / _INDEX).read_text())
            count, padding = int(record["buckets"]), record["padding"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SeercError(f"{folder} is not a bucketed seerc program: {error}") from error
        return BucketedProgram([Program.load(Path(folder) / f"bucket-{i}") for i in range(count)], padding)

    def _fits(self, program: Program, shapes: Sequence[tuple[int, ...]]) -> bool:
        if len(shapes) != len(program.inputs):
            return False
        return all(
            len(shape) == len(spec.shape)
            and (shape == spec.shape or (pad is not None and all(map(le, shape, spec.shape))))
            for shape, spec, pad in zip(shapes, program.inputs, self.padding, strict=True)
        )


def _padded(spec: TensorSpec, value: Any, pad: Padding) -> Any:
    if tuple(value.shape) == spec.shape or pad is None:
        return value
    corner = tuple(slice(0, size) for size in value.shape)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        full = torch.full(spec.shape, pad, dtype=value.dtype)
    else:
        full = np.full(spec.shape, pad, dtype=value.dtype)
    full[corner] = value
    return full


def _cuts(programs: Sequence[Program]) -> dict[tuple[int, int], tuple[int, int]]:
    """(output, dimension) -> (input, dimension) whose sizes over the programs are the same and not constant."""
    sources = {sizes: place for place, sizes in reversed(_varying([p.inputs for p in programs]))}
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for place, sizes in _varying([p.outputs for p in programs]):
        if sizes not in sources:
            raise SeercError(f"output {place[0]} varies in dimension {place[1]} ({sizes}) as no input does")
        found[place] = sources[sizes]
    return found


def _varying(specs: Sequence[Sequence[TensorSpec]]) -> list[tuple[tuple[int, int], tuple[int, ...]]]:
    found: list[tuple[tuple[int, int], tuple[int, ...]]] = []
    for index, first in enumerate(specs[0]):
        for dim in range(len(first.shape)):
            sizes = tuple(one[index].shape[dim] for one in specs)
            if len(set(sizes)) > 1:
                found.append(((index, dim), sizes))
    return found

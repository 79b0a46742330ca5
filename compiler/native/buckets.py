"""Dynamic sizes by one program per bucket: the smallest that fits runs, inputs padded to it, outputs cut."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Sequence
from operator import le
from pathlib import Path
from typing import Any

import numpy as np

from compiler.native.manifest import FORMAT, NAME, NUMPY_NAMES, TensorSpec
from compiler.native.program import FILES, WEIGHTS, Program, save_folder
from costmodel.errors import SeercError

Padding = float | int | bool | None
Dimension = tuple[int, int]
"""Number of the input or output, number of the dimension."""


class BucketedProgram:
    """Programs of one model at several sizes; call it as one program.

    Args:
        programs: same numbers and ranks of inputs and outputs, dtypes alike.
        padding: for each input the value that fills it up to the bucket, None if its shape must match exactly.

    An output dimension that varies over the programs as an input dimension does is cut to the caller's size of that.
    Padding must not change what is not padding: give the model an attention mask, or a batch whose rows do not meet.
    """

    def __init__(self, programs: Sequence[Program], padding: Sequence[Padding]) -> None:
        if not programs:
            raise SeercError("a bucketed program needs at least one program")
        self.programs = sorted(programs, key=lambda p: sum(math.prod(spec.shape) for spec in p.inputs))
        self.padding = tuple(padding)
        if len(self.padding) != len(self.inputs):
            raise SeercError(f"{len(self.padding)} padding rules for {len(self.inputs)} inputs")
        for spec, pad in zip(self.inputs, self.padding, strict=True):
            _check_padding(spec, pad)
        self._cuts = _cuts(self.programs)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Of the largest program."""
        return self.programs[-1].inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Of the largest program."""
        return self.programs[-1].outputs

    def __call__(self, *arguments: Any, threads: int | None = None) -> list[Any]:
        """Run the smallest program that the arguments fit into."""
        shapes = [tuple(getattr(value, "shape", ())) for value in arguments]
        program = self.select(shapes)
        sizes = {place: self._size(place, sources, shapes) for place, sources in self._cuts.items()}
        fill = zip(program.inputs, arguments, self.padding, strict=True)
        outputs = program(*(_padded(spec, value, pad) for spec, value, pad in fill), threads=threads)
        for (output, dim), size in sizes.items():
            outputs[output] = outputs[output][(slice(None),) * dim + (slice(0, size),)]
        return outputs

    def select(self, shapes: Sequence[tuple[int, ...]]) -> Program:
        """The smallest program that inputs of these shapes fit into; SeercError if there is none."""
        if len(shapes) != len(self.inputs):
            names = ", ".join(spec.name for spec in self.inputs)
            raise SeercError(f"the program takes {len(self.inputs)} inputs ({names}), got {len(shapes)}")
        program = next((p for p in self.programs if self._fits(p, shapes)), None)
        if program is None:
            got = ", ".join(str(list(shape)) for shape in shapes)
            buckets = "; ".join(", ".join(str(list(spec.shape)) for spec in p.inputs) for p in self.programs)
            raise SeercError(f"no bucket holds inputs of shapes {got}; the buckets: {buckets}")
        return program

    def save(self, folder: Path | str) -> None:
        """One program a bucket in subfolders, whole or not at all; equal weights are one file with several names."""

        def write(made: Path) -> None:
            written: list[tuple[Program, Path]] = []
            for index, program in enumerate(self.programs):
                copy_program(program, made / f"bucket-{index}", written)
                written.append((program, made / f"bucket-{index}"))
            record = {"format": FORMAT, "buckets": len(self.programs), "padding": self.padding}
            (made / NAME).write_text(json.dumps(record) + "\n")

        save_folder(Path(folder), write)

    @staticmethod
    def load(folder: Path | str) -> BucketedProgram:
        """What `save` wrote; SeercError if it is damaged."""
        try:
            record = json.loads((Path(folder) / NAME).read_text())
            found, count, padding = record["format"], int(record["buckets"]), tuple(record["padding"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SeercError(f"{folder} is not a bucketed seerc program: cannot read {NAME}: {error}") from error
        if found != FORMAT:
            raise SeercError(f"{folder} has program format {found}, this seerc reads {FORMAT}: compile the model again")
        return BucketedProgram([Program.load(Path(folder) / f"bucket-{i}") for i in range(count)], padding)

    def _fits(self, program: Program, shapes: Sequence[tuple[int, ...]]) -> bool:
        return all(
            len(shape) == len(spec.shape)
            and (shape == spec.shape or (pad is not None and all(map(le, shape, spec.shape))))
            for shape, spec, pad in zip(shapes, program.inputs, self.padding, strict=True)
        )

    def _size(self, place: Dimension, sources: Sequence[Dimension], shapes: Sequence[tuple[int, ...]]) -> int:
        sizes = {shapes[index][dim] for index, dim in sources}
        if len(sizes) > 1:
            names = " and ".join(f"dimension {dim} of {self.inputs[index].name}" for index, dim in sources)
            raise SeercError(f"output {place[0]} cannot be cut: {names} differ in this call: {sorted(sizes)}")
        return sizes.pop()


def load_program(folder: Path | str) -> Program | BucketedProgram:
    """The program in `folder`, of one shape or in buckets; SeercError if it is damaged or made for another CPU."""
    try:
        record: Any = json.loads((Path(folder) / NAME).read_text())
    except (OSError, ValueError):
        return Program.load(folder)  # which says what is wrong
    bucketed = isinstance(record, dict) and "buckets" in record
    return BucketedProgram.load(folder) if bucketed else Program.load(folder)


def _check_padding(spec: TensorSpec, pad: Padding) -> None:
    """SeercError where the input's type cannot hold the padding: a cast would pad with something else."""
    name = NUMPY_NAMES[spec.dtype]
    if pad is None or "float" in name:
        return
    low, high = (0, 1) if name == "bool" else (np.iinfo(name).min, np.iinfo(name).max)
    if not low <= pad <= high or int(pad) != pad:
        raise SeercError(f"input {spec.name!r} is {name}: it cannot be padded with {pad}")


def _padded(spec: TensorSpec, value: Any, pad: Padding) -> Any:
    if pad is None or not hasattr(value, "shape") or tuple(value.shape) == spec.shape:
        return value
    corner = tuple(slice(0, size) for size in value.shape)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        full = torch.full(spec.shape, pad, dtype=value.dtype)
        full[corner] = value.detach()
    else:
        full = np.full(spec.shape, pad, dtype=value.dtype)
        full[corner] = value
    return full


def _cuts(programs: Sequence[Program]) -> dict[Dimension, list[Dimension]]:
    """Output dimension -> the input dimensions whose sizes over the programs are the same and not constant."""
    inputs = _varying([p.inputs for p in programs])
    found: dict[Dimension, list[Dimension]] = {}
    for place, sizes in _varying([p.outputs for p in programs]):
        found[place] = [source for source, others in inputs if others == sizes]
        if not found[place]:
            raise SeercError(f"output {place[0]} varies in dimension {place[1]} ({sizes}) as no input does")
    return found


def _varying(specs: Sequence[Sequence[TensorSpec]]) -> list[tuple[Dimension, tuple[int, ...]]]:
    found: list[tuple[Dimension, tuple[int, ...]]] = []
    for index, first in enumerate(specs[0]):
        for dim in range(len(first.shape)):
            sizes = tuple(one[index].shape[dim] for one in specs)
            if len(set(sizes)) > 1:
                found.append(((index, dim), sizes))
    return found


def copy_program(program: Program, to: Path, earlier: Sequence[tuple[Program, Path]]) -> None:
    """The program's files; weights equal to an earlier program's are a link to its copy, where there are links."""
    to.mkdir()
    same = [path for other, path in earlier if other.manifest.files[WEIGHTS] == program.manifest.files[WEIGHTS]]
    for name in FILES:
        if name != WEIGHTS or not (same and _link(same[0] / name, to / name)):
            shutil.copyfile(program.folder / name, to / name)


def _link(old: Path, new: Path) -> bool:
    try:
        os.link(old, new)
    except OSError:
        return False
    return True

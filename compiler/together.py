"""Several programs of one model - at several shapes - that share one weights file.

Each array is stored once for each way in which it is packed; programs prefer the packing of those before them.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compiler.driver import CompileOptions, Stages, link_program, lower_model, make_plan
from compiler.frontend.model import Array, ImportedModel
from compiler.native.manifest import Manifest
from compiler.native.manifest import TensorSpec as ProgramSpec
from compiler.native.program import WEIGHTS, Program
from compiler.plan.assemble import KernelInfo, Sources, assemble
from compiler.target import host_features
from costmodel.region.roles import Packing


def compile_together(
    models: Sequence[ImportedModel], options: CompileOptions, order: Sequence[int] | None = None
) -> list[Program]:
    """One program a model; arrays that are equal, whatever their names, are shared.

    `order`: indices of the models, those first whose time depends most on how weights are packed; default: those with
    the largest inputs.
    """
    names, weights = _join_weights(models)
    order = sorted(range(len(models)), key=lambda index: -_elements(models[index])) if order is None else order
    stages: dict[int, Stages] = {}
    sources: Sources = {}
    for index in order:
        model, renamed = models[index], names[index]
        widths = {name: p.width for name, p in sources if isinstance(p, Packing)}
        panels = {name: widths[unique] for name, unique in renamed.items() if unique in widths}
        lowered = lower_model(model, options, panels=panels)
        planned = replace(lowered.planned, weights={b: renamed[n] for b, n in lowered.planned.weights.items()})
        infos = {key: KernelInfo(key, k.packing, k.scratch_bytes) for key, k in lowered.kernels.items()}
        assembly = assemble(planned, infos, weights, sources)
        stages[index] = replace(lowered, planned=planned, assembly=assembly)
    last, programs = stages[order[-1]], list[Program]()
    for index, model in enumerate(models):
        shared = programs[0].folder / WEIGHTS if programs else last.assembly.arrays(weights)
        programs.append(_link(model, stages[index], last, shared))
    return programs


def _elements(model: ImportedModel) -> int:
    return sum(math.prod(spec.shape) for spec in model.inputs)


def _link(model: ImportedModel, stages: Stages, last: Stages, weights: Any) -> Program:
    """The program of one model; its offsets hold in the weights of the last, which begin with those of all others."""
    inputs = tuple(ProgramSpec(s.name, s.shape, s.dtype) for s in model.inputs)
    outputs = tuple(ProgramSpec(s.name, s.shape, s.dtype) for s in model.outputs)
    plan, assembly = make_plan(model, stages), stages.assembly
    manifest = Manifest(inputs, outputs, assembly.workspace_bytes, last.assembly.weights, host_features(), plan)
    with tempfile.TemporaryDirectory(prefix="seerc-") as folder:
        library = Path(folder) / "program.so"
        link_program(stages, len(inputs), len(outputs), Path(folder), library)
        return Program.build(library, weights, manifest)


def _join_weights(models: Sequence[ImportedModel]) -> tuple[list[dict[str, str]], dict[str, Array]]:
    """Every distinct array under one name, and for each model what its weights are called there."""
    pool: dict[str, Array] = {}
    names: list[dict[str, str]] = []
    for model in models:
        names.append({})
        for name, array in model.weights.items():
            unique, count = name, 0
            while unique in pool and not _same(pool[unique], array):
                count += 1
                unique = f"{name}@{count}"
            pool.setdefault(unique, array)
            names[-1][name] = unique
    return names, pool


def _same(a: Array, b: Array) -> bool:
    """Equal bit for bit, and laid out alike."""
    if (a.dtype, a.shape, a.strides) != (b.dtype, b.shape, b.strides):
        return False
    return a.__array_interface__["data"] == b.__array_interface__["data"] or a.tobytes() == b.tobytes()

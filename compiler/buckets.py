"""One model at several input shapes: imported and compiled once a bucket, the packed weights of all in one file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compiler.driver import CompileOptions, Stages, link_program, lower_model, make_plan
from compiler.frontend.load import from_module, inputs_for, load_model
from compiler.frontend.model import Array, ImportedModel, LoadedModel, TensorSpec
from compiler.native.buckets import BucketedProgram, Padding
from compiler.native.manifest import Manifest
from compiler.native.manifest import TensorSpec as ProgramSpec
from compiler.native.program import WEIGHTS, Program
from compiler.plan.assemble import KernelInfo, Sources, assemble
from compiler.target import host_features
from costmodel.errors import SeercError, unknown_name

Buckets = Mapping[str, Sequence[Sequence[int]]]
"""Input name to its shapes: the k-th of each make the k-th bucket. Inputs that are not named keep their shape."""


def load_buckets(loaded: LoadedModel, spec: str | None, buckets: Buckets) -> list[ImportedModel]:
    """The model imported at the shapes of each bucket.

    `loaded` is the model at any shape; its torch module is imported again, or where there is none the file `spec`.
    Raises SeercError for names and shapes that do not fit the model, and for files that fix their shapes.
    """
    inputs = loaded.imported.inputs
    return [_import(loaded, spec, specs) for specs in bucket_specs(inputs, buckets)]


def bucket_specs(inputs: Sequence[TensorSpec], buckets: Buckets) -> list[tuple[TensorSpec, ...]]:
    """The input specs of each bucket; SeercError where `buckets` does not fit `inputs`."""
    known = {spec.name: spec for spec in inputs}
    for name, shapes in buckets.items():
        if name not in known:
            raise unknown_name("input", name, known)
        for shape in shapes:
            if len(shape) != len(known[name].shape) or min(shape, default=1) < 1:
                raise SeercError(f"bucket {list(shape)} of input {name!r} must be like {list(known[name].shape)}")
    counts = {name: len(shapes) for name, shapes in buckets.items()}
    if not counts or set(counts.values()) == {0} or len(set(counts.values())) > 1:
        raise SeercError(f"each input needs one shape a bucket, got {counts or 'no buckets'}")
    shaped = [dict(zip(buckets, shapes, strict=True)) for shapes in zip(*buckets.values(), strict=True)]
    return [tuple(replace(s, shape=tuple(one.get(s.name, s.shape))) for s in inputs) for one in shaped]


def _import(loaded: LoadedModel, spec: str | None, specs: tuple[TensorSpec, ...]) -> ImportedModel:
    imported = loaded.imported
    if specs == imported.inputs:
        return imported
    if spec is not None and (loaded.module is None or spec.endswith(".pt2")):
        return load_model(spec, [str(s) for s in specs]).imported
    made = from_module(loaded.module, inputs_for(loaded.module, specs), imported.name).imported
    return replace(made, sources=imported.sources)


def compile_buckets(
    models: Sequence[ImportedModel], buckets: Buckets, padding: Mapping[str, Padding], options: CompileOptions
) -> BucketedProgram:
    """Compiles each bucket.

    Args:
        models: one a bucket, as `load_buckets` makes them.
        buckets: its inputs are padded.
        padding: with what, by input name: 0 where it says nothing, None for shapes that must match exactly.
    """
    for name in padding:
        if name not in buckets:
            raise unknown_name("bucketed input", name, buckets)
    names, weights = _join_weights(models)
    stages: list[Stages] = []
    sources: Sources = {}
    for model, renamed in zip(models, names, strict=True):
        lowered = lower_model(model, options)
        planned = replace(lowered.planned, weights={b: renamed[n] for b, n in lowered.planned.weights.items()})
        infos = {key: KernelInfo(key, k.packing, k.scratch_bytes) for key, k in lowered.kernels.items()}
        assembly = assemble(planned, infos, weights, sources)
        stages.append(replace(lowered, planned=planned, assembly=assembly))
    programs: list[Program] = []
    for model, lowered in zip(models, stages, strict=True):
        shared = programs[0].folder / WEIGHTS if programs else stages[-1].assembly.arrays(weights)
        programs.append(_link(model, lowered, stages[-1], shared))
    rules = [padding.get(s.name, 0) if s.name in buckets else None for s in models[0].inputs]
    return BucketedProgram(programs, rules)


def _link(model: ImportedModel, stages: Stages, last: Stages, weights: Any) -> Program:
    """The program of one bucket; its offsets hold in the weights of the last, which begin with those of all others."""
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

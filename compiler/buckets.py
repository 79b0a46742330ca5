"""One model at several input shapes: imported and compiled once a bucket, the packed weights of all in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from compiler.driver import CompileOptions
from compiler.frontend.load import from_module, inputs_for, load_model
from compiler.frontend.model import ImportedModel, LoadedModel, TensorSpec
from compiler.native.buckets import BucketedProgram, Padding
from compiler.together import compile_together
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
    programs = compile_together(models, options)
    rules = [padding.get(s.name, 0) if s.name in buckets else None for s in models[0].inputs]
    return BucketedProgram(programs, rules)

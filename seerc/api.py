"""What `import seerc` offers beside classes: compile a model, predict what a text will cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from costmodel.errors import SeercError

if TYPE_CHECKING:
    from compiler.buckets import Buckets
    from compiler.native.buckets import BucketedProgram, Padding
    from compiler.native.program import Program
    from costmodel.protocol import CostModel, Value
    from costmodel.target import Target


@dataclass(frozen=True)
class FunctionPrediction:
    """The metrics of one function under one schedule; `workload` is the hash of its canonical text."""

    name: str
    workload: str
    schedule: str | None
    metrics: Mapping[str, Value]


@overload
def compile(
    model: Any, inputs: Sequence[Any] | None = None, *, cost_model: str = "default", jobs: int = 0
) -> Program: ...
@overload
def compile(
    model: Any,
    inputs: Sequence[Any] | None = None,
    *,
    buckets: Buckets,
    padding: Mapping[str, Padding] | None = None,
    cost_model: str = "default",
    jobs: int = 0,
) -> BucketedProgram: ...
def compile(
    model: Any,
    inputs: Sequence[Any] | None = None,
    *,
    buckets: Buckets | None = None,
    padding: Mapping[str, Padding] | None = None,
    cost_model: str = "default",
    jobs: int = 0,
) -> Program | BucketedProgram:
    """Compile a model for this machine, for one shape of its inputs or for several.

    With `buckets` a call may have any shapes that fit into one of them: the smallest such program runs, its inputs
    padded up to its shapes and its outputs cut back. All share one file of packed weights.

        seerc.compile("zoo:bert", buckets={"input_ids": [(1, 32), (1, 128)], "attention_mask": [(1, 32), (1, 128)]})

    Args:
        model: what the command line takes (`zoo:mlp`, `package.module:factory`, a folder, a file), or a torch module.
        inputs: for a torch module its example tensors; else specs such as `ids=1x128xi64` in place of the model's own.
        buckets: input name to its shapes; the k-th of each make the k-th bucket.
        padding: what fills a bucketed input: 0 if not given, None for a shape that must match exactly.
        cost_model: `default`, `none`, `analytic`, the name of a plugin, or a folder.
        jobs: processes that compile kernels; 0 for one a CPU.

    Raises:
        SeercError: the model cannot be found, imported or compiled.
    """
    from compiler.driver import CompileOptions, compile_model
    from compiler.frontend.load import from_module, load_model
    from compiler.target import detect_target
    from costmodel.protocol import load_cost_model

    if padding is not None and buckets is None:
        raise SeercError("padding without buckets: give the shapes too, as in buckets={'ids': [(1, 32), (1, 64)]}")
    load_cost_model(cost_model, detect_target())  # a wrong name costs no import
    if isinstance(model, str):
        loaded = load_model(model, inputs)
    elif inputs is None:
        raise SeercError(f"compiling a {type(model).__name__} needs its example tensors: seerc.compile(model, (x,))")
    else:
        loaded = from_module(model, tuple(inputs), type(model).__name__)
    options = CompileOptions(cost_model=cost_model, jobs=jobs)
    if buckets is None:
        return compile_model(loaded.imported, options)
    from compiler.buckets import compile_buckets, load_buckets

    models = load_buckets(loaded, model if isinstance(model, str) else None, buckets)
    return compile_buckets(models, buckets, padding or {}, options)


def predict(
    text: str,
    *,
    cost_model: str | CostModel = "default",
    target: Target | None = None,
    metrics: Sequence[str] | None = None,
    schedules: Sequence[str] = (),
) -> list[FunctionPrediction]:
    """Predict every region function of an MLIR text: those with an operation marked `seerc.root`.

    A cost model of users' own data (`any_function`) predicts every function.

    Args:
        text: MLIR, for instance what `seerc-fuse` made.
        cost_model: a name or folder, or an object with `predict`.
        target: the machine; None for this one.
        metrics: names of costmodel.protocol.metrics_of; None for all that the model knows.
        schedules: `{...}` attributes to try on each function, in place of its own schedule.

    Raises:
        SeercError: the text has no such function or cannot be read, or the cost model is unknown.
    """
    from compiler.target import detect_target
    from costmodel.protocol import load_cost_model
    from costmodel.text import join_candidate, split_candidate, workload_hash

    target = target or detect_target()
    model = load_cost_model(cost_model, target) if isinstance(cost_model, str) else cost_model
    if model is None:
        raise SeercError("the cost model `none` is a fixed heuristic and predicts nothing: choose default or analytic")
    cases: list[tuple[str, str, str]] = []
    for name, function in _regions(text, every=bool(getattr(model, "any_function", False))):
        workload = split_candidate(function)[0]
        texts = [join_candidate(workload, schedule) for schedule in schedules] or [function]
        cases += [(name, workload_hash(workload), candidate) for candidate in texts]
    found = model.predict([candidate for _, _, candidate in cases], target, metrics)
    return [
        FunctionPrediction(name, workload, split_candidate(candidate)[1], prediction)
        for (name, workload, candidate), prediction in zip(cases, found, strict=True)
    ]


def _regions(text: str, every: bool) -> list[tuple[str, str]]:
    from costmodel.text import canonical_functions

    found = [(name, function) for name, function in canonical_functions(text) if every or "seerc.root" in function]
    if not found:
        raise SeercError("no function has an operation marked seerc.root, so there is no workload to predict")
    return found

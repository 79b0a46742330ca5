"""The main job: an imported model in, a program out.

fuse -> layout -> schedules -> kernels (child processes, cache) -> link -> Program. Every decision and the prediction
behind it goes into the plan, which the program carries.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from compiler.cache import Cache
from compiler.decisions import Decisions, decisions_key, load_decisions
from compiler.frontend.model import ImportedModel
from compiler.kernels import Compiled, compile_all
from compiler.native.link import link_shared
from compiler.native.main import emit_main
from compiler.native.manifest import Manifest, TensorSpec
from compiler.native.program import Program
from compiler.plan.assemble import Assembly, KernelInfo, assemble
from compiler.plan.layout import plan_layout
from compiler.plan.steps import Steps, calls
from compiler.plan.trace import write_calls
from compiler.target import detect_target, host_features
from costmodel.errors import SeercError
from costmodel.files import write_atomically
from costmodel.protocol import CostModel, identity, load_cost_model
from costmodel.target import Target
from passes.fusion import Decide, fuse
from passes.fusion.cost import CostDecision
from passes.mlir import context, ir
from passes.tiling.select import PLAIN, Choice, choose_all
from passes.tiling.space import VectorUnit

T = TypeVar("T")
log = logging.getLogger("seerc")


@dataclass(frozen=True)
class CompileOptions:
    """How to compile. `cost_model` is a name or folder for costmodel.protocol.load_cost_model."""

    cost_model: str = "default"
    cache: bool = True
    jobs: int = 0
    """Child processes that compile kernels; 0: one a CPU."""
    tune: int = 0
    """Measurements that may be spent on choosing schedules (compiler.tune); 0: predictions alone decide."""
    caution: float = 0.0
    """Share of a kernel's predicted latency that leaving the fixed heuristic's schedule must save."""

    def __post_init__(self) -> None:
        if self.tune < 0 or (self.tune and self.cost_model == "none"):
            raise SeercError(
                f"tuning takes a number of measurements and a cost model, got {self.tune} and {self.cost_model}"
            )
        if not 0 <= self.caution < 1:
            raise SeercError(f"caution is a share from 0 to below 1, got {self.caution}")
        if self.jobs < 0:
            raise SeercError(f"jobs must be at least 1, or 0 for one a CPU, got {self.jobs}")


@dataclass(frozen=True)
class Stages:
    """A model on its way down, for `--emit` and the report."""

    fused: str
    planned: Steps
    choices: Mapping[str, Choice]
    kernels: Mapping[str, Compiled]
    assembly: Assembly
    seconds: Mapping[str, float]
    fallbacks: Mapping[str, str]
    """Workload key to the reason why its kernel is the plain lowering."""
    target: Target
    cost_model: str


def compile_model(model: ImportedModel, options: CompileOptions | None = None) -> Program:
    """Compiles an imported model for this machine; SeercError with the op and the way out if it cannot be."""
    return build_program(model, lower_model(model, options or CompileOptions()))


def lower_model(
    model: ImportedModel,
    options: CompileOptions,
    say: Callable[[str], None] = log.info,
    panels: Mapping[str, int] | None = None,
) -> Stages:
    """Everything but linking; `say` is told how tuning goes on.

    `panels`: widths of the panels in which weights are packed already, by name, for kernels to share where they can.
    """
    clock, target = _Clock(), detect_target()
    cache = Cache.default() if options.cache else None
    made, planned = _decide(model, options, target, cache, clock, panels or {})
    if options.tune:
        tuned = clock.time("tune", lambda: _tune(made.choices, planned, options, target, cache, say))
        made = Decisions(made.fused, tuned)
    kernels, choices, fallbacks = clock.time("compile kernels", lambda: _compile(made.choices, options.jobs, cache))
    infos = {key: KernelInfo(key, k.packing, k.scratch_bytes) for key, k in kernels.items()}
    assembly = assemble(planned, infos, model.weights)
    return Stages(made.fused, planned, choices, kernels, assembly, clock.seconds, fallbacks, target, options.cost_model)


def decide(model: ImportedModel, options: CompileOptions) -> tuple[Decisions, Steps]:
    """What would be compiled: fused, placed, a schedule for every kernel. Nothing is compiled."""
    cache = Cache.default() if options.cache else None
    return _decide(model, options, detect_target(), cache, _Clock(), {})


def _decide(
    model: ImportedModel,
    options: CompileOptions,
    target: Target,
    cache: Cache | None,
    clock: _Clock,
    panels: Mapping[str, int],
) -> tuple[Decisions, Steps]:
    """Fusion, layout and schedules, or those of an earlier compile of the same text."""
    cost = load_cost_model(options.cost_model, target)
    name = identity(options.cost_model)
    key = decisions_key(model.text, name or "", target, panels, options.caution)
    known = load_decisions(cache, key) if name else None
    decide = CostDecision(cost, target, vector_unit(target)) if cost is not None else None
    fuse_it = (lambda: place(known.fused, model)) if known else (lambda: fuse_and_place(model, decide))
    fused, planned = clock.time("fuse and place", fuse_it)
    _check_memory(model, planned)
    if known and known.choices.keys() == planned.workloads.keys():
        return known, planned
    choices = clock.time("choose schedules", lambda: choose_schedules(planned, cost, target, panels, options.caution))
    made = Decisions(fused, choices)
    if name and cache is not None:
        cache.put(key, made.to_bytes())
    return made, planned


def fuse_and_place(model: ImportedModel, decide: Decide | None = None) -> tuple[str, Steps]:
    """The fused module's text, and its values placed in memory."""
    with context(), ir.Location.unknown():
        try:
            module = ir.Module.parse(model.text)
        except ir.MLIRError as error:
            raise SeercError(f"{model.name}: the imported IR does not parse: {str(error).splitlines()[0]}") from error
        fuse(module, decide)
        return str(module), plan_layout(module, model.weights)


def place(fused: str, model: ImportedModel) -> tuple[str, Steps]:
    """The steps of a module that is fused already."""
    with context(), ir.Location.unknown():
        return fused, plan_layout(ir.Module.parse(fused), model.weights)


def choose_schedules(
    planned: Steps,
    cost_model: CostModel | None,
    target: Target,
    panels: Mapping[str, int] | None = None,
    caution: float = 0.0,
) -> dict[str, Choice]:
    """A schedule for every workload; `panels` as in `lower_model`, `caution` as in `CompileOptions`."""
    widths = _panel_widths(planned, panels or {})
    known = [widths.get(key) for key in planned.workloads] if widths else []
    texts = list(planned.workloads.values())
    choices = choose_all(texts, vector_unit(target), cost_model, target, panels=known, caution=caution)
    return dict(zip(planned.workloads, choices, strict=True))


def _panel_widths(planned: Steps, panels: Mapping[str, int]) -> dict[str, int]:
    """By workload the width that most of its weights are packed in."""
    found: dict[str, Counter[int]] = {}
    for call in calls(planned.steps) if panels else []:
        names = [planned.weights[place.buffer] for place in call.inputs if place.buffer in planned.weights]
        found.setdefault(call.workload, Counter()).update(panels[name] for name in names if name in panels)
    return {key: widths.most_common(1)[0][0] for key, widths in found.items() if widths}


def _tune(
    choices: Mapping[str, Choice],
    planned: Steps,
    options: CompileOptions,
    target: Target,
    cache: Cache | None,
    say: Callable[[str], None],
) -> dict[str, Choice]:
    from compiler.tune import TuneOptions, tune

    cost = load_cost_model(options.cost_model, target)
    assert cost is not None  # CompileOptions refuses `none`
    return tune(planned, choices, cost, target, TuneOptions(options.tune, options.jobs), cache, say)


def _check_memory(model: ImportedModel, planned: Steps) -> None:
    """Refuses a program that cannot run here before anything is compiled."""
    buffers = planned.buffers.values()
    largest = max((b.bytes() for b in buffers), default=0)
    needed = sum(b.bytes() for b in buffers if b.kind != "temporary") + largest
    total = psutil.virtual_memory().total
    if needed > total:
        raise SeercError(
            f"{model.name} needs at least {needed / 1e9:.1f} GB for weights, inputs and outputs; this machine has "
            f"{total / 1e9:.1f} GB: use a smaller batch, sequence or model"
        )


def vector_unit(target: Target) -> VectorUnit:
    return VectorUnit(target.lanes(), target.vector_registers)


def _compile(
    choices: Mapping[str, Choice], jobs: int, cache: Cache | None
) -> tuple[dict[str, Compiled], dict[str, Choice], dict[str, str]]:
    """Kernels by workload; one whose schedule fails gets the plain lowering and a warning."""
    jobs = jobs or os.cpu_count() or 1
    keys = list(choices)
    results = compile_all([(key, choices[key].candidate) for key in keys], cache, jobs)
    made = dict(zip(keys, results, strict=True))
    fallbacks = {key: choice.reason for key, choice in choices.items() if choice.schedule == PLAIN}
    fallbacks |= {key: str(error) for key, error in made.items() if isinstance(error, SeercError)}
    failed = [key for key in keys if isinstance(made[key], SeercError)]
    again = {key: _plain(choices[key]) for key in failed}
    made |= dict(zip(failed, compile_all([(k, again[k].candidate) for k in failed], cache, jobs), strict=True))
    for key, reason in fallbacks.items():
        log.warning("kernel %s: plain lowering: %s", key, reason)
    kernels = {key: _require(key, result, choices[key].candidate) for key, result in made.items()}
    return kernels, {**choices, **again}, fallbacks


def _plain(choice: Choice) -> Choice:
    text = choice.candidate.replace(str(choice.schedule), str(PLAIN))
    return Choice(PLAIN, text, reason="its schedule did not compile")


def _require(key: str, result: Compiled | SeercError, candidate: str) -> Compiled:
    if not isinstance(result, SeercError):
        return result
    path = Path(tempfile.gettempdir()) / f"seerc-{key}.mlir"
    write_atomically(path, re.sub(r"attributes \{[^{}]*seerc\.kind[^{}]*\} ", "", candidate))
    raise SeercError(
        f"kernel {key} cannot be compiled even by the plain lowering: {result}; reproduce with: seerc compile {path}"
    )


def build_program(model: ImportedModel, stages: Stages) -> Program:
    """Links the kernels and packs the weights."""
    inputs = tuple(TensorSpec(s.name, s.shape, s.dtype) for s in model.inputs)
    outputs = tuple(TensorSpec(s.name, s.shape, s.dtype) for s in model.outputs)
    plan = make_plan(model, stages)
    assembly = stages.assembly
    manifest = Manifest(inputs, outputs, assembly.workspace_bytes, assembly.weights, host_features(), plan)
    with tempfile.TemporaryDirectory(prefix="seerc-") as folder:
        library = Path(folder) / "program.so"
        link_program(stages, len(inputs), len(outputs), Path(folder), library)
        return Program.build(library, assembly.arrays(model.weights), manifest)


def link_program(stages: Stages, inputs: int, outputs: int, folder: Path, library: Path) -> None:
    """Objects into `folder`, linked into `library`; kernels stay visible so that they can be timed one by one."""
    from compiler.native.link import EXPORTED
    from compiler.native.lower import compile_object

    objects: list[Path] = []
    main = compile_object(emit_main(stages.assembly.calls, inputs, outputs), EXPORTED)
    for name, content in [*((k, c.object) for k, c in stages.kernels.items()), (EXPORTED, main)]:
        objects.append(folder / f"{name}.o")
        objects[-1].write_bytes(content)
    link_shared(objects, library, exports=(EXPORTED, *stages.kernels))


def make_plan(model: ImportedModel, stages: Stages) -> dict[str, Any]:
    """What was decided and why, as JSON: one entry a workload, and the calls in order."""
    counts = Counter(c.workload for c in calls(stages.planned.steps))
    return {
        "model": model.name,
        "sources": dict(model.sources),
        "target": {"name": stages.target.name, "hash": stages.target.hash},
        "cost_model": stages.cost_model,
        "seconds": {name: round(s, 3) for name, s in stages.seconds.items()},
        "kernels": [_kernel_entry(key, stages, counts[key]) for key in stages.planned.workloads],
        "fallbacks": sum(counts[key] for key in stages.fallbacks),
        "calls": write_calls(stages.assembly.calls),
    }


def _kernel_entry(key: str, stages: Stages, count: int) -> dict[str, Any]:
    choice = stages.choices[key]
    example = next(c for c in calls(stages.planned.steps) if c.workload == key)
    predicted = {m: [v.value, v.low, v.high] for m, v in choice.predicted.items()}
    return {
        "kernel": key,
        "kind": _kind(stages.planned.workloads[key]),
        "calls": count,
        "inputs": [list(p.shape) for p in example.inputs],
        "results": [list(p.shape) for p in example.results],
        "schedule": str(choice.schedule),
        "considered": choice.considered,
        "predicted": predicted,
        "trials": choice.trials,
        "tuned_ns": choice.measured_ns,
        "fallback": stages.fallbacks.get(key, ""),
    }


def _kind(workload: str) -> str:
    return workload.partition('seerc.kind = "')[2].partition('"')[0] or "plain"


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, name: str, work: Callable[[], T]) -> T:
        begin = time.perf_counter()
        try:
            return work()
        finally:
            self.seconds[name] = time.perf_counter() - begin


def relative_error(outputs: Sequence[Any], reference: Sequence[Any]) -> float:
    """max |y - ref| / max |ref| over all outputs, the largest of them.

    NaN where only one of the two is NaN, infinity where shapes differ.
    """
    import numpy as np

    worst = 0.0
    for y, ref in zip(outputs, reference, strict=True):
        y, ref = np.asarray(y, np.float64), np.asarray(ref, np.float64)
        if y.shape != ref.shape:
            return float("inf")
        scale = np.abs(ref[np.isfinite(ref)]).max(initial=0.0) or 1.0
        same = (y == ref) | (np.isnan(y) & np.isnan(ref))
        # np.maximum keeps a NaN, which max would drop.
        worst = float(np.maximum(worst, np.where(same, 0.0, np.abs(y - ref)).max(initial=0.0) / scale))
    return worst

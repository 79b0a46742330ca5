"""`seerc bench`: our programs beside their peers, in one process a model, with every call alternating.

Peers: `eager` (PyTorch), `compile` (torch.compile with inductor, which needs a C++ compiler), our own compiler with
another cost model (`none`, the fixed heuristic, or an artefact). A ratio is the peer's time over ours: above 1 we are
faster.
"""

from __future__ import annotations

import json
import logging
import math
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from compiler.driver import CompileOptions, compile_model
from compiler.frontend.model import LoadedModel
from compiler.native.program import Program
from compiler.timing import Contestant, Timing, alternate, geometric_mean, ratio
from costmodel.errors import SeercError, unknown_name
from costmodel.files import write_atomically
from costmodel.protocol import BUILT_IN

OURS = "seerc"
Record = dict[str, Any]
log = logging.getLogger("seerc")


@dataclass(frozen=True)
class BenchOptions:
    """What to measure: `threads` 0 is OMP_NUM_THREADS or one a CPU, `seconds` are timed for each contestant."""

    model: str
    inputs: tuple[str, ...] = ()
    peers: tuple[str, ...] = ("eager",)
    threads: int = 0
    seconds: float = 2.0
    cost_model: str = "default"
    cache: bool = True

    def __post_init__(self) -> None:
        if self.threads < 0 or not self.seconds > 0:
            raise SeercError(f"threads and seconds must be positive, got {self.threads} and {self.seconds}")


Maker = Callable[[LoadedModel, tuple[Any, ...], BenchOptions, int], Contestant]
"""Makes a peer for a model, its example tensors and a number of threads; SeercError where it cannot be had."""


def bench_model(options: BenchOptions, more: Mapping[str, Maker] | None = None) -> Record:
    """Imports, compiles, checks and times one model in this process: an entry of `models` in the JSON of `bench`.

    `more` are makers of further peers, by name.
    """
    makers = _makers(options, more or {})
    from compiler.frontend.load import load_model

    begin = time.perf_counter()
    model = load_model(options.model, options.inputs)
    imported = time.perf_counter()
    program = compile_model(model.imported, CompileOptions(options.cost_model, options.cache))
    seconds = {"import_s": round(imported - begin, 3), "compile_s": round(time.perf_counter() - imported, 3)}
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return compare(program, model, options, makers) | seconds | {"peak_mb": round(peak_mb)}


def _makers(options: BenchOptions, more: Mapping[str, Maker]) -> dict[str, Maker]:
    """Those of the peers in `options`; SeercError for an unknown name."""
    ours = {Path(p).name: _ours(p) for p in options.peers if p in BUILT_IN or Path(p).is_dir()}
    known = {"eager": _eager, "compile": _compile, "none": _ours("none"), **ours, **more}
    names = [Path(p).name for p in options.peers]
    for name in names:
        if name not in known:
            raise unknown_name("peer", name, known)
    return {name: known[name] for name in names}


def compare(
    program: Program, model: LoadedModel, options: BenchOptions, makers: Mapping[str, Maker] | None = None
) -> Record:
    """Checks a program against its model and times it beside the peers of `options`."""
    import torch

    from compiler.check import program_error
    from compiler.native.openmp import default_threads

    threads = options.threads or default_threads()
    error = program_error(program, model, threads) if model.eager is not None else math.nan
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            contestants, absent = _contestants(program, model, options, makers or _makers(options, {}), threads)
            timings = alternate(contestants, options.seconds)
    finally:
        torch.set_num_threads(before)
    ours = timings.pop(OURS)
    noisy = [name for name, timing in ((OURS, ours), *timings.items()) if timing.noisy]
    versions = {c.name: c.version for c in contestants}
    return {
        "model": options.model,
        "threads": threads,
        "seerc_ms": ours.ms,
        "seerc_iqr_ms": ours.iqr_ms,
        "seerc_version": versions[OURS],
        "max_rel_err": error if math.isfinite(error) else None,
        "checked": model.eager is not None,
        "fallbacks": program.plan["fallbacks"],
        "peers": {name: _peer(timing, ours, versions[name]) for name, timing in timings.items()},
        "absent": absent,
        "noisy": noisy,
    }


def _peer(timing: Timing, ours: Timing, version: str) -> Record:
    found = ratio(ours, timing)
    return {
        "ms": timing.ms,
        "iqr_ms": timing.iqr_ms,
        "ratio": found.value,
        "low": found.low,
        "high": found.high,
        "version": version,
    }


def _contestants(
    program: Program, model: LoadedModel, options: BenchOptions, makers: Mapping[str, Maker], threads: int
) -> tuple[list[Contestant], dict[str, str]]:
    """Ours first, then the peers that can be had; the others by name with the reason."""
    import torch

    inputs = tuple(torch.from_numpy(x.copy()) for x in model.example_inputs)
    version = f"{program.manifest.seerc}, cost model {program.plan['cost_model']}"
    found = [Contestant(OURS, lambda: program(*inputs, threads=threads), version)]
    absent: dict[str, str] = {}
    for peer, make in makers.items():
        try:
            found.append(make(model, inputs, options, threads))
        except Exception as error:  # a peer raises whatever its compiler and the model's code raise
            absent[peer] = str(error) if isinstance(error, SeercError) else _told(error)
    return found, absent


def _eager(model: LoadedModel, inputs: tuple[Any, ...], options: BenchOptions, threads: int) -> Contestant:
    import torch

    module = _module(model)
    return Contestant("eager", lambda: module(*inputs), f"torch {torch.__version__}")


def _compile(model: LoadedModel, inputs: tuple[Any, ...], options: BenchOptions, threads: int) -> Contestant:
    import torch

    module = _module(model)
    if not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        raise SeercError("torch.compile needs a C++ compiler: install g++ or set CXX")
    compiled = torch.compile(module)
    compiled(*inputs)
    return Contestant("compile", lambda: compiled(*inputs), f"torch {torch.__version__} inductor")


def _ours(cost_model: str) -> Maker:
    """Our own compiler with another cost model: a name, or the folder of an artefact."""

    def make(model: LoadedModel, inputs: tuple[Any, ...], options: BenchOptions, threads: int) -> Contestant:
        program = compile_model(model.imported, CompileOptions(cost_model, options.cache))
        name = Path(cost_model).name
        version = f"{program.manifest.seerc}, cost model {name}"
        return Contestant(name, lambda: program(*inputs, threads=threads), version)

    return make


def _module(model: LoadedModel) -> Any:
    if model.module is None:
        raise SeercError(f"{model.imported.name} comes from a file without a PyTorch model")
    return model.module


def bench_models(
    options: Sequence[BenchOptions], output: Path | None = None, more: Mapping[str, Maker] | None = None
) -> Iterator[Record]:
    """`bench_model` of each, every one in a fresh child process; a crash or user error gives {"model", "error"}.

    With `output` (JSON lines) finished models are kept there at once, and those that it holds are not measured again.
    """
    lines = _read_lines(output)
    known = {line["key"]: line["result"] for line in lines}
    for one in options:
        key = _key(one)
        if key in known:
            yield known[key]
            continue
        result = _in_child(one, more)
        if output is not None and "error" not in result:
            lines.append({"key": key, "result": result})
            write_atomically(output, "".join(json.dumps(line) + "\n" for line in lines))
        yield result


def _key(options: BenchOptions) -> str:
    """Everything that a result depends on, as text."""
    return json.dumps(asdict(options), sort_keys=True)


def _read_lines(output: Path | None) -> list[Record]:
    if output is None or not output.exists():
        return []
    try:
        return [json.loads(line) for line in output.read_text().splitlines()]
    except ValueError as error:
        raise SeercError(f"{output} holds no results of seerc bench ({error}): choose another --output") from error


def _in_child(options: BenchOptions, more: Mapping[str, Maker] | None) -> Record:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_quiet) as pool:
        try:
            return pool.submit(bench_model, options, more).result()
        except BrokenProcessPool:
            return {"model": options.model, "error": "its process died (out of memory, or a crash in native code)"}
        except SeercError as error:
            return {"model": options.model, "error": " ".join(str(error).split())}
        except Exception as error:
            log.exception("%s", options.model)
            return {"model": options.model, "error": _told(error)}


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _quiet() -> None:
    """In the child: native code that prints must not touch the parent's standard output; inductor stays in it."""
    os.dup2(2, 1)
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")


def summary(results: Sequence[Record]) -> Record:
    """The JSON object of `bench`."""
    models = [r for r in results if "error" not in r]
    ratios: dict[str, list[float]] = {}
    for model in models:
        for name, peer in model["peers"].items():
            ratios.setdefault(name, []).append(peer["ratio"])
    return {
        "models": models,
        "geomean": {name: geometric_mean(values) for name, values in ratios.items()},
        "noisy": any(model["noisy"] for model in models),
        "failed": [r for r in results if "error" in r],
        "machine": machine(),
    }


def machine() -> Mapping[str, Any]:
    """The CPU and how many of its cores this process may use."""
    from compiler.target import detect_target

    target = detect_target(measure=False)
    return {"cpu": target.name, "cores": target.cores}


def for_models(models: Sequence[str], options: BenchOptions) -> list[BenchOptions]:
    """The same options for several models."""
    return [replace(options, model=model) for model in models]

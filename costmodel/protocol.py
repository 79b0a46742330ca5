"""What every cost model offers, and how one is found by name or folder."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from costmodel.errors import SeercError, unknown_name
from costmodel.target import Target

ENTRY_POINT_GROUP = "seerc.cost_models"
_DEFAULT = Path(__file__).parent / "models" / "default"
BUILT_IN = ("default", "none", "analytic")
METRICS: dict[str, str] = {
    "latency_ns": "ns of one call on one thread, lower quartile of warm samples",
    "registers": "live vector registers at the peak of the hottest loop, from the object code",
    "spills": "vector reloads and stores to the stack in the hottest loop, from the object code",
    "vector_utilisation": "share of floating-point work in full-width vectors, 0 to 1, from the object code",
    "utilisation": "achieved share of the target's measured peak FLOP/s, 0 to 1",
    "instructions": "instructions executed in one call",
    "code_bytes": "bytes of the kernel's machine code",
    "peak_bytes": "bytes of operands, results and scratch that are live at once",
}
"""Every metric with its unit and where it comes from."""
ORDER = "order"
"""Asked for beside metrics: a value by which candidates of one workload are sorted, lower is faster.

Models that rank by latency leave it out.
"""


def metrics_of(model: object) -> Mapping[str, str]:
    """METRICS, and those of the model's own: what `own_metrics` of a model of users' data names."""
    own: Mapping[str, str] = getattr(model, "own_metrics", {})
    return {**METRICS, **own}


class Value(NamedTuple):
    """A predicted metric and the interval that should hold the measured one in 90 % of cases."""

    value: float
    low: float
    high: float


Prediction = Mapping[str, Value]
"""Metric name to value; a model leaves out what it does not predict."""


@runtime_checkable
class CostModel(Protocol):
    """Anything that predicts hardware metrics of candidate texts."""

    @property
    def name(self) -> str:
        """Short name for reports and plans."""
        ...

    def predict(
        self, candidates: Sequence[str], target: Target, metrics: Sequence[str] | None = None
    ) -> list[Prediction]:
        """One prediction a candidate text (workload with `seerc.schedule`), in order.

        Batch-friendly: texts that differ in the schedule alone are parsed once. `metrics` limits what is predicted
        (None: everything the model knows). The result depends on nothing but the arguments.

        Raises:
            SeercError: a text cannot be read, or the target is not one the model was made for.
        """
        ...


def load_cost_model(name_or_folder: str | Path, target: Target | None = None) -> CostModel | None:
    """The cost model of a name or an artefact folder; None for `none`.

    `default` is the shipped artefact, or `analytic` with a warning where that was made for another kind of target.

    Raises:
        SeercError: unknown name, corrupt artefact, or one for another ISA or schema version.
    """
    from importlib.metadata import entry_points

    name = str(name_or_folder)
    if name == "none":
        return None
    if name == "analytic":
        return _analytic()
    if name == "default":
        return _default(target)
    plugins = entry_points(group=ENTRY_POINT_GROUP)
    found = [e for e in plugins if e.name == name]
    if len(found) > 1:
        raise SeercError(f"cost model {name!r} is registered by {' and '.join(e.value for e in found)}; uninstall one")
    if found:
        return _plugin(name, found[0].load())
    if not Path(name).is_dir():
        names = [*BUILT_IN, *(e.name for e in plugins)]
        raise unknown_name("cost model", name, names)
    return _artefact(Path(name), target)


def identity(name_or_folder: str | Path) -> str | None:
    """A text that changes when the predictions of `load_cost_model(name_or_folder)` may; None if none is known."""
    name = str(name_or_folder)
    folder = _DEFAULT if name == "default" else Path(name)
    if name == "none":
        return name
    if name == "analytic" or (name == "default" and not folder.is_dir()):
        return f"analytic {_version()}"
    config = folder / "config.json"
    return sha256(config.read_bytes()).hexdigest() if config.is_file() else None


def _version() -> str:
    """A hash of this folder's source: the analytic model has no other version."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def _plugin(name: str, made: object) -> CostModel:
    model = made() if callable(made) and (isinstance(made, type) or not hasattr(made, "predict")) else made
    if not isinstance(model, CostModel):
        raise SeercError(
            f"entry point {name!r} of {ENTRY_POINT_GROUP} gives no cost model (name and predict are missing)"
        )
    return model


def _analytic() -> CostModel:
    from costmodel.analytic import AnalyticModel

    return AnalyticModel()


def _artefact(folder: Path, target: Target | None) -> CostModel:
    from costmodel.artefact import load_artefact

    return load_artefact(folder, target)


def _default(target: Target | None) -> CostModel:
    if not _DEFAULT.is_dir():
        return _analytic()
    try:
        return _artefact(_DEFAULT, target)
    except SeercError as error:
        warnings.warn(f"the shipped cost model is not used: {error}; using analytic", stacklevel=3)
        return _analytic()

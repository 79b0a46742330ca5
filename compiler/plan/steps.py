"""The plan of a program: buffers, and the kernel calls between them in order."""

from __future__ import annotations

from dataclasses import dataclass, field

from compiler.plan.views import Place


@dataclass(frozen=True)
class Buffer:
    """Memory of one array. `kind` is `weight`, `input`, `output` or `temporary`; sizes in elements and bytes each."""

    name: str
    kind: str
    elements: int
    itemsize: int

    def bytes(self) -> int:
        return self.elements * self.itemsize


@dataclass(frozen=True)
class KernelCall:
    """One call of the kernel of a workload (by its key in `Steps.workloads`) on inputs, then results."""

    workload: str
    inputs: tuple[Place, ...]
    results: tuple[Place, ...]


@dataclass(frozen=True)
class LoopStep:
    """The body, `count` times."""

    count: int
    body: tuple[Step, ...]


@dataclass(frozen=True)
class IfStep:
    """`then` where the byte at `condition` is not 0, else `otherwise`."""

    condition: Place
    then: tuple[Step, ...]
    otherwise: tuple[Step, ...]


Step = KernelCall | LoopStep | IfStep


@dataclass
class Steps:
    """What the layout step makes of @main."""

    workloads: dict[str, str] = field(default_factory=dict)
    """Workload text by key; the function in it is named after the key."""
    buffers: dict[str, Buffer] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    weights: dict[str, str] = field(default_factory=dict)
    """Name of the weight by buffer."""
    orders: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Dimensions, outermost first, of the weight buffers that lie otherwise than the weight's array."""


def calls(steps: list[Step] | tuple[Step, ...]) -> list[KernelCall]:
    """Every kernel call once, loops and both sides of branches entered."""
    found: list[KernelCall] = []
    for step in steps:
        match step:
            case KernelCall():
                found.append(step)
            case LoopStep():
                found += calls(step.body)
            case IfStep():
                found += calls(step.then + step.otherwise)
    return found

"""What a pass is: a frozen dataclass whose fields are its options and whose `run` edits valid IR into valid IR."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from costmodel.errors import SeercError
from passes.options import print_options

if TYPE_CHECKING:
    from passes.mlir import PassManager, ir


class PassError(SeercError):
    """A pass cannot do its work on this IR; the message says on what and why."""


@dataclass(frozen=True)
class PassContext:
    """What a pass may ask besides the IR.

    Attributes:
        cost_model: an object with `predict(candidates, target)` (costmodel.protocol), or None for fixed heuristics.
        target: the description of the machine that the cost model is asked about, or None for the host.
        log: where a pass tells what it decided; the command line sends it to stderr.
    """

    cost_model: Any = None
    target: Any = None
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("seerc.passes"), compare=False)


@dataclass(frozen=True)
class Pass(ABC):
    """Base of all passes; a subclass is a frozen dataclass too.

    Fields are the options: int, float, bool, str, a tuple of one of these (`tuple[int, ...]`), or `... | None`.
    `str(p)` is how the pass is written in a pipeline: `my-pass{n=4 keep=true}`.

    Attributes:
        name: kebab-case, unique among all registered passes.
        op_name: the only operation that the pass runs on (`builtin.module`, `func.func`); empty for any.
    """

    name: ClassVar[str]
    op_name: ClassVar[str] = ""

    @abstractmethod
    def run(self, op: ir.Operation, context: PassContext) -> None:
        """Edit `op` in place.

        Raises:
            PassError: the work cannot be done; the IR may be left half edited, the caller drops it.
        """

    def add_to(self, manager: PassManager, context: PassContext | None = None, nest: tuple[str, ...] = ()) -> None:
        """Append this pass to any `torch_mlir.passmanager.PassManager`.

        Args:
            manager: MLIR's pass manager; it may hold upstream passes before and after.
            context: handed to `run`.
            nest: run on the operations of these names, one level down for each, not on the manager's own one.
        """
        context = context or PassContext()

        def call(op: ir.Operation, _: object) -> None:
            for target in _nested(op, nest):
                self._run_on(target, context)

        manager.add(call, name=type(self).__name__, argument=str(self), description=(self.__doc__ or "").strip())

    def _run_on(self, op: ir.Operation, context: PassContext) -> None:
        if self.op_name and op.name != self.op_name:
            raise PassError(f"pass {self.name} runs on {self.op_name}, not on {op.name}: nest it in {self.op_name}()")
        try:
            self.run(op, context)
        except Exception as error:
            error.add_note(f"in pass {self}, on {op.name} at {op.location}")
            raise

    def __str__(self) -> str:
        return self.name + print_options(self)


def _nested(op: ir.Operation, nest: tuple[str, ...]) -> Iterator[ir.Operation]:
    """The operations below `op` that `nest` names; listed first, so that a pass may erase the one it gets."""
    if not nest:
        yield op
        return
    children = [child.operation for region in op.regions for block in region.blocks for child in block.operations]
    for child in children:
        if child.name == nest[0]:
            yield from _nested(child, nest[1:])

"""`seerc-schedule`: puts a schedule on the root of every region function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from costmodel.protocol import load_cost_model
from costmodel.target import Target
from passes.base import Pass, PassContext
from passes.mlir import ir
from passes.tiling.candidate import set_schedule
from passes.tiling.select import choose
from passes.tiling.space import VectorUnit


@dataclass(frozen=True)
class SchedulePass(Pass):
    """Choose a schedule for each function that has `seerc.kind`, by predicted latency or, with `none`, by heuristic."""

    name: ClassVar[str] = "seerc-schedule"
    op_name: ClassVar[str] = "builtin.module"
    cost_model: str = "default"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        target = context.target or Target("generic")
        model = context.cost_model or load_cost_model(self.cost_model, target)
        unit = VectorUnit(target.lanes(), target.vector_registers)
        for function in list(op.regions[0].blocks[0].operations):
            if function.operation.name == "func.func" and "seerc.kind" in function.attributes:
                choice = choose(_alone(function), unit, model, target)
                set_schedule(function, choice.schedule)
                context.log.info("%s: %s of %d schedules", function.name.value, choice.schedule, choice.considered)


def _alone(function: Any) -> str:
    """The text of a module that holds only this function."""
    with function.context, ir.Location.unknown():
        module = ir.Module.create()
        with ir.InsertionPoint(module.body):
            function.operation.clone()
        return str(module)

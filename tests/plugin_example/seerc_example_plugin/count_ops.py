"""`example-count-ops`: writes on a function or module how many operations it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import seerc
from passes.base import PassContext, PassError

if TYPE_CHECKING:
    from passes.mlir import ir


@dataclass(frozen=True)
class CountOps(seerc.Pass):
    """Count operations by dialect and keep the counts as attributes.

    Attributes:
        dialects: count only these dialects, in this order; empty for one count of everything.
        at_most: fail where there are more; None for no limit.
    """

    name: ClassVar[str] = "example-count-ops"
    dialects: tuple[str, ...] = ()
    at_most: int | None = None

    def run(self, op: ir.Operation, context: PassContext) -> None:
        from passes.mlir import ir

        names: list[str] = []

        def visit(inner: ir.Operation) -> ir.WalkResult:
            names.append(inner.name)
            return ir.WalkResult.ADVANCE

        op.walk(visit)
        names.pop()  # the walk ends with `op` itself
        if self.at_most is not None and len(names) > self.at_most:
            raise PassError(f"{len(names)} operations, at most {self.at_most} are wanted")
        integer = ir.IntegerType.get_signless(64)
        for dialect in self.dialects:
            count = sum(name.split(".")[0] == dialect for name in names)
            op.attributes[f"example.{dialect}_ops"] = ir.IntegerAttr.get(integer, count)
        if not self.dialects:
            op.attributes["example.ops"] = ir.IntegerAttr.get(integer, len(names))
        context.log.info("%s: %d operations", self.name, len(names))

"""`seerc-strip-asserts`: drops `cf.assert`, which PyTorch's exporter leaves behind and which stops fusion."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from passes.base import Pass, PassContext, PassError

if TYPE_CHECKING:
    from passes.mlir import ir


@dataclass(frozen=True)
class StripAssertsPass(Pass):
    """Erase `cf.assert` ops, and leave the conditions to dead code elimination.

    Attributes:
        matching: erase only those whose message holds this regular expression; empty for all.
    """

    name: ClassVar[str] = "seerc-strip-asserts"
    matching: str = ""

    def run(self, op: ir.Operation, context: PassContext) -> None:
        try:
            pattern = re.compile(self.matching)
        except re.error as error:
            raise PassError(f"matching={self.matching!r} is no regular expression: {error}") from error
        from passes.mlir import ir

        found: list[ir.Operation] = []

        def visit(inner: ir.Operation) -> ir.WalkResult:
            if inner.name == "cf.assert" and pattern.search(str(inner.attributes["msg"])):
                found.append(inner)
            return ir.WalkResult.ADVANCE

        op.walk(visit)
        for inner in found:
            inner.erase()
        context.log.info("%s: erased %d assertions", self.name, len(found))

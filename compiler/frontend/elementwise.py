"""The elementwise aten operations that the rewrites know."""

from __future__ import annotations

from compiler.frontend.graph import aten

UNARY = {aten.gelu.default, aten.relu.default, aten.tanh.default, aten.sigmoid.default, aten.exp.default,
         aten.sqrt.default, aten.rsqrt.default, aten.neg.default, aten.erf.default, aten.hardtanh.default,
         aten.clamp.default, aten.abs.default, aten.reciprocal.default}  # fmt: skip

BINARY = {aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor}

# fmt: off
COMPARISONS = {aten.eq.Scalar: aten.eq.Tensor, aten.ne.Scalar: aten.ne.Tensor, aten.lt.Scalar: aten.lt.Tensor,
               aten.le.Scalar: aten.le.Tensor, aten.gt.Scalar: aten.gt.Tensor, aten.ge.Scalar: aten.ge.Tensor}
# fmt: on

LOGICAL = {aten.where.self, aten.bitwise_and.Tensor, aten.bitwise_or.Tensor, aten.bitwise_not.default,
           aten.logical_not.default, aten.logical_and.default, aten._to_copy.default}  # fmt: skip

ELEMENTWISE = UNARY | BINARY | LOGICAL | set(COMPARISONS) | set(COMPARISONS.values())

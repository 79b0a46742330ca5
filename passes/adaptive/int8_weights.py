"""`seerc-int8-weights`: products with 8-bit weight matrices, converted as they are read; activations stay f32."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from costmodel.errors import SeercError
from passes.adaptive.arguments import add_argument, main_function, weight_names, weights_first
from passes.adaptive.low_rank import product_with
from passes.base import Pass, PassContext, PassError
from passes.fusion.generic import Generic, build, map_of, shape
from passes.mlir import arith, ir, linalg, tensor

Array = np.ndarray[Any, Any]
VALUES, SCALE = "int8", "scale"
SMALLEST = 1e-12
"""Of the largest magnitudes: rows of zeros get this one."""


@dataclass(frozen=True)
class Int8WeightsPass(Pass):
    """Replace f32 weight matrices of contractions by 8-bit integers and one f32 scale for each output channel.

    y = x W becomes y = (x Q) s: Q is converted in the body of the contraction, the products with s are one elementwise
    op after it, which fuses as an epilogue. Q and s are arguments `NAME.int8.D` and `NAME.scale.D`, after the weights
    that were there; D is the dimension of W that holds output channels. `with_int8` makes their arrays. The f32 matrix
    stays an argument: what else reads it (the table of a tied head) still does, or it is unused.

    Attributes:
        weights: names of the matrices; empty for all that are multiplied by an activation.
    """

    name: ClassVar[str] = "seerc-int8-weights"

    weights: tuple[str, ...] = ()

    def run(self, op: ir.Operation, context: PassContext) -> None:
        main = main_function(op, self.name)
        with main.context, ir.Location.unknown():
            arguments = main.regions[0].blocks[0].arguments
            wanted = {arguments[n]: w for n, w in weight_names(main).items() if not self.weights or w in self.weights}
            editor = _Editor(main, wanted)
            for found in [child.operation for child in main.regions[0].blocks[0].operations]:
                product = product_with(found, wanted)
                if product is not None and _is_f32(product[0]):
                    editor.replace(*product)
            left = set(self.weights) - editor.replaced
            if left:
                raise PassError(f"{self.name}: {min(left)} is no f32 matrix that @main multiplies by an activation")
            weights_first(main)
        context.log.info("%s: %d matrices", self.name, len(editor.replaced))


def _is_f32(generic: Generic) -> bool:
    return all(isinstance(ir.RankedTensorType(v.type).element_type, ir.F32Type) for v in generic.operands)


@dataclass
class _Editor:
    """Replaces products; a matrix that several read is rounded once."""

    main: ir.Operation
    names: Mapping[ir.Value, str]
    made: dict[tuple[str, int], tuple[ir.Value, ir.Value]] = field(
        default_factory=dict[tuple[str, int], tuple[ir.Value, ir.Value]]
    )

    @property
    def replaced(self) -> set[str]:
        return {name for name, _ in self.made}

    def replace(self, generic: Generic, matrix: ir.Value) -> None:
        at = generic.operands.index(matrix)
        dims, written = generic.dims[at], generic.dims[-1]
        assert dims is not None  # `product_with` has looked
        assert written is not None
        axis = next(axis for axis, dim in enumerate(dims) if generic.parallel[dim])
        values, scale = self._arguments(matrix, axis)
        with ir.InsertionPoint(generic.op):
            product = _product(generic, at, values)
            result = _scaled(product, scale, written.index(dims[axis]), generic.outputs[0])
        generic.op.results[0].replace_all_uses_with(result)
        generic.op.erase()

    def _arguments(self, matrix: ir.Value, axis: int) -> tuple[ir.Value, ir.Value]:
        key = self.names[matrix], axis
        if key not in self.made:
            sizes, i8 = shape(matrix), ir.IntegerType.get_signless(8)
            values = add_argument(self.main, ir.RankedTensorType.get(sizes, i8), _name(*key, VALUES))
            kind = ir.RankedTensorType.get([sizes[axis]], ir.F32Type.get())
            self.made[key] = values, add_argument(self.main, kind, _name(*key, SCALE))
        return self.made[key]


def _product(generic: Generic, at: int, values: ir.Value) -> ir.Value:
    """The contraction from zeros, with integers in the place of operand `at`."""
    f32 = ir.F32Type.get()

    def body(scalars: list[ir.Value]) -> list[ir.Value]:
        factors = [arith.sitofp(f32, s) if n == at else s for n, s in enumerate(scalars[:2])]
        return [arith.addf(scalars[2], arith.mulf(*factors))]

    inputs = [values if n == at else v for n, v in enumerate(generic.inputs)]
    out = generic.outputs[0] if _is_zero(generic.outputs[0]) else _zeros(shape(generic.outputs[0]))
    return build(inputs, [out], generic.maps, generic.parallel, body).results[0]


def _scaled(product: ir.Value, scale: ir.Value, dim: int, start: ir.Value) -> ir.Value:
    """`product` times the scale along `dim`, added to what the contraction started from unless that is zeros."""
    rank = len(shape(product))
    whole, added = map_of(rank, range(rank)), [] if _is_zero(start) else [start]

    def body(scalars: list[ir.Value]) -> list[ir.Value]:
        scaled = arith.mulf(scalars[0], scalars[1])
        return [arith.addf(scaled, scalars[2]) if added else scaled]

    out = tensor.empty(shape(product), ir.F32Type.get())
    maps = [whole, map_of(rank, [dim]), *[whole for _ in added], whole]
    return build([product, scale, *added], [out], maps, [True] * rank, body).results[0]


def _is_zero(value: ir.Value) -> bool:
    """Whether the tensor is filled with the constant 0."""
    if not isinstance(value, ir.OpResult) or value.owner.name != "linalg.fill":
        return False
    filled = value.owner.operands[0]
    if not isinstance(filled, ir.OpResult) or filled.owner.name != "arith.constant":
        return False
    return ir.FloatAttr(filled.owner.attributes["value"]).value == 0


def _zeros(sizes: tuple[int, ...]) -> ir.Value:
    f32 = ir.F32Type.get()
    return linalg.fill(arith.constant(f32, ir.FloatAttr.get(f32, 0.0)), outs=[tensor.empty(sizes, f32)])


def _name(matrix: str, axis: int, part: str) -> str:
    return f"{matrix}.{part}.{axis}"


def rounded_to_int8(matrix: Array, axis: int) -> tuple[Array, Array]:
    """Q, integers of -127 ... 127 laid out as the f32 matrix is, and the scales s along `axis`; Q s is nearest to it.

    Symmetric: s = max |row| / 127; halves are rounded to even.

    Raises:
        SeercError: an element is infinite or no number.
    """
    largest = np.maximum(np.abs(matrix).max(1 - axis, keepdims=True), np.float32(SMALLEST))
    if not np.isfinite(largest).all():
        raise SeercError("a matrix with elements that are infinite or no numbers cannot be rounded to 8 bits")
    scale = largest / np.float32(127)
    return np.rint(matrix / scale).astype(np.int8, order="K"), scale.reshape(-1)


def with_int8(
    weights: Mapping[str, Array], names: Iterable[str], known: dict[str, Array] | None = None
) -> dict[str, Array]:
    """The arrays of a module in which matrices were replaced.

    Args:
        weights: the arrays before.
        names: the weight arguments of @main, in order; those that have no array are made of one that has.
        known: what was made before, for other modules of the same weights; gets what is made now.
    """
    known = {} if known is None else known
    found: dict[str, Array] = {}
    for name in names:
        if name not in weights and name not in known:
            base, _, axis = name.rsplit(".", 2)
            values, scale = rounded_to_int8(weights[base], int(axis))
            known[_name(base, int(axis), VALUES)], known[_name(base, int(axis), SCALE)] = values, scale
        found[name] = weights[name] if name in weights else known[name]
    return found

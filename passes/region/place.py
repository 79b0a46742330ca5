"""Places every op of a region at linear forms of the root's loop dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costmodel.region.linear import Linear
from passes.mlir import ir
from passes.region.structure import (
    apply_map,
    find_root,
    indexing_maps,
    is_reduction,
    loop_extents,
    reduction_positions,
    reshape_index,
    shape_of,
)


class Placement:
    """`forms` holds the loops of every placed op, `index` where each value is computed, `extents` all dimensions.

    The walk goes on from the root, forwards through uses and backwards through definitions, until nothing is added.
    """

    def __init__(self, func: Any) -> None:
        self.func = func
        self.root = find_root(func)
        self.extents: dict[str, int] = {}
        self.index: dict[Any, tuple[Linear, ...]] = {}
        self.forms: dict[Any, list[Linear]] = {}
        self._place_root()
        self._place_others()

    def _place_root(self) -> None:
        extents = loop_extents(self.root)
        forms = [Linear.dim(f"d{i}") for i in range(len(extents))]
        self.extents = {f"d{i}": n for i, n in enumerate(extents)}
        self._anchor(self.root, forms)

    def _anchor(self, op: Any, forms: list[Linear]) -> None:
        self.forms[op] = forms
        maps = indexing_maps(op)
        first_out = len(maps) - len(op.results)
        for result, affine_map in zip(op.results, maps[first_out:], strict=True):
            self.index[result] = tuple(apply_map(affine_map, forms))

    def _place_others(self) -> None:
        ops = [op.operation for op in self.func.entry_block.operations]
        changed = True
        while changed:
            changed = any([self._place(op) for op in ops] + [self._place_back(op) for op in reversed(ops)])
            changed = changed or any(self._place_beside(op) for op in ops)

    def _place(self, op: Any) -> bool:
        """Forward: an op one of whose operands is placed."""
        if op in self.forms:
            return False
        if op.name in ("tensor.expand_shape", "tensor.collapse_shape"):
            return self._place_reshape(op)
        if op.name != "linalg.generic":
            return False
        maps, forms, near = indexing_maps(op), dict[int, Linear](), False
        for value, affine_map in zip(op.operands, maps, strict=True):
            if value in self.index:
                forms, near = forms | unify(affine_map, self.index[value], forms), True
        return near and self._complete(op, forms)

    def _place_back(self, op: Any) -> bool:
        """Backward: an op whose result is read by a placed op at plain dimensions."""
        if op in self.forms or op.name != "linalg.generic" or op.results[0] in self.index:
            return False
        for use in op.results[0].uses:
            user = use.owner
            if user not in self.forms or user.name != "linalg.generic":
                continue
            indices = apply_map(indexing_maps(user)[use.operand_number], self.forms[user])
            forms = unify(indexing_maps(op)[-1], indices, {})
            if all(f.as_dim() or not f.terms for f in forms.values()) and self._complete(op, forms):
                return True
        return False

    def _place_beside(self, op: Any) -> bool:
        """An op over the root's loops that shares only arguments with what is placed (sum and sum of squares)."""
        if op in self.forms or op.name != "linalg.generic" or not self._spans_root(loop_extents(op)):
            return False
        return self._complete(op, {})

    def _place_reshape(self, op: Any) -> bool:
        source, result = op.operands[0], op.results[0]
        if source not in self.index or result in self.index:
            return False
        self.index[result] = tuple(reshape_index(self.index[source], shape_of(source), shape_of(result)))
        return True

    def _complete(self, op: Any, forms: dict[int, Linear]) -> bool:
        """Names what is left: size-1 dimensions are 0, reduction dimensions take a free root dimension or a new one."""
        extents, reducing = loop_extents(op), reduction_positions(op)
        used = {d for f in forms.values() for d in f.dims()}
        for i, extent in enumerate(extents):
            if i in forms:
                continue
            if extent == 1:
                forms[i] = Linear()
            elif f"d{i}" not in used and self._spans_root(extents):
                forms[i] = Linear.dim(f"d{i}")
                used.add(f"d{i}")
            elif i in reducing:
                free = [d for d, n in self.extents.items() if n == extent and d not in used]
                name = free[-1] if free else f"r{len(self.extents)}"
                self.extents[name] = extent
                used.add(name)
                forms[i] = Linear.dim(name)
            else:
                return False
        self._anchor(op, [forms[i] for i in range(len(extents))])
        return True

    def _spans_root(self, extents: list[int]) -> bool:
        """Whether an op has the loops of a root that reduces: in a row region it then runs along them."""
        kind = self.func.attributes["seerc.kind"] if "seerc.kind" in self.func.attributes else None
        return is_reduction(self.root) and str(kind) != '"contraction"' and extents == loop_extents(self.root)


def unify(affine_map: Any, index: Sequence[Linear], known: dict[int, Linear]) -> dict[int, Linear]:
    """The loops that make `affine_map` give `index`, where a result of the map is one loop that is not `known`."""
    found: dict[int, Linear] = {}
    for i, form in enumerate(index):
        expr = affine_map.results[i]
        if isinstance(expr, ir.AffineDimExpr) and expr.position not in known:
            found[expr.position] = form
    return found

"""Convolution and pooling regions: which dimensions slide a window, and the channels-last layouts for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compiler.plan.views import permuted_strides
from costmodel.region.linear import Linear
from passes.mlir import ir
from passes.region.structure import apply_map, find_root, indexing_maps, reduction_positions


class Windows:
    """Spatial dimensions by function, found once."""

    def __init__(self, functions: Mapping[str, Any]) -> None:
        self._functions = functions
        self._found: dict[str, dict[int, frozenset[int]]] = {}

    def of(self, function: str) -> dict[int, frozenset[int]]:
        """Spatial dimensions of each argument of the region `function` (of its result: -1)."""
        if function not in self._found:
            self._found[function] = find_windows(self._functions[function])
        return self._found[function]


def find_windows(function: Any) -> dict[int, frozenset[int]]:
    """Spatial dimensions of each argument of a convolution or pooling region (of its result: -1); else empty.

    Spatial are the loops that slide a window: the operand's index is a sum of loops.
    """
    if all(op.operation.name != "linalg.generic" for op in function.entry_block.operations):
        return {}
    root = find_root(function)
    maps = indexing_maps(root)
    dims = [Linear.dim(str(i)) for i in range(maps[0].n_dims)]
    indices = [apply_map(m, dims) for m in maps]
    found: dict[int, frozenset[int]] = {}
    sliding: set[str] = set()
    for operand, index in zip(root.operands, indices, strict=True):
        sums = frozenset(i for i, form in enumerate(index) if len(form.terms) > 1)
        sliding |= {d for i in sums for d in index[i].dims()}
        if sums and isinstance(operand.owner, ir.Block):
            found[ir.BlockArgument(operand).arg_number] = sums
    spatial = frozenset(i for i, form in enumerate(indices[-1]) if form.dims() & sliding)
    return found | {-1: spatial} if spatial else {}


def filter_order(function: Any, argument: int) -> tuple[int, ...] | None:
    """Dimensions of a depthwise filter, outermost first: those of the window, then channels, which are the lanes.

    None if the argument is not a filter of a depthwise convolution: an operand of a region of kind `reduction` that is
    indexed by reduced and by other loops, one a dimension.
    """
    if ir.StringAttr(function.attributes["seerc.kind"]).value != "reduction":
        return None
    root = find_root(function)
    maps, value = indexing_maps(root), function.entry_block.arguments[argument]
    if value not in list(root.operands):
        return None
    dims = [Linear.dim(str(i)) for i in range(maps[0].n_dims)]
    index = apply_map(maps[list(root.operands).index(value)], dims)
    reduced = {str(i) for i in reduction_positions(root)}
    window = [i for i, form in enumerate(index) if form.dims() <= reduced]
    channels = [i for i in range(len(index)) if i not in window]
    single = all(len(form.terms) == 1 for form in index)
    return (*window, *channels) if single and window and channels else None


def channels_last(shape: Sequence[int], spatial: frozenset[int]) -> tuple[int, ...]:
    """Batch, then the spatial dimensions, then channels; the first of several other dimensions is the batch."""
    others = [d for d in range(len(shape)) if d not in spatial]
    batch = others[:1] if len(others) > 1 else []
    return permuted_strides([*batch, *sorted(spatial), *others[len(batch) :]], shape)

"""Recognises the regions that Winograd schedules can compute: 3x3 convolutions of stride 1 with constant weights."""

from __future__ import annotations

from dataclasses import dataclass

from costmodel.region.expression import Accumulator, Apply, Expr, Load, walk
from costmodel.region.region import Region
from costmodel.region.rewrite import roots


@dataclass(frozen=True)
class WinogradShape:
    """A 3x3 convolution of stride 1: loop dimensions by role ("" if the region lacks it) and its two operands.

    The input is read at `source.address`, the weights at `weights.address`; channels lie next to each other in the
    input, filters in every result.
    """

    batch: str
    height: str
    width: str
    filters: str
    channels: str
    kernel_height: str
    kernel_width: str
    extents: dict[str, int]
    source: Load
    weights: Load

    def tiles(self, outputs: int) -> tuple[int, int, int]:
        """Tiles of `outputs` x `outputs` pixels along batch, height and width."""
        height, width = self.extents[self.height], self.extents[self.width]
        return self.extents.get(self.batch, 1), -(-height // outputs), -(-width // outputs)


def match_winograd(region: Region) -> WinogradShape | None:
    """The convolution of a region; None if it is not 3x3 with stride and dilation 1, dense, f32 and channels-last."""
    if len(region.reductions) != 1 or len(region.reductions[0].dims) != 3:
        return None
    product = _product(region.reductions[0].update)
    if product is None:
        return None
    for source, weights in (product, product[::-1]):
        if region.arguments[weights.argument].constant and _only_read(region, weights):
            return _match(region, source, weights)
    return None


def _product(update: Expr) -> tuple[Load, Load] | None:
    """The loads of `acc + a * b`."""
    if not (isinstance(update, Apply) and update.op.name == "arith.addf"):
        return None
    addends = [e for e in update.operands if not isinstance(e, Accumulator)]
    if len(addends) != 1 or not (isinstance(addends[0], Apply) and addends[0].op.name == "arith.mulf"):
        return None
    left, right = addends[0].operands
    return (left, right) if isinstance(left, Load) and isinstance(right, Load) else None


def _only_read(region: Region, load: Load) -> bool:
    return sum(isinstance(e, Load) and e.argument == load.argument for e in walk(*roots(region))) == 1


def _match(region: Region, source: Load, weights: Load) -> WinogradShape | None:
    reduction = region.reductions[0].dims
    parallel = [d for d in region.extents if d not in reduction]
    x, w = source.address, weights.address
    pairs = [(p, r) for r in reduction for p in parallel if _window(region, source, weights, p, r)]
    if len(pairs) != 2 or len({p for p, _ in pairs}) != 2 or len({r for _, r in pairs}) != 2:
        return None
    (height, kernel_height), (width, kernel_width) = sorted(pairs, key=lambda pair: -x.coefficient(pair[0]))
    filters = [d for d in parallel if d in w.dims()]
    batch = [d for d in parallel if d not in (height, width, *filters)]
    (channels,) = (d for d in reduction if d not in (kernel_height, kernel_width))
    if len(filters) != 1 or len(batch) > 1 or filters[0] in x.dims() or x.coefficient(channels) != 1:
        return None
    if any(s.address.coefficient(filters[0]) != 1 for s in region.stores) or not _all_f32(region, source, weights):
        return None
    dims = (batch[0] if batch else "", height, width, filters[0], channels, kernel_height, kernel_width)
    return WinogradShape(*dims, region.extents, source, weights)


def _window(region: Region, source: Load, weights: Load, pixel: str, tap: str) -> bool:
    """Whether the input is read at `pixel + tap`, of three taps."""
    step = source.address.coefficient(pixel)
    same = step > 0 and source.address.coefficient(tap) == step
    return same and region.extents[tap] == 3 and weights.address.coefficient(pixel) == 0


def _all_f32(region: Region, *loads: Load) -> bool:
    return all(str(region.arguments[e.argument].type) == "f32" for e in (*loads, *region.stores))

"""FFN matrices truncated by singular value decomposition, put in place for as long as a measurement takes."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from compiler.adapt.stream import ResidualStream


@dataclass(frozen=True)
class _Factors:
    """weight ~ left @ right, singular values in `left`, largest first: [m, r], [r, n]."""

    weight: Tensor
    left: Tensor
    right: Tensor


class FfnFactors:
    """The truncated decompositions of every FFN matrix of a model, made when first asked for."""

    def __init__(self, stream: ResidualStream, shares: Sequence[float]) -> None:
        self._stream, self._most = stream, max(shares)
        self._known: dict[int, list[_Factors]] = {}

    def bytes_share(self, block: int, share: float) -> float:
        """Bytes of the two factors over those of the matrices, for the FFN that is sub-block `block`."""
        weights = self._stream.ffn_weights(block)
        whole = sum(weight.numel() for weight in weights)
        return sum(_rank(weight, share) * sum(weight.shape) for weight in weights) / whole

    def rank(self, block: int, share: float) -> int:
        """The rank that a share of the full one means for the FFN that is sub-block `block`."""
        return min(_rank(weight, share) for weight in self._stream.ffn_weights(block))

    @contextmanager
    def truncated(self, shares: Mapping[int, float]) -> Generator[None]:
        """While active, the FFNs of these sub-blocks have matrices of that share of the full rank."""
        changed = [(factors, share) for block, share in shares.items() for factors in self._of(block)]
        originals = [factors.weight.detach().clone() for factors, _ in changed]
        with torch.no_grad():
            try:
                for factors, share in changed:
                    rank = _rank(factors.weight, share)
                    factors.weight.copy_(factors.left[:, :rank] @ factors.right[:rank])
                yield
            finally:
                for (factors, _), original in zip(changed, originals, strict=True):
                    factors.weight.copy_(original)

    def _of(self, block: int) -> list[_Factors]:
        if block not in self._known:
            self._known[block] = [_decomposed(weight, self._most) for weight in self._stream.ffn_weights(block)]
        return self._known[block]


def _rank(weight: Tensor, share: float) -> int:
    return max(1, round(min(weight.shape) * share))


def _decomposed(weight: Tensor, share: float) -> _Factors:
    rank = _rank(weight, share)
    left, values, right = torch.linalg.svd(weight.detach(), full_matrices=False)
    return _Factors(weight, (left[:, :rank] * values[:rank]).contiguous(), right[:rank].contiguous())

"""Other ways to compute a sub-block (P2): what each streams, and how torch computes it while its loss is measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from compiler.adapt.layers import matrix_of
from compiler.adapt.low_rank import Factors, factors_of, rank_of
from compiler.adapt.neurons import Activity
from compiler.adapt.stream import ResidualStream
from passes.adaptive.int8_weights import rounded_to_int8

KINDS = ("low-rank", "small-ffn", "int8", "r-sparse")
COMPILED = KINDS[:3]
"""Kinds that `seerc generate` can run; the compiler has no kernels for the other."""


class Alternative(Protocol):
    """One way, for any sub-block that it fits."""

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str: ...

    def fits(self, block: int) -> bool:
        """Whether it can stand for the sub-block (2 L: the head), and is smaller than its own matrices."""
        ...

    def bytes_share(self, block: int) -> float:
        """Bytes that it streams for a token over those of the matrices in f32."""
        ...

    def applied(self, block: int) -> AbstractContextManager[None]:
        """While active, the model computes the sub-block this way."""
        ...


def alternatives(stream: ResidualStream, activity: Callable[[], Activity], kinds: Iterable[str]) -> list[Alternative]:
    """All ways of these kinds; `activity` is asked only if neurons are to be chosen."""
    wanted = set(kinds)
    cache: dict[int, list[Factors]] = {}
    found: list[Alternative] = []
    if "low-rank" in wanted:
        found += [LowRank(stream, share, cache) for share in (0.5, 0.25)]
    if "small-ffn" in wanted:
        kept = activity()
        found += [SmallFfn(stream, share, kept) for share in (0.75, 0.5, 0.25)]
    if "int8" in wanted:
        found.append(Int8(stream))
    if "r-sparse" in wanted:
        found.append(RSparse(stream, cache))
    return found


class _OnMatrices(ABC):
    """What all have in common: a stream, whose sub-blocks have matrices."""

    kind = ""
    name = ""

    def __init__(self, stream: ResidualStream) -> None:
        self.stream = stream

    def matrices(self, block: int) -> list[Tensor]:
        """[outputs, inputs] each; views of the weights."""
        return [matrix_of(linear) for linear in self.stream.linears(block)]

    def fits(self, block: int) -> bool:
        return block < self.stream.blocks and self.bytes_share(block) < 1

    def bytes_share(self, block: int) -> float:
        """Sum over the matrices of `streamed` over their elements."""
        matrices = self.matrices(block)
        return sum(self.streamed(matrix) for matrix in matrices) / sum(matrix.numel() for matrix in matrices)

    @abstractmethod
    def streamed(self, matrix: Tensor) -> float:
        """f32 elements that are read in place of the matrix."""


def cached_factors(cache: dict[int, list[Factors]], block: int, matrices: Sequence[Tensor], rank: int) -> list[Factors]:
    """Truncated decompositions of a sub-block's matrices; `cache` keeps the largest that were asked for."""
    known = cache.get(block)
    if known is None or any(f.left.shape[1] < min(rank, *m.shape) for f, m in zip(known, matrices, strict=True)):
        known = cache[block] = [factors_of(matrix, rank) for matrix in matrices]
    return [Factors(f.left[:, :rank], f.right[:rank]) for f in known]


class LowRank(_OnMatrices):
    """An FFN whose matrices are truncated to a share of their full rank by SVD."""

    kind = "low-rank"

    def __init__(self, stream: ResidualStream, share: float, cache: dict[int, list[Factors]]) -> None:
        """`cache`: decompositions by sub-block, at least of this rank; the largest share fills it."""
        super().__init__(stream)
        self.share, self.name, self._cache = share, f"low-rank {share:g}", cache

    def fits(self, block: int) -> bool:
        return block % 2 == 1 and super().fits(block)

    def streamed(self, matrix: Tensor) -> float:
        return rank_of(matrix, self.share) * sum(matrix.shape)

    def rank(self, block: int) -> int:
        """Of the two factors of each matrix."""
        return min(rank_of(matrix, self.share) for matrix in self.matrices(block))

    def applied(self, block: int) -> AbstractContextManager[None]:
        matrices, rank = self.matrices(block), self.rank(block)
        known = cached_factors(self._cache, block, matrices, rank)
        return replaced((m, f.left @ f.right) for m, f in zip(matrices, known, strict=True))


class SmallFfn(_OnMatrices):
    """An FFN with a share of its neurons: those whose output is largest on the calibration texts."""

    kind = "small-ffn"

    def __init__(self, stream: ResidualStream, share: float, activity: Activity) -> None:
        super().__init__(stream)
        self.share, self.name, self._activity = share, f"small-ffn {share:g}", activity

    def fits(self, block: int) -> bool:
        return block % 2 == 1

    def streamed(self, matrix: Tensor) -> float:
        return matrix.numel() * self.share

    def kept(self, block: int) -> tuple[int, ...]:
        """The neurons that stay."""
        return self._activity.most(block, self.share)

    def applied(self, block: int) -> AbstractContextManager[None]:
        output = self.matrices(block)[-1]
        fewer = torch.zeros_like(output)
        index = list(self.kept(block))
        fewer[:, index] = output[:, index]
        return replaced([(output, fewer)])


class Int8(_OnMatrices):
    """Weights rounded to 8 bits, symmetric, one scale for each output channel; activations stay f32."""

    kind = name = "int8"

    def fits(self, block: int) -> bool:
        return self.bytes_share(block) < 1

    def streamed(self, matrix: Tensor) -> float:
        return matrix.numel() / 4 + matrix.shape[0]

    def applied(self, block: int) -> AbstractContextManager[None]:
        return replaced((matrix, rounded(matrix)) for matrix in self.matrices(block))


def rounded(matrix: Tensor) -> Tensor:
    """The matrix [outputs, inputs] after rounding to -127 ... 127 times a scale for each row, as programs have it."""
    values, scale = rounded_to_int8(matrix.numpy(), 0)
    return torch.from_numpy(values) * torch.from_numpy(scale)[:, None]


class RSparse(_OnMatrices):
    """R-Sparse (arXiv 2504.19449), training-free: y = W x' + V U (x - x').

    x' keeps a share of the input channels, for every token those of the largest |x_i| |W_:i|; V U is W's truncated SVD.
    Theirs searches the shares by layer; here they are the same everywhere.
    """

    kind = "r-sparse"

    def __init__(
        self, stream: ResidualStream, cache: dict[int, list[Factors]], channels: float = 0.4, rank: float = 0.05
    ) -> None:
        super().__init__(stream)
        self.channels, self.rank, self.name, self._cache = channels, rank, f"r-sparse {channels:g}", cache

    def streamed(self, matrix: Tensor) -> float:
        return matrix.numel() * self.channels + rank_of(matrix, self.rank) * sum(matrix.shape)

    @contextmanager
    def applied(self, block: int) -> Generator[None]:
        linears, matrices = self.stream.linears(block), self.matrices(block)
        before = [linear.forward for linear in linears]
        most = max(rank_of(matrix, self.rank) for matrix in matrices)
        for linear, factors in zip(linears, cached_factors(self._cache, block, matrices, most), strict=True):
            linear.forward = self._forward(linear, factors)
        try:
            yield
        finally:
            for linear, forward in zip(linears, before, strict=True):
                linear.forward = forward

    def _forward(self, linear: Any, factors: Factors) -> Callable[[Tensor], Tensor]:
        matrix = matrix_of(linear)
        rank, norms = rank_of(matrix, self.rank), matrix.norm(dim=0)
        left, right = factors.left[:, :rank].T, factors.right[:rank].T
        count, bias = max(1, round(self.channels * matrix.shape[1])), linear.bias

        def forward(x: Tensor) -> Tensor:
            chosen = (x.abs() * norms).topk(count, -1).indices
            large = torch.zeros_like(x).scatter(-1, chosen, x.gather(-1, chosen))
            y = large @ matrix.T + (x - large) @ right @ left
            return y if bias is None else y + bias

        return forward


@contextmanager
def replaced(pairs: Iterable[tuple[Tensor, Tensor]]) -> Generator[None]:
    """While active, each first tensor holds the second one's values."""
    found = list(pairs)
    originals = [tensor.clone() for tensor, _ in found]
    with torch.no_grad():
        try:
            for tensor, values in found:
                tensor.copy_(values)
            yield
        finally:
            for (tensor, _), original in zip(found, originals, strict=True):
                tensor.copy_(original)


@contextmanager
def all_applied(changes: Mapping[int, Alternative]) -> Generator[None]:
    """While active, these sub-blocks are computed in these ways."""
    with ExitStack() as stack:
        for block, change in changes.items():
            stack.enter_context(change.applied(block))
        yield

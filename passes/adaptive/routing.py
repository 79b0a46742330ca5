"""The router of a mixture of depths: scores, static top-k, and where the chosen tokens go and come from."""

from __future__ import annotations

from dataclasses import dataclass

from passes.adaptive.rows import Scalars, as_vector, cast, constant, element_of, i32, index, loops, split_first
from passes.fusion.generic import shape
from passes.mlir import arith, ir

Less, LessEqual = arith.CmpIPredicate.slt, arith.CmpIPredicate.sle


@dataclass(frozen=True)
class Routes:
    """B sequences of T tokens, k of each chosen.

    Attributes:
        sequences: B.
        tokens: T.
        count: k.
        scores: r of each token, [B * T].
        ranks: how many tokens of its sequence go before each one, i32 [B * T]; the chosen ones have less than k.
        origins: the position of the token in each slot, ascending, i32 [B, k].
        chosen_rows: the same as rows of the stream, b * T + position, i32 [B * k].
        slot_rows: for each token its row among the chosen, b * k + slot, i32 [B * T]; anything for the others.
    """

    sequences: int
    tokens: int
    count: int
    scores: ir.Value
    ranks: ir.Value
    origins: ir.Value
    chosen_rows: ir.Value
    slot_rows: ir.Value


def route(stream: ir.Value, router: ir.Value, sequences: int, count: int, offset: float) -> Routes:
    """Expert choice (arXiv 2404.02258) of the `count` best tokens of each sequence, at the insertion point.

    Ranks are counted by comparing all pairs: nothing is sorted, and all shapes are known when compiling. Of equal
    scores the earlier goes first; NaN is like minus infinity.

    Args:
        stream: [B * T, d].
        router: w [d]; the score is r = x . w + `offset`.
        sequences: B.
        count: k.
        offset: constant part of the score.
    """
    tokens = shape(stream)[0] // sequences
    scores = _scores(stream, router, offset)
    ranks = _ranks(_comparable(scores, [sequences, tokens]))
    through = _through(ranks, count)
    origins = _origins(through, count)
    chosen, slots = _rows(origins, tokens, 0), _rows(through, count, -1)
    return Routes(sequences, tokens, count, scores, as_vector(ranks), origins, chosen, slots)


def _scores(stream: ir.Value, router: ir.Value, offset: float) -> ir.Value:
    def dot(s: Scalars) -> Scalars:
        return [arith.addf(s[2], arith.mulf(s[0], s[1]))]

    element, sizes = element_of(stream), shape(stream)
    scores = loops([stream, router], [[0, 1], [1]], sizes, element, dot, 1)
    if not offset:
        return scores
    added = constant(element, offset)
    return loops([scores], [[0]], sizes[:1], element, lambda s: [arith.addf(s[0], added)])


def _comparable(scores: ir.Value, sizes: list[int]) -> ir.Value:
    """[B, T] without NaN."""
    least = constant(element_of(scores), float("-inf"))
    safe = loops([scores], [[0]], shape(scores), element_of(scores), lambda s: [arith.maxnumf(s[0], least)])
    return split_first(safe, sizes)


def _ranks(scores: ir.Value) -> ir.Value:
    def count(s: Scalars) -> Scalars:
        theirs, ours, total = s
        more = arith.cmpf(arith.CmpFPredicate.OGT, theirs, ours)
        equal = arith.cmpf(arith.CmpFPredicate.OEQ, theirs, ours)
        earlier = arith.cmpi(Less, index(2), index(1))
        return [_count(total, arith.ori(more, arith.andi(equal, earlier)))]

    sequences, tokens = shape(scores)
    return loops([scores, scores], [[0, 2], [0, 1]], [sequences, tokens, tokens], i32(), count, 1)


def _through(ranks: ir.Value, count: int) -> ir.Value:
    """How many tokens are chosen up to each one, itself included."""
    limit = constant(i32(), count)

    def add(s: Scalars) -> Scalars:
        return [_count(s[1], arith.andi(arith.cmpi(LessEqual, index(2), index(1)), arith.cmpi(Less, s[0], limit)))]

    sequences, tokens = shape(ranks)
    return loops([ranks], [[0, 2]], [sequences, tokens, tokens], i32(), add, 1)


def _origins(through: ir.Value, count: int) -> ir.Value:
    """In slot j stands the first token up to which j + 1 are chosen: for the tokens before it there are at most j."""

    def add(s: Scalars) -> Scalars:
        return [_count(s[1], arith.cmpi(LessEqual, s[0], cast(index(1), i32())))]

    sequences, tokens = shape(through)
    return loops([through], [[0, 2]], [sequences, count, tokens], i32(), add, 1)


def _rows(places: ir.Value, length: int, shift: int) -> ir.Value:
    """b * length + place + shift, of places [B, n], as [B * n]; place + shift is at least 0."""
    step, moved, zero = (constant(i32(), value) for value in (length, shift, 0))

    def body(s: Scalars) -> Scalars:
        place = arith.maxsi(arith.addi(s[0], moved), zero)
        return [arith.addi(place, arith.muli(cast(index(0), i32()), step))]

    return as_vector(loops([places], [[0, 1]], shape(places), i32(), body))


def _count(total: ir.Value, condition: ir.Value) -> ir.Value:
    return arith.addi(total, arith.extui(i32(), condition))

"""What the rounds of a few skip sets take on this machine: the steps of one decoder, timed as decoding runs them.

Predictions say where to search. Of the few sets that they like best a round is then timed: plain steps, drafts and
verification behind one another, so that each finds the caches as it will, with what the host adds, on texts as long as
those that will be written. The draft length and the decision come from these times.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from compiler.adapt.continuations import Continuations
from compiler.adapt.costs import Costs, StepCosts
from compiler.adapt.oracle import Skips
from compiler.adapt.speculation import step_ns
from compiler.decode.build import PREFILL, compile_decoder
from compiler.decode.decoder import Array, Decoder
from compiler.decode.export import DecoderOptions
from compiler.decode.sampling import Sampling
from compiler.decode.source import load_source
from compiler.driver import CompileOptions

REPEATS = 2
"""Of every skip set and width, and of plain decoding, in shuffled order."""
WARM, BURST = 8, 8
"""Rounds behind one another that do not count and that do. Weights that fit the last cache only just take some ten
steps to settle there, and a step is a third slower until then."""
PLAIN = 4
"""Plain steps in place of a round."""
WIDEST = 10
"""Of a timed verification; the decoder has a step for each."""
_GREEDY = Sampling()

Timer = Callable[[Sequence[Skips], int], Mapping[Skips, Costs]]
"""(skip sets, widest verification) -> costs of rounds with each set."""


@dataclass
class RoundTimes:
    """Nanoseconds of the parts of rounds with one skip set, as often as they ran.

    `plain` steps of decoding without drafts, the `first` draft of a round, `later` ones, verification by width.
    """

    plain: list[float]
    first: list[float] = field(default_factory=list[float])
    later: list[float] = field(default_factory=list[float])
    verified: dict[int, list[float]] = field(default_factory=dict[int, list[float]])

    def costs(self, predicted: Costs) -> Costs:
        """As the chooser reads them; steps wider than those timed are as much slower as predicted."""
        first, step = float(np.median(self.first)), float(np.median(self.plain))
        later = float(np.median(self.later)) if self.later else first
        steps = {1: step} | {q: float(np.median(times)) for q, times in self.verified.items()}
        nothing, widest = (0.0,) * len(predicted(1).blocks), max(steps)
        spread = float(np.hypot(_error(self.first), _error(self.plain)))
        draft = StepCosts(nothing, first, spread, again=lambda _: later)

        def costs(width: int) -> StepCosts:
            known = min((q for q in steps if q >= width), default=widest)
            wider = step_ns(predicted(width)) / step_ns(predicted(widest)) if width > widest else 1.0
            return StepCosts(nothing, wider * steps[known], spread, draft=draft)

        return costs


def _error(times: Sequence[float]) -> float:
    """Half of the 95 % interval of a median, relative; from the quartiles, since some runs are disturbed."""
    low, middle, high = np.quantile(times, [0.25, 0.5, 0.75])
    return float(1.96 * 1.253 * (high - low) / 1.349 / middle / np.sqrt(len(times)))


def round_timer(
    model: str,
    texts: Continuations,
    batch: int,
    context: int,
    int8: bool,
    predicted: Costs,
    tell: Callable[[str], None],
) -> Timer:
    """Compiles the steps of a model when it is asked, and times them in the middle of these texts' continuations.

    Args:
        model: as `load_source` takes it.
        texts: those that sets are chosen on.
        batch: sequences decoded together.
        context: tokens that the cache holds.
        int8: drafts have weights of 8 bits.
        predicted: costs of steps that are not timed.
        tell: is told what is being done.
    """

    def timer(sets: Sequence[Skips], widest: int) -> dict[Skips, Costs]:
        widths, skippable = tuple(range(2, widest + 1)), not int8 or any(sets)
        options = DecoderOptions(batch, context, widths, min(PREFILL, context), skippable=skippable, draft_int8=int8)
        decoder = compile_decoder(load_source(model), options, CompileOptions(), tell).decoder(1)
        tell(f"timing rounds of {len(sets)} skip sets, drafts of 1 to {widest - 1}")
        found = time_rounds(decoder, middles(texts, max(1, context - widest)), sets, widths)
        return {skipped: times.costs(predicted) for skipped, times in found.items()}

    return timer


def middles(texts: Continuations, longest: int) -> list[list[int]]:
    """Each text up to the middle of its continuation."""
    ends = ((texts.starts + texts.ends) // 2).tolist()
    return [text[: min(end, longest)].tolist() for text, end in zip(texts.tokens, ends, strict=True)]


def time_rounds(
    decoder: Decoder, texts: Sequence[Sequence[int]], sets: Sequence[Skips], widths: Sequence[int]
) -> dict[Skips, RoundTimes]:
    """Bursts of rounds of every set and width, and of plain decoding, behind each of REPEATS prefills."""
    plain = list[float]()
    found = {skipped: RoundTimes(plain) for skipped in sets}
    for repeat in range(REPEATS):
        last = decoder.prefill([texts[(repeat * decoder.batch + b) % len(texts)] for b in range(decoder.batch)])
        rounds = _Rounds(decoder, last, decoder.lengths.copy())
        order = [(skipped, width) for skipped in sets for width in (1, *widths)]
        random.Random(repeat).shuffle(order)
        for skipped, width in order:
            for count in range(WARM + BURST):
                times = found[skipped] if count >= WARM else RoundTimes([])
                rounds.run(_mask(decoder, skipped), width, times)
    return found


def _mask(decoder: Decoder, skipped: Skips) -> Array | None:
    if not decoder.blocks:
        return None
    mask = np.ones(decoder.blocks, np.bool_)
    mask[list(skipped)] = False
    return mask


@dataclass(frozen=True)
class _Rounds:
    """Rounds after the same cached tokens, `start` of them; `last` [B, 1] are the first that are drafted from."""

    decoder: Decoder
    last: Array
    start: Array

    def run(self, mask: Array | None, width: int, times: RoundTimes) -> None:
        """One round that verifies `width` tokens; of one, PLAIN steps."""
        decoder = self.decoder
        if width == 1:
            for _ in range(PLAIN):
                times.plain.append(self._timed(lambda: decoder.step(self.last)[:, -1], 1)[1])
                decoder.rewind(self.start)
            return
        tokens = [self.last]
        for place in range(width - 1):
            chosen, spent = self._timed(lambda: decoder.draft(tokens[-1], mask)[:, -1], 1)
            tokens.append(chosen[:, None])
            (times.later if place else times.first).append(spent)
        decoder.rewind(self.start)
        _, spent = self._timed(lambda: decoder.step(np.concatenate(tokens, 1)), width)
        times.verified.setdefault(width, []).append(spent)
        decoder.rewind(self.start)

    def _timed(self, step: Callable[[], Array], kept: int) -> tuple[Array, float]:
        """The tokens that a step chooses, once they are cached, and the nanoseconds that it all took."""
        begin = time.perf_counter()
        chosen = _GREEDY.probabilities(step())
        self.decoder.keep(kept)
        return chosen, (time.perf_counter() - begin) * 1e9

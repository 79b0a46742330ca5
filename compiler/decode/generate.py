"""Text generation with a compiled decoder: plain and speculative, greedy and sampled.

Speculation drafts K tokens with some sub-blocks skipped, or with weights of 8 bits, verifies them in one step of width
K + 1, and keeps what the
full model would have said: greedy output is that of plain decoding token by token, sampled output has its distribution
(Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", 2022, algorithm 1).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compiler.decode.decoder import Decoder
from compiler.decode.sampling import Sampling, confidence
from costmodel.errors import SeercError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Draft:
    """At most `length` tokens are drafted without the sub-blocks `skip`; with `int8` by weights of 8 bits.

    `stop_below`: a token to which the draft gives a lower probability than this is the last of its draft (the
    confidence stop of Draft & Verify, arXiv 2309.08168, and SWIFT, arXiv 2410.06916); None drafts `length` always.
    """

    skip: tuple[int, ...]
    length: int
    stop_below: float | None = None
    int8: bool = False

    def __post_init__(self) -> None:
        if self.length < 1:
            raise SeercError(f"a draft has at least one token, got {self.length}")
        if self.stop_below is not None and not 0 < self.stop_below <= 1:
            raise SeercError(f"a draft stops below a probability in (0, 1], got {self.stop_below}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the steps that verify it."""
        return verify_widths(self.length, self.stop_below is not None)


def verify_widths(length: int, stops: bool) -> tuple[int, ...]:
    """Widths of the steps that verify drafts of at most `length` tokens.

    A draft that stops early has any number of tokens: it is padded to the next power of two.
    """
    powers = [1 << k for k in range(1, length.bit_length() + 1) if 1 << k <= length] if stops else []
    return (*powers, length + 1)


def next_width(widths: Sequence[int], tokens: int) -> int:
    """The smallest width that takes so many tokens."""
    return min(width for width in widths if width >= tokens)


def planned_draft(plan: Mapping[str, Any] | None) -> Draft | None:
    """The draft that a plan of `seerc adapt` asks for; None if it refuses or changes the program, or for no plan."""
    try:
        if plan is None or plan["decision"] == "refuse":
            return None
        if plan["method"] in ("static", "mod") and plan["decision"] == "apply":
            return None  # another program, which decodes plainly
        if plan["method"] == "skip" and plan["decision"] == "apply":
            stop = plan.get("stop_below")
            stop = None if stop is None else float(stop)
            return Draft(tuple(map(int, plan["skipped"])), int(plan["draft_length"]), stop, bool(plan.get("int8")))
        what = f"method {plan['method']}, decision {plan['decision']}"
    except (KeyError, TypeError, ValueError) as error:
        raise SeercError("the plan is damaged: write it again with `seerc adapt -o`") from error
    raise SeercError(f"the plan ({what}) has no draft to generate with: `seerc adapt --method skip` makes one")


@dataclass
class Statistics:
    """What speculation did: `rounds` of a draft and its verification, tokens `drafted`, and `accepted` of them.

    `prefill_s`: seconds until the first step.
    """

    prefill_s: float = 0.0
    rounds: int = 0
    drafted: int = 0
    accepted: int = 0

    def add(self, other: Statistics) -> None:
        """Sum up."""
        self.prefill_s += other.prefill_s
        self.rounds += other.rounds
        self.drafted += other.drafted
        self.accepted += other.accepted

    @property
    def acceptance(self) -> float:
        """Share of the drafted tokens that were accepted; those behind a rejected one count as rejected."""
        return self.accepted / self.drafted if self.drafted else 0.0


@dataclass(frozen=True)
class Request:
    """What to generate: at most `tokens` new ones a sequence, up to and with an `end` token."""

    tokens: int
    end: tuple[int, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)


def generate(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    request: Request,
    draft: Draft | None = None,
    statistics: Statistics | None = None,
) -> Iterator[list[list[int]]]:
    """New tokens, as soon as they are known: each item has a list for every sequence, empty once that has ended."""
    if draft is not None and max(decoder.widths) <= draft.length:
        raise SeercError(f"drafts of {draft.length} tokens need a step of width {draft.length + 1} to verify them")
    statistics = statistics if statistics is not None else Statistics()
    run = _Run(decoder, request, draft, statistics)
    begin = time.perf_counter()
    last = decoder.prefill(prompts)
    statistics.prefill_s = time.perf_counter() - begin
    left = np.full(decoder.batch, request.tokens)
    while left.any():
        run.end(left == 0)
        longest = run.longest_draft(int(left.max()))
        found = run.speculate(last, longest) if longest else run.plain(last)
        last = np.array([[tokens[-1]] for tokens in found], np.int64)
        yield [_cut(tokens, left, b, request.end) for b, tokens in enumerate(found)]


def _cut(tokens: list[int], left: Array, b: int, end: tuple[int, ...]) -> list[int]:
    """As many of the tokens as sequence `b` still wants; lowers `left[b]`."""
    kept = tokens[: int(left[b])]
    stop = next((i for i, token in enumerate(kept) if token in end), None)
    kept = kept if stop is None else kept[: stop + 1]
    left[b] = 0 if stop is not None else left[b] - len(kept)
    return kept


@dataclass
class _Run:
    decoder: Decoder
    request: Request
    draft: Draft | None
    statistics: Statistics

    def __post_init__(self) -> None:
        self.mask = np.ones(self.decoder.blocks, np.bool_)
        if self.draft is not None:
            if self.draft.int8 != self.decoder.drafts_apart:
                kind = ("f32", "8-bit")[self.draft.int8]
                raise SeercError(f"this decoder does not draft with {kind} weights: compile it for this draft")
            if self.draft.skip and not self.decoder.blocks:
                raise SeercError("this decoder cannot skip sub-blocks: compile it as skippable")
            unknown = [block for block in self.draft.skip if not 0 <= block < self.decoder.blocks]
            if unknown:
                raise SeercError(f"no sub-block {unknown[0]} to skip: this decoder has 0 to {self.decoder.blocks - 1}")
            self.mask[list(self.draft.skip)] = False
        self.ended = np.zeros(self.decoder.batch, np.bool_)

    def end(self, ended: Array) -> None:
        """Empty the caches of sequences that have ended: a full one would stop the others."""
        self.ended = ended
        self.decoder.rewind(np.where(ended, 0, self.decoder.lengths))

    def longest_draft(self, left: int) -> int:
        """Tokens that a round may draft if so many are wanted, one of them the full model's; 0: none, or no room."""
        if self.draft is None or int(self.decoder.lengths.max()) + self.draft.length >= self.decoder.context:
            return 0
        return min(self.draft.length, left - 1)

    def plain(self, last: Array) -> list[list[int]]:
        """One token a sequence."""
        logits = self.decoder.step(last)[:, -1]
        self.decoder.keep((~self.ended).astype(np.int64))
        return [[token] for token in self.request.sampling.choose(logits)]

    def speculate(self, last: Array, longest: int) -> list[list[int]]:
        """One round of at most `longest` drafts: at least one token a sequence."""
        assert self.draft is not None
        decoder, sampling, start = self.decoder, self.request.sampling, self.decoder.lengths.copy()
        tokens, drafts, going = [last], list[Array](), ~self.ended
        while len(drafts) < longest and going.any():
            logits = decoder.draft(tokens[-1], self.mask)[:, -1]
            drafts.append(sampling.probabilities(logits))
            decoder.keep(1)
            tokens.append(sampling.draw(drafts[-1])[:, None])
            if self.draft.stop_below is not None:  # whatever token was drawn: its distribution stays exact
                going &= confidence(logits) >= self.draft.stop_below
        decoder.rewind(start)
        proposed = np.concatenate(tokens, 1)
        full = sampling.probabilities(self._verify(proposed))
        found = [sampling.accept(proposed[b, 1:], [d[b] for d in drafts], full[b]) for b in range(decoder.batch)]
        decoder.keep(np.where(self.ended, 0, [len(tokens) for tokens in found]))
        self._count(found, len(drafts))
        return found

    def _verify(self, proposed: Array) -> Array:
        """Logits of the full model at `proposed` [B, q]; the step may be wider, its rows see no later ones."""
        count = proposed.shape[1]
        padding = next_width(self.decoder.widths, count) - count
        return self.decoder.step(np.pad(proposed, ((0, 0), (0, padding))))[:, :count]

    def _count(self, found: list[list[int]], drafted: int) -> None:
        self.statistics.rounds += 1
        for tokens, ended in zip(found, self.ended, strict=True):
            if not ended:
                self.statistics.drafted += drafted
                self.statistics.accepted += len(tokens) - 1

"""How good a skip set really is: the draft run at every position of the full model's continuations, at once."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compiler.adapt.continuations import Continuations
from compiler.adapt.rounds import rates_of, tokens_per_round
from compiler.adapt.stream import LayerInputs, ResidualStream

_ROUNDS = 8
"""Of every text that are drafted at once."""
Skips = frozenset[int]
Drafting = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Measured:
    """One skip set on one set of continuations; arrays [B, R], `valid` where a token was generated.

    `agrees`: the draft's first choice is the full model's. `overlap`: sum over tokens of min(p_full, p_draft), the
    acceptance of sampled speculation. `kl`: KL(full || draft) in nats. `confidence`: the draft's highest probability.
    `rank`: how many tokens the draft likes more than the full model's first choice.
    """

    skipped: Skips
    agrees: np.ndarray
    overlap: np.ndarray
    kl: np.ndarray
    valid: np.ndarray
    confidence: np.ndarray
    rank: np.ndarray

    @property
    def hits(self) -> int:
        """Positions where the draft agrees."""
        return int(self.agrees[self.valid].sum())

    @property
    def tokens(self) -> int:
        """Positions measured."""
        return int(self.valid.sum())

    @property
    def acceptance(self) -> float:
        """Share of positions where the draft agrees: the one-step acceptance of greedy speculation."""
        return self.hits / self.tokens

    @property
    def mean_overlap(self) -> float:
        """Mean of sum min(p_full, p_draft): bounded and smooth, so less noisy than the count of agreements."""
        return float(self.overlap[self.valid].mean())

    @property
    def mean_kl(self) -> float:
        """Mean KL(full || draft), nats a token."""
        return float(self.kl[self.valid].mean())

    def by_position(self, longest: int) -> tuple[float, ...]:
        """a_1 ... a_longest: how often the j-th of a run of drafts agrees when those before it did, over all starts.

        Errors come in runs, so this says more than one rate. Drafts later in a round see the keys of the full network
        here, not their own round's.
        """
        alive = self.valid.copy()
        rates: list[float] = []
        for shift in range(min(longest, alive.shape[1])):
            ahead = np.zeros_like(alive)
            ahead[:, : alive.shape[1] - shift] = self.valid[:, shift:]
            agreed = np.zeros_like(alive)
            agreed[:, : alive.shape[1] - shift] = self.agrees[:, shift:]
            alive &= ahead
            count = int(alive.sum())
            alive &= agreed
            rates.append(float(alive.sum()) / count if count else (rates[-1] if rates else 0.0))
        return tuple(rates)


@dataclass(frozen=True)
class Rows:
    """The positions whose next token is drafted, [B, R], with the full run's stream and next tokens at them.

    `hidden[b]` is the full stream before sub-block b, `hidden[-1]` behind the last layer: [B, R, d] each.
    """

    inputs: LayerInputs
    seen: Tensor
    own: Tensor
    valid: Tensor
    hidden: list[Tensor]


class Oracle:
    """Measures skip sets of one model on one set of continuations; what it has measured it remembers."""

    def __init__(self, stream: ResidualStream, texts: Continuations, drafting: Drafting | None = None) -> None:
        """`drafting`: a context in which the model is what drafts run, if that is not the model itself."""
        self.stream, self.texts, self.drafting = stream, texts, drafting or nullcontext
        self._shared_layers = drafting is None
        with torch.no_grad():
            self._record()
            self.rows = self.select(int((texts.ends - texts.starts).max()))
            logits = self._logits(self.rows.hidden[-1], self.rows.inputs)
            self._full = torch.log_softmax(logits, -1)
            self._next = logits.argmax(-1)
        self._known: dict[Skips, Measured] = {}
        self._streams_of_texts: list[Tensor] = []

    def _record(self) -> None:
        """One full run over whole texts, for its keys and values."""
        state = self.stream.attention
        state.full_run()
        tokens = self.texts.tokens
        inputs = self.stream.inputs(tokens, torch.arange(tokens.shape[1]).expand_as(tokens))
        self.stream.run(inputs.hidden, inputs)
        self._keys, self._values = state.keys, state.values

    def select(self, count: int) -> Rows:
        """`count` positions a text, evenly spread over its continuation (all of them if it has no more)."""
        starts, ends = self.texts.starts, self.texts.ends
        length = (ends - starts).unsqueeze(1)
        slots = torch.arange(count).unsqueeze(0)
        offsets = torch.where(length > count, slots * length // count, torch.minimum(slots, length - 1))
        positions = starts.unsqueeze(1) - 1 + offsets
        valid = slots < length
        seen = torch.arange(self.texts.tokens.shape[1]) < positions.unsqueeze(2)
        own = torch.eye(count, dtype=torch.bool).expand(len(starts), count, count)
        inputs = self.stream.inputs(self.texts.tokens.gather(1, positions), positions)
        rows = Rows(inputs, seen.unsqueeze(1), own.unsqueeze(1), valid, [])
        self.attend_to(rows)
        rows.hidden.extend(self._streams(inputs))
        return rows

    def attend_to(self, rows: Rows) -> None:
        """Let the model's attentions serve these rows; other oracles of the same stream may have run since."""
        state = self.stream.attention
        state.keys, state.values, state.seen, state.own = self._keys, self._values, rows.seen, rows.own

    def _streams(self, inputs: LayerInputs) -> list[Tensor]:
        hidden, streams = inputs.hidden, [inputs.hidden]
        for block in range(self.stream.blocks):
            entry = streams[block - block % 2]
            hidden = self.stream.step(block, hidden, entry, inputs)
            streams.append(hidden)
        return streams

    def _logits(self, hidden: Tensor, inputs: LayerInputs) -> Tensor:
        return self.stream.logits(hidden, inputs)

    def measure(self, skipped: Collection[int]) -> Measured:
        """Agreement and KL of the draft without `skipped` at every position."""
        key = frozenset(skipped)
        if key not in self._known:
            self._known[key] = self._measure(key)
        return self._known[key]

    def _measure(self, skipped: Skips) -> Measured:
        rows = self.rows
        self.attend_to(rows)
        return self._compared(skipped, self._draft(skipped, rows))

    def _compared(self, skipped: Skips, logits: Tensor) -> Measured:
        agrees = (logits.argmax(-1) == self._next).numpy()
        kl, overlap, confidence = (np.empty(agrees.shape, np.float32) for _ in range(3))
        rank = np.empty(agrees.shape, np.int64)
        for text in range(len(logits)):  # one text at a time stays in the cache
            draft, full = torch.log_softmax(logits[text], -1), self._full[text]
            chances = full.exp()
            kl[text] = (chances * (full - draft)).sum(-1).numpy()
            overlap[text] = torch.minimum(chances, draft.exp()).sum(-1).numpy()
            confidence[text] = draft.amax(-1).exp().numpy()
            rank[text] = (draft > draft.gather(-1, self._next[text].unsqueeze(-1))).sum(-1).numpy()
        return Measured(skipped, agrees, overlap, kl, self.rows.valid.numpy(), confidence, rank)

    def _draft(self, skipped: Skips, rows: Rows) -> Tensor:
        first = min(skipped, default=0) // 2 if self._shared_layers else 0
        with torch.no_grad(), self.drafting():
            hidden = self.stream.run(rows.hidden[2 * first], rows.inputs, first, skipped)
            return self._logits(hidden, rows.inputs)

    def run_acceptance(self, skipped: Collection[int], longest: int) -> tuple[float, ...]:
        """a_1 ... a_longest: how often the j-th draft of a round is accepted when those before it were.

        As in decoding: drafts after the first see the draft's own keys of their round, and a round starts where the one
        before it ended. Errors come in runs, so a round behind a rejected token has more of them than one that starts
        anywhere. Takes `longest` evaluations; texts that are shorter than a round give (mean acceptance,).
        """
        starts = int(self.rows.valid.shape[1]) - longest + 1
        if starts < 1 or not bool(self.rows.valid[:, longest - 1].any()):
            return (self.measure(skipped).acceptance,)
        slots = torch.arange(starts).repeat_interleave(longest) + torch.arange(longest).repeat(starts)
        whole = self.rows.valid[:, slots].view(-1, starts, longest).all(2)
        parts = slots.split(_ROUNDS * longest)  # of all rounds at once the logits would be gigabytes
        drafts = torch.cat([self._round_drafts(frozenset(skipped), part, longest) for part in parts], 1)
        accepted = (drafts == self._next[:, slots]).view(-1, starts, longest).cumprod(2).sum(2)
        texts = [row[valid].tolist() for row, valid in zip(accepted, whole, strict=True)]
        return rates_of([tokens_per_round(texts, length) for length in range(1, longest + 1)])

    def _round_drafts(self, skipped: Skips, slots: Tensor, longest: int) -> Tensor:
        """First choices of the draft at these positions of each text, in rounds of so many that see their own keys."""
        positions = self.rows.inputs.positions[:, slots]
        first = positions.view(len(positions), -1, longest)[:, :, :1].expand(-1, -1, longest).flatten(1)
        seen = torch.arange(self.texts.tokens.shape[1]) < first.unsqueeze(2)
        rounds = torch.arange(len(slots)) // longest
        own = (rounds.unsqueeze(1) == rounds) & torch.ones(len(slots), len(slots)).tril().bool()
        with torch.no_grad(), self.drafting():
            inputs = self.stream.inputs(self.texts.tokens.gather(1, positions), positions)
            rows = Rows(inputs, seen.unsqueeze(1), own.expand(len(positions), 1, -1, -1), self.rows.valid, [])
            self.attend_to(rows)
            return self._logits(self.stream.run(inputs.hidden, inputs, 0, skipped), inputs).argmax(-1)

    def lossy(self, skipped: Collection[int], since: int = 0) -> tuple[float, float]:
        """(mean KL, share of equal first choices) of the network without `skipped` that reads its own keys and values.

        That is a lossy program on the same texts, not a draft; the model's weights may have been changed, too.

        Args:
            skipped: sub-blocks.
            since: the first layer that differs from the full network; what comes before it was run by `keep_streams`.
        """
        state, tokens = self.stream.attention, self.texts.tokens
        state.full_run()
        with torch.no_grad():
            inputs = self.stream.inputs(tokens, torch.arange(tokens.shape[1]).expand_as(tokens))
            entry = self._streams_of_texts[since] if since else inputs.hidden
            measured = self.quality(self.stream.run(entry, inputs, since, skipped))
        return measured.mean_kl, measured.acceptance

    @property
    def has_streams(self) -> bool:
        """Whether `lossy` may begin behind the first layer."""
        return bool(self._streams_of_texts)

    def keep_streams(self) -> None:
        """Run the full network over the whole texts and keep the stream before each layer, for `lossy`."""
        state, tokens = self.stream.attention, self.texts.tokens
        state.full_run()
        with torch.no_grad():
            inputs = self.stream.inputs(tokens, torch.arange(tokens.shape[1]).expand_as(tokens))
            self._streams_of_texts = self._streams(inputs)[::2]

    def quality(self, hidden: Tensor) -> Measured:
        """Of a network whose last stream over whole texts is this [B, T, d]."""
        at = self.rows.inputs.positions.unsqueeze(2).expand(-1, -1, hidden.shape[2])
        return self._compared(frozenset(), self._logits(hidden.gather(1, at), self.rows.inputs))

    def matchness(self, skipped: Collection[int], window: int = 50) -> float:
        """SWIFT's score: agreement on the first `window` generated tokens, with the draft's own keys inside the window.

        arXiv 2410.06916: one parallel forward of the skipped network behind the full network's prefill; here over all
        texts at once, theirs takes one.
        """
        rows = self.rows
        count = rows.valid.shape[1]
        last_of_prompt = self.texts.starts.view(-1, 1, 1, 1) - 1  # its key, too, is the draft's: it is drafted from
        prefill = torch.arange(rows.seen.shape[3]) < last_of_prompt
        state = self.stream.attention
        self.attend_to(rows)
        state.seen, state.own = rows.seen & prefill, torch.ones(count, count).tril().bool().expand_as(rows.own)
        agrees = self._draft(frozenset(skipped), rows).argmax(-1) == self._next
        inside = rows.valid & (torch.arange(count) < window)
        return float(agrees[inside].float().mean())

"""A compiled decoder: step programs around one static key/value cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compiler.decode.export import MASK
from compiler.decode.step_module import BLOCK
from compiler.native.program import Program
from costmodel.errors import SeercError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Step:
    """One step program on its own memory: `ids` in, `logits` out (None for prefill), new rows beside them."""

    run: Any
    ids: Array
    mask: Array | None
    logits: Array | None
    new_keys: Array
    new_values: Array

    @property
    def width(self) -> int:
        return self.ids.shape[1]


class Decoder:
    """`batch` sequences, each with a cache of `context` tokens and a length of its own.

    A step reads the cache and leaves the new tokens' keys and values beside it; `keep` writes as many of them as were
    accepted. So a draft is undone by `rewind`, and rejected tokens are never written.
    """

    def __init__(self, programs: Sequence[Program], threads: int | None = None, draft: int = 0) -> None:
        """`programs` as `compile_steps` makes them, by width, the prefill step last; `draft` is the one that drafts."""
        self.threads = threads
        caches = [spec.shape for spec in programs[0].inputs if spec.dtype == "f32"]
        self.batch, self.context = caches[1][0], caches[1][2]
        self.lengths = np.zeros(self.batch, np.int64)
        self._allocate(caches)
        *steps, prefill = [self._bind(program) for program in programs]
        self._draft = steps.pop(draft) if draft else steps[0]
        self._steps, self._prefill = {step.width: step for step in steps}, prefill
        self._last = prefill

    def _allocate(self, caches: Sequence[tuple[int, ...]]) -> None:
        """Caches of these shapes: keys and values, layer by layer."""
        self.keys, self.values = stacked(caches)

    def _bind(self, program: Program) -> Step:
        width = program.inputs[0].shape[1]
        ids = np.zeros((self.batch, width), np.int64)
        layers, (b, h, _, d, _) = len(self.keys), self.keys.shape[1:]
        new_keys, new_values = (
            np.empty((layers, b, h, d, width), np.float32),
            np.empty((layers, b, h, width, d), np.float32),
        )
        caches = [array for pair in zip(self.keys, self.values, strict=True) for array in pair]
        rows = [array for pair in zip(new_keys, new_values, strict=True) for array in pair]
        masks = [np.ones(spec.shape, np.bool_) for spec in program.inputs if spec.name == MASK]
        logits = [np.empty(program.outputs[0].shape, np.float32)] if len(program.outputs) > len(rows) else []
        run = program.bind([ids, self.lengths, *caches, *masks], [*logits, *rows])
        first = (masks or [None])[0], (logits or [None])[0]
        return Step(run, ids, *first, new_keys, new_values)

    @property
    def widths(self) -> tuple[int, ...]:
        """Tokens that one step may take."""
        return tuple(sorted(self._steps))

    @property
    def vocabulary(self) -> int:
        """Tokens that the model knows."""
        logits = self._steps[1].logits
        assert logits is not None
        return logits.shape[-1]

    @property
    def drafts_apart(self) -> bool:
        """Whether drafts have a program of their own."""
        return self._draft is not self._steps[1]

    @property
    def blocks(self) -> int:
        """Sub-blocks that `mask` chooses among; 0 if the step that drafts takes no mask."""
        mask = self._draft.mask
        return 0 if mask is None else mask.size

    def rewind(self, lengths: int | Array) -> None:
        """Forget all tokens beyond these lengths; 0 empties the caches."""
        self.lengths[:] = lengths

    def step(self, ids: Array, mask: Array | None = None) -> Array:
        """Logits [B, q, V] of `ids` [B, q] after the cached tokens; overwritten by the next step of that width.

        `mask` [blocks]: which sub-blocks run; None: all. Nothing is cached before `keep`.
        """
        step = self._steps.get(ids.shape[1])
        if step is None:
            raise SeercError(f"no step of width {ids.shape[1]}: this decoder has {', '.join(map(str, self.widths))}")
        return self._step(step, ids, mask)

    def draft(self, ids: Array, mask: Array | None = None) -> Array:
        """Logits [B, 1, V] of the step that drafts; as `step` otherwise."""
        return self._step(self._draft, ids, mask)

    def _step(self, step: Step, ids: Array, mask: Array | None) -> Array:
        if step.mask is not None:
            step.mask[:] = True if mask is None else mask
        elif mask is not None and not np.all(mask):
            raise SeercError(f"steps of width {step.width} run all sub-blocks: compile the decoder as skippable")
        self._check_room(1)
        self._run(step, ids)
        assert step.logits is not None
        return step.logits

    def _run(self, step: Step, ids: Array) -> None:
        step.ids[:] = ids
        step.run(self.threads)
        self._last = step

    def _check_room(self, counts: int | Array) -> None:
        if int((self.lengths + counts).max()) > self.context:
            raise SeercError(f"the cache holds {self.context} tokens and is full: compile with a larger context")

    def keep(self, counts: int | Array) -> None:
        """Cache the first `counts` tokens of the last step, for each sequence its own number."""
        step, counts = self._last, np.broadcast_to(counts, self.batch)
        self._check_room(counts)
        for b, (begin, count) in enumerate(zip(self.lengths.tolist(), counts.tolist(), strict=True)):
            write_rows((self.keys[:, b], self.values[:, b]), begin, (step.new_keys[:, b], step.new_values[:, b]), count)
        self.lengths += counts

    def _check_tokens(self, prompts: Sequence[Sequence[int]]) -> None:
        """The embedding is a table that is read at these places."""
        count = self.vocabulary
        wrong = next((token for prompt in prompts for token in prompt if not 0 <= token < count), None)
        if wrong is not None:
            raise SeercError(f"token {wrong} of a prompt is not among the {count} of the model: another tokenizer?")

    def prefill(self, prompts: Sequence[Sequence[int]]) -> Array:
        """Start anew with a prompt a sequence; all but its last token are cached. Returns the last tokens [B, 1]."""
        if len(prompts) != self.batch or not all(prompts):
            raise SeercError(f"this decoder takes {self.batch} prompts of at least one token, got {len(prompts)}")
        self._check_tokens(prompts)
        longest = max(map(len, prompts))
        if longest > self.context:
            raise SeercError(f"a prompt has {longest} tokens, the cache holds {self.context}: compile a larger context")
        self.rewind(0)
        width = self._prefill.width
        for begin in range(0, longest - 1, width):
            parts = [prompt[begin : min(begin + width, len(prompt) - 1)] for prompt in prompts]
            padded = np.array([[*part, *[0] * (width - len(part))] for part in parts], np.int64)
            self._run(self._prefill, padded)
            self.keep(np.array(list(map(len, parts))))
        return np.array([[prompt[-1]] for prompt in prompts], np.int64)


def stacked(caches: Sequence[tuple[int, ...]]) -> tuple[Array, Array]:
    """Keys and values of layers whose caches have one shape, on a new first axis."""
    if any(shape != caches[i % 2] for i, shape in enumerate(caches)):
        raise SeercError("decoders whose layers have caches of different shapes are not supported")
    keys, values = (np.zeros((len(caches) // 2, *caches[i]), np.float32) for i in (0, 1))
    return keys, values


def write_rows(cache: tuple[Array, Array], begin: int, new: tuple[Array, Array], count: int) -> None:
    """Write the first `count` new rows from place `begin` on.

    Args:
        cache: keys [L, H, T / 64, D, 64] and values [L, H, T, D] of one sequence.
        begin: its length.
        new: keys [L, H, D, q] and values [L, H, q, D].
        count: at most q.
    """
    for block in range(begin // BLOCK, -(-(begin + count) // BLOCK)):
        first, last = max(begin, block * BLOCK), min(begin + count, (block + 1) * BLOCK)
        cache[0][:, :, block, :, first - block * BLOCK : last - block * BLOCK] = new[0][
            ..., first - begin : last - begin
        ]
    cache[1][:, :, begin : begin + count] = new[1][:, :, :count]

"""A compiled decoder some of whose layers each token takes or passes by: mixture of depths, decided by its programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from compiler.decode.decoder import Array, Decoder, Step, stacked, write_rows
from compiler.native.program import Program
from costmodel.errors import SeercError

Pair = tuple[Array, Array]
"""Keys and values."""


@dataclass(frozen=True)
class RoutedStep(Step):
    """A step with routed layers: their new keys and values, and who takes them: bool [R, B, q]."""

    own_keys: Array
    own_values: Array
    taken: Array


class RoutedDecoder(Decoder):
    """A decoder whose routed layers have caches and lengths of their own: a token that passes by leaves nothing there.

    So a token cannot be forgotten alone (`rewind`): there are no drafts.
    """

    def __init__(self, programs: Sequence[Program], layers: Sequence[int], threads: int | None = None) -> None:
        """`programs` as `compile_steps` makes them for routers of `layers`; the first layer is not among them."""
        self._routed = list(layers)
        super().__init__(programs, threads)

    def _allocate(self, caches: Sequence[tuple[int, ...]]) -> None:
        pairs = list(zip(caches[0::2], caches[1::2], strict=True))
        self._whole = [layer for layer in range(len(pairs)) if layer not in self._routed]
        self.keys, self.values = stacked([shape for layer in self._whole for shape in pairs[layer]])
        self.own: list[Pair] = [
            (np.zeros(keys, np.float32), np.zeros(values, np.float32))
            for keys, values in (pairs[layer] for layer in self._routed)
        ]
        self.own_lengths = np.zeros((len(self._routed), self.batch), np.int64)

    def _bind(self, program: Program) -> Step:
        width = program.inputs[0].shape[1]
        ids, (b, h, _, d, _) = np.zeros((self.batch, width), np.int64), self.keys.shape[1:]
        keys, own_keys = (np.empty((n, b, h, d, width), np.float32) for n in (len(self._whole), len(self._routed)))
        values, own_values = (np.empty((n, b, h, width, d), np.float32) for n in (len(keys), len(own_keys)))
        caches = self._by_layer(zip(self.keys, self.values, strict=True), self.own)
        rows = self._by_layer(zip(keys, values, strict=True), zip(own_keys, own_values, strict=True))
        taken = np.zeros((len(self._routed), b, width), np.bool_)
        logits = [np.empty(program.outputs[0].shape, np.float32)] if len(program.outputs) > len(rows) + 1 else []
        run = program.bind([ids, self.lengths, *self.own_lengths, *caches], [*logits, *rows, taken])
        return RoutedStep(run, ids, None, (logits or [None])[0], keys, values, own_keys, own_values, taken)

    def _by_layer(self, whole: Iterable[Pair], routed: Iterable[Pair]) -> list[Array]:
        """Keys and values of the whole and of the routed layers, as one list in the order of layers."""
        pairs = dict(zip([*self._whole, *self._routed], [*whole, *routed], strict=True))
        return [array for layer in sorted(pairs) for array in pairs[layer]]

    def rewind(self, lengths: int | Array) -> None:
        """Forget all tokens of sequences whose length is 0; SeercError for other lengths than these have."""
        wanted = np.broadcast_to(lengths, self.batch)
        if np.any((wanted != 0) & (wanted != self.lengths)):
            raise SeercError("a decoder with routed layers forgets whole sequences only")
        self.own_lengths[:, wanted == 0] = 0
        super().rewind(lengths)

    def keep(self, counts: int | Array) -> None:
        """Cache the first `counts` tokens of the last step, in routed layers those that took them."""
        step = self._last
        assert isinstance(step, RoutedStep)
        super().keep(counts)
        for b, count in enumerate(np.broadcast_to(counts, self.batch).tolist()):
            for n, cache in enumerate(self.own):
                chosen = np.flatnonzero(step.taken[n, b, :count])
                if len(chosen):
                    new = step.own_keys[n, b][None, ..., chosen], step.own_values[n, b][None, :, chosen]
                    own = cache[0][None, b], cache[1][None, b]
                    write_rows(own, int(self.own_lengths[n, b]), new, len(chosen))
                    self.own_lengths[n, b] += len(chosen)

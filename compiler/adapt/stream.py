"""A Hugging Face decoder as a residual stream of sub-blocks: attention and FFN of each layer, run one by one.

Found by module structure: the list of layers, and in each layer its attention and its MLP (Llama, GPT-2, GPT-NeoX,
OPT, Qwen2, Gemma). A sub-block that is off gives zeros, so that it adds nothing to the stream. The layers' own forward
functions run, whatever norms and residuals they have.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from compiler.adapt.attention import AttentionState
from compiler.adapt.layers import attention_of, block_linears, decoder_layers, ffn_modules, untied_head
from costmodel.errors import SeercError


@dataclass
class _Gate:
    """Stands in for the forward function of a module: the module's own while `on`, zeros (or the input) while not."""

    inner: Callable[..., Any]
    off: Callable[..., Any]
    on: bool = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs) if self.on else self.off(*args, **kwargs)


@dataclass
class LayerInputs:
    """What each layer is called with beside the hidden states, recorded once for one batch of token ids."""

    hidden: Tensor  # [B, R, d]: the embeddings that enter layer 0
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]]
    ids: Tensor
    positions: Tensor


@dataclass
class _Bypass:
    """While active, layers pass their input on, are recorded, and the last one returns `result`."""

    active: bool = False
    result: Tensor | None = None
    hidden: Tensor | None = None
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(
        default_factory=list[tuple[tuple[Any, ...], dict[str, Any]]]
    )


class ResidualStream:
    """The sub-blocks of a causal language model in stream order: block 2l is layer l's attention, 2l + 1 its FFN.

    It takes the model over: gates replace the forward functions of its layers, attentions and FFNs, and its attention
    implementation becomes ours. Raises SeercError for a model of another structure.
    """

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        self.layers = decoder_layers(model)
        self.parallel = bool(getattr(model.config, "use_parallel_residual", False))
        _refuse_windows(model.config)
        attentions = [attention_of(layer) for layer in self.layers]
        self.attention = AttentionState()
        self.attention.install(model, attentions)
        self._bypass = _Bypass()
        for layer in self.layers:
            _bypassable(layer, self._bypass, last=layer is self.layers[-1])
        self._gates = [
            gates
            for layer, attention in zip(self.layers, attentions, strict=True)
            for gates in ([_gate(attention, _no_attention)], _ffn_gates(layer))
        ]

    @property
    def blocks(self) -> int:
        """Number of sub-blocks, 2 L."""
        return 2 * len(self.layers)

    @property
    def choosable(self) -> tuple[int, ...]:
        """The sub-blocks that may be skipped: all but the first and the last layer's."""
        return tuple(range(2, self.blocks - 2))

    def linears(self, block: int) -> list[Any]:
        """The modules that multiply by the matrices of a sub-block; an FFN's output matrix is last. 2 L is the head."""
        if block == self.blocks:
            return [untied_head(self.model)]
        return block_linears(self.layers[block // 2], ffn=block % 2 == 1)

    def inputs(self, ids: Tensor, positions: Tensor) -> LayerInputs:
        """Embed token ids [B, R] at the given positions [B, R] and record what the layers are called with."""
        bypass = self._bypass
        bypass.active, bypass.result, bypass.hidden, bypass.calls = True, None, None, []
        try:
            self.model(input_ids=ids, position_ids=positions, use_cache=False, logits_to_keep=1)
        finally:
            bypass.active = False
        if bypass.hidden is None:
            raise SeercError(f"{type(self.model).__name__} did not call its layers")
        return LayerInputs(bypass.hidden, bypass.calls, ids, positions)

    def logits(self, hidden: Tensor, inputs: LayerInputs) -> Tensor:
        """Final norm and head on the last layer's output [B, R, d] -> [B, R, V]."""
        bypass = self._bypass
        bypass.active, bypass.result, bypass.calls = True, hidden, []
        try:
            return self.model(input_ids=inputs.ids, position_ids=inputs.positions, use_cache=False).logits
        finally:
            bypass.active, bypass.result, bypass.hidden, bypass.calls = False, None, None, []

    def run(self, hidden: Tensor, inputs: LayerInputs, layer: int = 0, skipped: Collection[int] = ()) -> Tensor:
        """The stream [B, R, d] from before `layer` to behind the last one."""
        for index in range(layer, len(self.layers)):
            hidden = self._call(index, hidden, inputs, 2 * index not in skipped, 2 * index + 1 not in skipped)
        return hidden

    def through(self, layer: int, hidden: Tensor, inputs: LayerInputs, ffn: bool = True) -> Tensor:
        """The stream [B, R, d] behind one layer, or behind its attention alone."""
        return self._call(layer, hidden, inputs, True, ffn)

    def step(self, block: int, hidden: Tensor, entry: Tensor, inputs: LayerInputs) -> Tensor:
        """The stream behind one sub-block; `entry` is the stream before its layer (parallel residuals read that)."""
        layer, ffn = divmod(block, 2)
        if not ffn:
            return self._call(layer, hidden, inputs, True, False)
        if not self.parallel:
            return self._call(layer, hidden, inputs, False, True)
        return hidden + self._call(layer, entry, inputs, False, True) - entry

    def _call(self, layer: int, hidden: Tensor, inputs: LayerInputs, attention: bool, ffn: bool) -> Tensor:
        if not attention and not ffn:
            return hidden
        gates = [*self._gates[2 * layer], *self._gates[2 * layer + 1]]
        before = [gate.on for gate in gates]
        for gate in self._gates[2 * layer]:
            gate.on = attention
        for gate in self._gates[2 * layer + 1]:
            gate.on = ffn
        args, kwargs = inputs.calls[layer]
        try:
            result = self.layers[layer](hidden, *args, **kwargs)
        finally:
            for gate, on in zip(gates, before, strict=True):
                gate.on = on
        return result[0] if isinstance(result, tuple) else result


def _ffn_gates(layer: Any) -> list[_Gate]:
    """The gate of the FFN; a first matrix that stands in the layer itself (OPT) is passed by as well."""
    *first, last = ffn_modules(layer)
    return [*(_gate(module, _same) for module in first), _gate(last, torch.zeros_like)]


def _gate(module: Any, off: Callable[..., Any]) -> _Gate:
    gate = _Gate(module.forward, off)
    module.forward = gate
    return gate


def _bypassable(layer: Any, bypass: _Bypass, last: bool) -> None:
    inner = layer.forward

    def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not bypass.active:
            return inner(hidden_states, *args, **kwargs)
        bypass.hidden = hidden_states if bypass.hidden is None else bypass.hidden
        bypass.calls.append((args, kwargs))
        return bypass.result if last and bypass.result is not None else hidden_states

    layer.forward = forward


def _no_attention(*args: Any, **kwargs: Any) -> tuple[Tensor, None]:
    hidden: Tensor = args[0] if args else kwargs["hidden_states"]
    return torch.zeros_like(hidden), None


def _same(hidden: Tensor) -> Tensor:
    return hidden


def _refuse_windows(config: Any) -> None:
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise SeercError(f"layers of {', '.join(sorted(kinds))}: seerc adapt drafts full attention only")

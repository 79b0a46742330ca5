"""Mixture of depths: what it computes, what of it is causal, and that it compiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from compiler.mod.depths import MixtureOfDepths, capacity_tokens, key_mask, slots, top_k_mask
from compiler.mod.transformer import Block, BlockShape

WIDTH, TOKENS = 16, 12


def mixture(capacity: float = 0.5, seed: int = 0) -> MixtureOfDepths:
    torch.manual_seed(seed)
    return MixtureOfDepths(Block(BlockShape(WIDTH, 2)), capacity).eval()


def stream(batch: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(batch, TOKENS, WIDTH, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(-2, 2), min_size=6, max_size=6), min_size=1, max_size=3),
    count=st.integers(1, 6),
)
def test_top_k_is_a_stable_sort_and_slots_keep_the_order(rows: list[list[int]], count: int) -> None:
    scores = torch.tensor(rows, dtype=torch.float32)
    chosen = top_k_mask(scores, count)
    slot, origin = slots(chosen, count)
    for row, mask, places, origins in zip(rows, chosen.tolist(), slot.tolist(), origin.tolist(), strict=True):
        best = sorted(sorted(range(6), key=lambda t: -row[t])[:count])
        assert [t for t in range(6) if mask[t]] == best == origins
        assert [places[t] for t in best] == list(range(count))


def test_only_chosen_tokens_change_and_they_see_only_each_other() -> None:
    layer, x, positions = mixture(), stream(), torch.arange(TOKENS)
    with torch.no_grad():
        y, chosen = layer.routed(x, positions)
        for row in range(len(x)):
            places = chosen[row].nonzero().flatten()
            scores = layer.scores(x)[row : row + 1, places]
            alone = layer.block(x[row : row + 1, places], places, key_mask(scores))[0]
            expected = x[row].clone()
            expected[places] += scores.sigmoid().T * alone
            torch.testing.assert_close(y[row], expected)
    assert chosen.sum(1).tolist() == [6, 6]


def test_attention_uses_true_positions() -> None:
    block, x = Block(BlockShape(WIDTH, 2)).eval(), stream(1)[:, :4]
    with torch.no_grad():
        near, far = block(x, torch.tensor([0, 1, 2, 3])), block(x, torch.tensor([0, 5, 9, 11]))
        moved = block(x, torch.tensor([7, 8, 9, 10]))
    torch.testing.assert_close(near, moved)  # rotary: only distances matter
    assert not torch.allclose(near, far)


def test_causal_mode_equals_top_k_at_the_right_threshold() -> None:
    layer, x, positions = mixture(), stream(1), torch.arange(TOKENS)
    with torch.no_grad():
        y, chosen = layer.routed(x, positions)
        layer.threshold.copy_(layer.scores(x)[chosen].min())
        torch.testing.assert_close(layer.forward_causal(x, positions), y)


def test_the_threshold_follows_the_training() -> None:
    layer, x, positions = mixture(0.25), stream(64), torch.arange(TOKENS)
    with torch.no_grad():
        layer.routed(x, positions)
        assert float(layer.threshold) == 0  # not while evaluating
        layer.train()
        for _ in range(200):
            layer.routed(x, positions)
        share = (layer.scores(x) >= layer.threshold).float().mean()
    assert 0.15 < float(share) < 0.35


def test_causal_mode_is_decoding() -> None:
    """A prefix gives the same outputs as the whole sequence: the future is not looked at, unlike by top-k."""
    layer, x, positions = mixture(), stream(), torch.arange(TOKENS)
    with torch.no_grad():
        layer.threshold.copy_(layer.scores(x).median())
        whole = layer.forward_causal(x, positions)
        for end in range(1, TOKENS):
            torch.testing.assert_close(layer.forward_causal(x[:, :end], positions[:end]), whole[:, :end])
        later = torch.cat((x[:, :6], x[:, 6:] * -3), 1)
        assert not torch.equal(layer.routed(later, positions)[1][:, :6], layer.routed(x, positions)[1][:, :6])


def test_the_router_learns_from_what_tokens_give_and_receive() -> None:
    layer, x = mixture(), stream()
    _, chosen = layer.routed(x, torch.arange(TOKENS))
    first, last = (int(f(chosen[0].nonzero())) for f in (torch.min, torch.max))
    scores = layer.scores(x)
    layer.scores = lambda _: scores  # type: ignore[method-assign]
    scores.retain_grad()
    layer(x, torch.arange(TOKENS))[0, last].square().sum().backward()
    assert scores.grad is not None
    assert abs(float(scores.grad[0, last])) > 0
    assert abs(float(scores.grad[0, first])) > 0  # only read from


def test_a_closed_gate_is_as_good_as_left_out() -> None:
    """The limit r -> 0 of a token that takes part: neither read from nor written to."""
    block, x, positions = Block(BlockShape(WIDTH, 2)).eval(), stream(1), torch.arange(TOKENS)
    scores = torch.zeros(1, TOKENS)
    scores[:, 3] = -60.0
    kept = [t for t in range(TOKENS) if t != 3]
    with torch.no_grad():
        soft = block(x, positions, key_mask(scores))[:, kept]
        torch.testing.assert_close(soft, block(x[:, kept], positions[kept], key_mask(scores[:, kept])))


@pytest.mark.parametrize(("capacity", "expected"), [(0.125, 8), (0.5, 32), (1.0, 64), (0.001, 1), (0.3, 20)])
def test_capacity(capacity: float, expected: int) -> None:
    assert capacity_tokens(capacity, 64) == expected


def test_capacity_out_of_range() -> None:
    with pytest.raises(ValueError, match="share of the tokens"):
        MixtureOfDepths(Block(BlockShape(WIDTH, 2)), 0.0)


class Placed(nn.Module):
    """A layer with its positions, as a model of one input."""

    def __init__(self, layer: MixtureOfDepths, tokens: int) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("positions", torch.arange(tokens))

    def forward(self, x: Tensor) -> Any:
        return self.layer(x, self.positions)


def test_compiled_equals_torch() -> None:
    import seerc

    module, x = Placed(mixture(0.375), TOKENS).eval(), stream(2)
    (ours,) = seerc.compile(module, (x,))(x)
    with torch.no_grad():
        np.testing.assert_allclose(np.asarray(ours), module(x).numpy(), atol=1e-5, rtol=0)

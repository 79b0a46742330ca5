"""Decoding with ragged caches is causal routing."""

from __future__ import annotations

import pytest
import torch

from compiler.mod.decoding import DepthDecoding
from compiler.mod.depth_decoder import DecoderShape, DepthDecoder
from compiler.mod.depths import MixtureOfDepths
from compiler.mod.transformer import Block, BlockShape

TOKENS, VOCABULARY = 20, 30


def routed(decoder: DepthDecoder) -> list[MixtureOfDepths]:
    return [layer for layer in decoder.layers if isinstance(layer, MixtureOfDepths)]


def model(capacities: tuple[float, ...], seed: int) -> DepthDecoder:
    """With thresholds that a part of the tokens reach."""
    torch.manual_seed(seed)
    made = DepthDecoder(DecoderShape(VOCABULARY, TOKENS, capacities, BlockShape(16, 2))).train()
    with torch.no_grad():
        for layer in routed(made):
            layer.router.weight.mul_(20)  # gates from closed to open
        for _ in range(100):
            made(torch.randint(VOCABULARY, (8, TOKENS)))
    return made.eval()


@pytest.mark.parametrize("seed", range(3))
def test_steps_are_the_causal_forward_and_caches_are_ragged(seed: int) -> None:
    decoder = model((1.0, 0.5, 0.25), seed)
    ids = torch.randint(VOCABULARY, (TOKENS,))
    with torch.no_grad():
        expected = decoder.forward_causal(ids.unsqueeze(0))[0]
    decoding = DepthDecoding(decoder)
    found = torch.stack([decoding.step(int(token)) for token in ids])
    torch.testing.assert_close(found, expected)
    assert decoding.lengths == tuple(taking_part(decoder, ids))
    assert TOKENS == decoding.lengths[0] > decoding.lengths[1] > decoding.lengths[2] > 0


def taking_part(decoder: DepthDecoder, ids: torch.Tensor) -> list[int]:
    """By layer, from the scores on the stream of the whole sequence."""
    positions = torch.arange(TOKENS)
    x = decoder.embed(ids.unsqueeze(0)) + decoder.places(positions)
    counts = [TOKENS]
    with torch.no_grad():
        first = decoder.layers[0]
        assert isinstance(first, Block)
        x = x + first(x, positions)
        for layer in routed(decoder):
            counts.append(int((layer.scores(x) >= layer.threshold).sum()))
            x = layer.forward_causal(x, positions)
    return counts


def test_a_token_that_passes_by_leaves_nothing_for_later_ones() -> None:
    """With the router closed to it, another token in its place changes nothing that follows, but at its own step."""
    decoder = model((0.5,), 0)
    (layer,) = routed(decoder)
    with torch.no_grad():
        layer.router.weight.zero_()
        layer.router.weight[0, 0] = 1.0
        layer.threshold.fill_(0.0)
        layer.router.bias.zero_()
        decoder.places.weight[:, 0] = torch.tensor([5.0, -5.0] * (TOKENS // 2))  # every other position is left out
    ids = torch.randint(VOCABULARY, (TOKENS,)).tolist()
    changed = [(token + 7) % VOCABULARY if place == 3 else token for place, token in enumerate(ids)]
    runs = [DepthDecoding(decoder), DepthDecoding(decoder)]
    steps = [torch.stack([run.step(token) for token in texts]) for run, texts in zip(runs, (ids, changed), strict=True)]
    same = (steps[0] == steps[1]).all(1)
    assert [place for place in range(TOKENS) if not same[place]] == [3]
    assert runs[0].lengths == (TOKENS // 2,)

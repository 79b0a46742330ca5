"""SPAM on a gradient with a spike, LoRA layers merged."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ir_corpus.lm import spam
from ir_corpus.lm.lora import LoraLinear, add_lora, merge_lora


def stepped(gradients: list[list[float]]) -> tuple[nn.Parameter, torch.optim.AdamW]:
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.AdamW([parameter])
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    return parameter, optimizer


def test_a_spike_is_clipped_to_what_its_second_moment_allows() -> None:
    parameter, optimizer = stepped([[1.0, 1.0]])
    second = optimizer.state[parameter]["exp_avg_sq"].clone()
    parameter.grad = torch.tensor([-1000.0, 2.0])
    assert spam.clip_spikes(optimizer) == 1
    assert parameter.grad.tolist() == pytest.approx([-float((spam.THRESHOLD * second[0]).sqrt()), 2.0])


def test_a_first_gradient_is_no_spike() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([1e9, 0.0])
    assert spam.clip_spikes(torch.optim.AdamW([parameter])) == 0


def test_moments_are_forgotten_at_the_reset_only() -> None:
    parameter, optimizer = stepped([[1.0, 1.0]])
    for step in (0, 1, spam.RESET - 1):
        spam.reset_moments(optimizer, step)
    assert optimizer.state[parameter]["exp_avg"].abs().sum() > 0
    spam.reset_moments(optimizer, spam.RESET)
    assert all(float(v.abs().sum()) == 0 for v in optimizer.state[parameter].values())


def test_the_rate_comes_back_after_a_reset() -> None:
    assert spam.rate_factor(0) == 1.0
    factors = [spam.rate_factor(spam.RESET + i) for i in range(spam.WARM_UP)]
    assert factors == sorted(factors)
    assert 0 < factors[0] < 0.01
    assert factors[-1] == pytest.approx(1.0)


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(2)])
        self.head = nn.Linear(4, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def test_adapted_layers_start_as_they_were_and_merge_into_what_they_learned() -> None:
    model, ids = Blocks(), torch.arange(5)
    before = model(ids)
    add_lora(model, 2)
    assert torch.equal(model(ids), before)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {"embed.weight", *(f"layers.{i}.{x}" for i in (0, 1) for x in ("down", "up"))}
    with torch.no_grad():
        for layer in model.layers:
            assert isinstance(layer, LoraLinear)
            layer.up.normal_()
    after = model(ids)
    merge_lora(model)
    assert all(isinstance(layer, nn.Linear) for layer in model.layers)
    torch.testing.assert_close(model(ids), after)
    assert not torch.allclose(after, before)

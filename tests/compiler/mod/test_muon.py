"""Muon in float32 is torch's Muon, but for bfloat16."""

from __future__ import annotations

import copy

import torch

from compiler.mod.muon import Muon, orthogonal


def test_updates_are_those_of_torch() -> None:
    torch.manual_seed(0)
    ours = [torch.randn(24, 8, requires_grad=True), torch.randn(8, 8, requires_grad=True)]
    theirs = copy.deepcopy(ours)
    optimizers = [Muon(ours, lr=0.02), torch.optim.Muon(theirs, lr=0.02, weight_decay=0.0)]
    for _ in range(3):
        for mine, reference in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            reference.grad = mine.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=0, atol=2e-3)  # an update is .02


def test_orthogonal_keeps_the_directions() -> None:
    matrix = torch.randn(32, 12, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ orthogonal(matrix) @ right.T
    assert float(found.diagonal().min()) > 0.6
    assert float(found.diagonal().max()) < 1.3
    assert float((found - found.diagonal().diag()).abs().max()) < 1e-4

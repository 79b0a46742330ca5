"""ARank as published."""

from __future__ import annotations

import torch

from compiler.mod.arank import arank, lowest_rank_layers


def test_rank_of_known_maps() -> None:
    uniform = (torch.ones(8, 8).tril() / torch.arange(1, 9).unsqueeze(1)).expand(2, 3, 8, 8)
    previous = torch.diag(torch.ones(7), -1).expand(2, 3, 8, 8)
    itself = torch.eye(8).expand(2, 3, 8, 8)
    assert arank(itself) == 0  # the diagonal does not count
    assert arank(previous) == 7
    assert arank(uniform) == 7
    assert arank(torch.cat((itself, previous))) == 3.5


def test_lowest_ranks_become_mod_layers() -> None:
    assert lowest_rank_layers([3.0, 1.0, 2.0, 1.5], 2) == [1, 3]

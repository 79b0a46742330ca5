"""What LLVM's unrolling leaves of a loop nest, against matrix products that were compiled on AVX-512."""

from __future__ import annotations

import numpy as np

from costmodel.unrolling import unroll


def test_the_innermost_loop_is_unrolled_as_llvm_does() -> None:
    """Steps in the hot loop by register tile (vectors x rows), K = 256 and 24."""
    found = unroll(np.array([5.0, 17.0, 22.0, 46.0]), np.ones(4), [np.full(4, 256.0)])
    assert found.steps.tolist() == [8, 4, 2, 1]  # 1x1, 1x4, 2x4, 4x6
    assert found.rounds.tolist() == [32, 64, 128, 256]
    short = unroll(np.array([5.0, 12.0, 22.0]), np.ones(3), [np.full(3, 24.0)])
    assert short.steps.tolist() == [24, 24, 3]  # 1x1 and 2x2 wholly, 2x4 in part
    assert short.whole.tolist() == [[True, True, False]]


def test_a_loop_around_one_that_stays_is_unrolled_wholly_if_short() -> None:
    """96 x 128 x 256 with 1x2 tiles: 8 panels go, the loop over K stays, and is unrolled 8 times after that."""
    found = unroll(np.array([5.0]), np.ones(1), [np.full(1, 256.0)], 16.0, [np.full(1, 8.0), np.full(1, 96.0)])
    assert found.whole[:, 0].tolist() == [False, True, False]
    assert (found.steps[0], found.rounds[0], found.tiles[0]) == (8, 32, 1)


def test_a_loop_around_one_that_vanished_is_unrolled_in_part() -> None:
    found = unroll(np.array([3.0]), np.ones(1), [np.full(1, 9.0)], 6.0, [np.full(1, 56.0)])
    assert found.whole[:, 0].tolist() == [True, False]
    assert (found.steps[0], found.size[0], found.tiles[0], found.rounds[0]) == (18, 66, 2, 28)

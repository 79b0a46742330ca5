"""When the heuristic's candidate is left, and what that does to the comparison with it."""

from __future__ import annotations

import pytest

from costmodel.caution import decide


def test_without_caution_the_first_of_the_order_is_taken():
    assert decide([3.0, 1.0, 2.0], [10.0, 30.0, 20.0], 0) == 1
    assert decide([1.0, 1.0], [1.0, 1.0], 1) == 0  # a tie goes to the earlier one


@pytest.mark.parametrize(("latency", "taken"), [(89.0, 1), (91.0, 0)])
def test_with_caution_the_heuristic_is_left_for_a_promise_only(latency: float, taken: int):
    assert decide([2.0, 1.0], [100.0, latency], 0, caution=0.1) == taken


def test_without_a_heuristic_there_is_nothing_to_keep():
    assert decide([2.0, 1.0], [100.0, 99.0], None, caution=0.5) == 1

"""Workspace offsets: live buffers never overlap, dead ones are reused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from compiler.plan.memory import ALIGNMENT, Lifetime, assign_offsets, lifetimes

ITEMS = st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 20), st.integers(0, 10)), max_size=20)


@given(ITEMS)
def test_live_buffers_do_not_overlap(items):
    buffers = [Lifetime(f"b{i}", size, first, first + more) for i, (size, first, more) in enumerate(items)]
    offsets, total = assign_offsets(buffers)
    for a in buffers:
        assert offsets[a.name] % ALIGNMENT == 0
        assert offsets[a.name] + a.size <= total
        for b in buffers:
            if a.name < b.name and a.overlaps(b):
                begin, end = offsets[a.name], offsets[a.name] + a.size
                assert end <= offsets[b.name] or offsets[b.name] + b.size <= begin


def test_a_chain_needs_two_buffers():
    uses = [["a", "b"], ["b", "c"], ["c", "d"], ["d", "e"]]
    found = lifetimes(uses, dict.fromkeys("abcde", 6400))
    _, total = assign_offsets(found)
    assert total == 2 * 6400


def test_names_without_a_size_are_not_temporaries():
    assert [x.name for x in lifetimes([["in0", "a"], ["a", "out0"]], {"a": 4})] == ["a"]

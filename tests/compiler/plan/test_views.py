"""Views against NumPy's own strides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.plan.views import (
    Place,
    collapse_strides,
    contiguous,
    drop_dims,
    expand_strides,
    extract_slice,
    nesting,
    permuted_strides,
    same,
    span,
    transpose,
)

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def _of(array: np.ndarray, base: np.ndarray) -> tuple[int, tuple[int, ...]]:
    offset = (array.ctypes.data - base.ctypes.data) // array.itemsize
    return offset, tuple(s // array.itemsize for s in array.strides)


@given(SHAPES, st.randoms(use_true_random=False))
def test_transpose_is_numpys(shape, random):
    order = list(range(len(shape)))
    random.shuffle(order)
    base = np.zeros(shape, np.float32)
    place = transpose(contiguous("b", shape), order)
    assert (place.offset, place.strides) == _of(base.transpose(order), base)


def test_slice_of_a_transposed_place_is_numpys():
    base = np.zeros((4, 6, 8), np.float32)
    place = extract_slice(transpose(contiguous("b", (4, 6, 8)), [2, 0, 1]), [1, 2, 0], [3, 2, 3], [2, 1, 2])
    view = base.transpose(2, 0, 1)[1:7:2, 2:4:1, 0:6:2]
    assert (place.offset, place.strides) == _of(view, base)
    assert place.shape == view.shape


def test_collapse_refuses_what_is_not_evenly_spaced():
    assert collapse_strides((8, 2), (3, 4), [[0, 1]]) == (2,)
    assert collapse_strides((1, 3), (3, 4), [[0, 1]]) is None


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_expand_and_collapse_are_inverse(a, b, c):
    strides = (b * c * 2, 2)
    expanded = expand_strides(strides, [[0], [1, 2]], (a, b, c))
    collapsed = collapse_strides(expanded, (a, b, c), [[0], [1, 2]])
    assert collapsed is not None
    assert collapsed[0] == (strides[0] if a > 1 else 1)
    assert collapsed[1] == (2 if b * c > 1 else 1)


def test_channels_last_nesting():
    strides = permuted_strides([0, 2, 3, 1], (2, 8, 5, 7))
    assert strides == (280, 1, 56, 8)
    assert nesting((2, 8, 5, 7), strides) == (0, 2, 3, 1)
    assert span(Place("b", (2, 8, 5, 7), strides)) == 2 * 8 * 5 * 7


def test_strides_of_unit_dimensions_do_not_matter():
    assert same(Place("b", (1, 4), (99, 1)), Place("b", (1, 4), (4, 1)))
    assert not same(Place("b", (1, 4), (99, 1)), Place("b", (1, 4), (99, 1), offset=1))
    assert not same(Place("b", (2, 4), (99, 1)), Place("b", (2, 4), (4, 1)))


@pytest.mark.parametrize(("kept", "shape"), [([1], (4,)), ([0, 1], (1, 4))])
def test_drop_dims(kept, shape):
    assert drop_dims(contiguous("b", (1, 4)), kept).shape == shape

"""Connected components against scipy's labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from scan2gene.preprocess.components import large_components


def by_scipy(mask: np.ndarray, smallest: int | None) -> np.ndarray:
    parts, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    enough = sizes >= (sizes.max() if smallest is None else smallest)
    enough[0] = False
    return enough[parts]


@given(
    st.tuples(*[st.integers(1, 14)] * 3),
    st.floats(0, 1),
    st.sampled_from([None, 1, 2, 7, 40]),
    st.permutations([0, 1, 2]),
    st.integers(0, 2**32 - 1),
)
def test_equals_scipy_for_any_density_shape_and_memory_order(shape, density, smallest, order, seed):
    mask = (np.random.default_rng(seed).random(shape) < density).transpose(order)
    np.testing.assert_array_equal(large_components(mask, smallest), by_scipy(mask, smallest))


@pytest.mark.parametrize("density", [0.08, 0.12, 0.5, 0.97])  # around where parts begin to join, and beyond
def test_parts_that_span_many_slabs_are_joined_across_the_cuts(density):
    mask = np.random.default_rng(1).random((64, 40, 30)) < density
    for smallest in (None, 3, 100):
        np.testing.assert_array_equal(large_components(mask, smallest), by_scipy(mask, smallest))


def test_a_long_thread_through_all_slices_is_one_part():
    mask = np.zeros((50, 12, 12), bool)
    turn = np.linspace(0, 9, 50)
    mask[np.arange(50), np.rint(6 + 4 * np.cos(turn)).astype(int), np.rint(6 + 4 * np.sin(turn)).astype(int)] = True
    mask[10:12, 6, 6] = True  # apart from the thread
    assert large_components(mask).sum() == 50
    assert large_components(mask, 51).sum() == 0


def test_a_view_with_gaps_is_read_rightly():
    mask = (np.random.default_rng(2).random((30, 30, 30)) < 0.15)[::2, ::-3, 1::2]
    np.testing.assert_array_equal(large_components(mask, 2), by_scipy(mask, 2))

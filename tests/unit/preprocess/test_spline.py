"""The banded kernel against scipy's spline, borders and tiny volumes included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from scan2gene.preprocess.spline import resample_spline, spline_band


def _scipy(array: np.ndarray, shape: tuple, factor: tuple) -> np.ndarray:
    axes = [
        np.clip((np.arange(m) + 0.5) * f - 0.5, 0, n - 1)
        for m, f, n in zip(shape, factor, array.shape, strict=True)
    ]  # fmt: skip
    return map_coordinates(array.astype(np.float64), np.meshgrid(*axes, indexing="ij"), order=3, mode="mirror")


@given(
    st.tuples(*[st.integers(1, 40)] * 3), st.tuples(*[st.integers(1, 40)] * 3), st.integers(0, 2**32 - 1)
)  # fmt: skip
def test_equals_scipy_everywhere(old, new, seed):
    array = np.random.default_rng(seed).uniform(-1, 1, old).astype(np.float32)
    factor = tuple(a / b for a, b in zip(old, new, strict=True))
    # three passes of float32 sums of 24 products of order one
    np.testing.assert_allclose(resample_spline(array, new, factor), _scipy(array, new, factor), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float64])
def test_any_number_type_goes_in(dtype):
    array = np.random.default_rng(1).integers(0, 255, (30, 28, 26)).astype(dtype)
    out = resample_spline(array, (20, 40, 13), (1.5, 0.7, 2.0))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, _scipy(array, (20, 40, 13), (1.5, 0.7, 2.0)), atol=1e-5 * 255)


def test_the_same_grid_gives_the_voxels_back():
    array = np.random.default_rng(2).uniform(0, 1000, (30, 31, 32)).astype(np.float32)
    np.testing.assert_allclose(resample_spline(array, array.shape, (1, 1, 1)), array, atol=1e-3)


@given(st.integers(1, 60), st.integers(1, 60))
def test_a_constant_stays_a_constant(size, count):
    weights, columns = spline_band(size, count, size / count)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert columns.min() >= 0
    assert columns.max() < size

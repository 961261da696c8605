"""Measures of series and volumes against values known by construction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from scan2gene.core.volume import Volume
from scan2gene.imaging.measures import BLOCKS, geometry_measures, grey_measures, reduced


@pytest.mark.parametrize(
    ("orientation", "shape", "spacing"),
    [("LPS", "100x80x30", (1.0, 2.0, 4.0)), ("PIR", "80x30x100", (2.0, 4.0, 1.0))],
)
def test_the_field_of_view_is_the_patients_however_the_scan_lies(orientation, shape, spacing):
    row = {f"spacing_{a}_mm": str(v) for a, v in zip("ijk", spacing, strict=True)}
    row |= {"shape": shape, "orientation": orientation, "plane": "axial", "sequence": "T1"}
    found = geometry_measures(row)
    assert [found[f"field_{a}_mm"] for a in ("R-L", "A-P", "S-I")] == [100.0, 160.0, 120.0]
    assert (found["spacing_slice_mm"], found["slices"]) == (spacing[2], int(shape.split("x")[2]))
    assert (found["spacing_fine_mm"], found["spacing_coarse_mm"]) == spacing[:2]


def test_grey_measures_of_a_ramp():
    array = np.broadcast_to(np.arange(101, dtype=np.uint8)[:, None, None], (101, 4, 4))
    found = grey_measures(Volume(array, np.eye(4)))
    assert (found["p1"], found["p25"], found["p50"], found["p75"], found["p99"]) == (1, 25, 50, 75, 99)
    assert found["mean"] == 50
    assert found["at_minimum"] == pytest.approx(1 / 101)
    assert found["roughness"] == pytest.approx(1 / 3 / np.arange(101).std())  # a step of 1 along one axis of three


def test_noise_roughens_and_blur_smooths_whatever_the_scale():
    rng = np.random.default_rng(0)
    clean = gaussian_filter(rng.normal(size=(30, 30, 30)), 2)
    noisy = clean + rng.normal(0, clean.std(), clean.shape)
    rough = [grey_measures(Volume(a, np.eye(4)))["roughness"] for a in (gaussian_filter(clean, 2), clean, noisy)]
    assert rough[0] < 0.7 * rough[1] < 0.7 * rough[2]
    assert grey_measures(Volume(1000 * noisy + 7, np.eye(4)))["roughness"] == pytest.approx(rough[2], rel=1e-3)


def test_a_mask_is_measured_in_cubic_millimetres():
    mask = np.zeros((5, 5, 5), np.uint8)
    mask[1:3, 1:3, 1:3] = 2
    assert grey_measures(Volume(mask, np.diag([2.0, 3.0, 0.5, 1.0]), "label")) == {"marked_mm3": pytest.approx(24.0)}


@pytest.mark.parametrize("shape", [(37, 16, 5), (32, 48, 64), (1, 17, 100)])
def test_reduced_holds_the_means_of_its_blocks(shape):
    array = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    small = reduced(array)
    assert all(n == min(m, BLOCKS) for n, m in zip(small.shape, shape, strict=True))
    cuts = [np.unique(np.linspace(0, m, min(m, BLOCKS), endpoint=False).astype(int)) for m in shape]
    ends = [[*c[1:], m] for c, m in zip(cuts, shape, strict=True)]
    last = tuple(slice(c[-1], e[-1]) for c, e in zip(cuts, ends, strict=True))
    first = tuple(slice(c[0], e[0]) for c, e in zip(cuts, ends, strict=True))
    assert small[0, 0, 0] == pytest.approx(array[first].mean())
    assert small[-1, -1, -1] == pytest.approx(array[last].mean())

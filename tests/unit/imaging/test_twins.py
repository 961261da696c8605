"""Copies of a scan are found whatever was done to them; scans of different patients are not taken for copies."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from scan2gene.evaluate.leakage import LIKENESS
from scan2gene.imaging.twins import GRID, likeness, print_of
from scan2gene.preprocess.prints import pairs_of


def _volume(seed: int, shape=(48, 44, 30)) -> np.ndarray:
    """Smooth texture in an ellipsoid that is the same for all: as alike as bodies are."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    body = np.clip(8 * (0.95 - np.linalg.norm(grid, axis=0)), 0, 1)
    texture = gaussian_filter(rng.normal(size=shape), 1.5)
    return body * (100 + 30 * grid[2] + 25 * texture / texture.std())


ALTERED = {
    "window": lambda a: np.clip(a, *np.percentile(a, [5, 97])),
    "gamma": lambda a: (a - a.min()) ** 0.5,
    "inverted": lambda a: -a,
    "8 bits": lambda a: np.round(255 * (a - a.min()) / np.ptp(a)),
    "cropped": lambda a: a[1:-1, 2:, 1:],
    "cropped and gamma": lambda a: (a - a.min())[2:, 1:-1, :-1] ** 2,
    "mirrored": lambda a: a[::-1],
    "noise": lambda a: a + np.random.default_rng(0).normal(0, 0.05 * a.std(), a.shape),
    "blurred": lambda a: gaussian_filter(a, 0.4),
}


@pytest.mark.parametrize("what", ALTERED)
def test_a_copy_is_found_whatever_was_done_to_it(what):
    volumes = [_volume(n) for n in range(12)]
    patients = [f"P{n:02d}" for n in range(12)]
    prints = [print_of(v) for v in volumes] + [print_of(ALTERED[what](volumes[4]))]
    pairs = pairs_of(np.stack(prints), [*patients, "copy"])
    assert set(pairs.iloc[0][["one", "two"]]) == {"P04", "copy"}
    assert pairs.iloc[0]["likeness"] > LIKENESS
    assert (pairs["likeness"].iloc[1:] < LIKENESS).all()
    assert pairs.iloc[0]["flip"] == ("i" if what == "mirrored" else "")


def test_exams_of_one_patient_are_not_compared():
    volume = _volume(0)
    assert pairs_of(np.stack([print_of(volume)] * 2), ["P1", "P1"]).empty


def test_a_volume_of_one_grey_value_is_like_nothing():
    flat = print_of(np.full((10, 10, 10), 3.0))
    assert flat.shape == (GRID,) * 3
    assert not flat.any()
    assert pairs_of(np.stack([flat, flat, print_of(_volume(0))]), ["a", "b", "c"]).empty
    assert likeness(flat[None], flat[None])[0] == 0


def test_likeness_is_one_with_oneself_and_about_symmetric():
    prints = np.stack([print_of(_volume(n)) for n in range(2)])
    assert likeness(prints, prints) == pytest.approx(1, abs=1e-3)
    assert likeness(prints, prints[::-1])[0] == pytest.approx(likeness(prints, prints[::-1])[1], abs=0.1)


@pytest.mark.parametrize(("pattern", "number"), [("tcga_lgg/images/*/flair.nii.gz", 24),
                                                 ("msd_hippocampus/images/*.nii.gz", 30)])  # fmt: skip
def test_real_scans_of_different_patients_are_no_twins_and_their_copies_are(shared_data, pattern, number):
    files = sorted(shared_data.glob(pattern))[:number]
    volumes = [np.asarray(nib.load(f).dataobj).astype(np.float32) for f in files]
    prints = [print_of(v) for v in volumes]
    copies = [print_of(ALTERED["gamma"](v[1:, 1:-1])) for v in volumes[:6]]
    names = [f"P{n}" for n in range(number)]
    clean = pairs_of(np.stack(prints), names)
    assert len(clean) > number / 2
    assert clean["likeness"].max() < LIKENESS
    found = pairs_of(np.stack(prints + copies), names + [f"copy{n}" for n in range(6)])
    twins = found[found["likeness"] >= LIKENESS]
    assert {tuple(sorted(p)) for p in twins[["one", "two"]].to_numpy()} == {(f"P{n}", f"copy{n}") for n in range(6)}

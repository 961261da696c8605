"""Copies of a scan are found whatever was done to them; scans of different patients are not taken for copies."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, rotate, shift, zoom

from scan2gene.evaluate.leakage import LIKENESS, same_picture
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


def _trimmed(a: np.ndarray, share: float = 0.03) -> np.ndarray:
    cut = [max(1, round(share * n)) for n in a.shape]
    return a[tuple(slice(c, n - c) for c, n in zip(cut, a.shape, strict=True))]


def _turned(a: np.ndarray, degrees: float) -> np.ndarray:
    return rotate(a, degrees, (0, 1), reshape=False, order=1, mode="nearest")


def _noisy(a: np.ndarray, share: float) -> np.ndarray:
    return a + np.random.default_rng(1).normal(0, share * np.ptp(a), a.shape)


DISGUISES = {
    "noise of 3 %": lambda a: _noisy(a, 0.03),
    "turned by 5 degrees": lambda a: _turned(a, 5),
    "cropped by 3 %": _trimmed,
    "shifted by 3 %": lambda a: shift(a, [0.03 * n for n in a.shape], order=1, mode="nearest"),
    "mirrored": lambda a: a[::-1],
    "gamma": lambda a: (a - a.min()) ** 1.7,
    "brighter": lambda a: np.clip(1.3 * a + 20, 0, np.percentile(a, 99.5)),
    "coarser": lambda a: zoom(a, (0.7, 0.7, 0.7), order=1),
    "finer": lambda a: zoom(a, (1.3, 1.3, 1.2), order=1),
    "mirrored, cropped and gamma": lambda a: (_trimmed(a, 0.02)[::-1] - a.min()) ** 1.3,
    "turned and noisy": lambda a: _noisy(_turned(a, 3), 0.02),
}
REAL = {"flair": "tcga_lgg/images/*/flair.nii.gz", "t1": "tcga_lgg/images/*/t1.nii.gz",
        "t1c": "tcga_lgg/images/*/t1c.nii.gz", "hippocampus": "msd_hippocampus/images/*.nii.gz"}  # fmt: skip


def _real(shared_data, name: str, number: int | None = None) -> list[np.ndarray]:
    files = sorted(shared_data.glob(REAL[name]))[:number]
    return [np.asarray(nib.load(f).dataobj).astype(np.float32) for f in files]


def _twins(volumes: list[np.ndarray], copies: dict[int, np.ndarray]) -> tuple[set[int], int]:
    """Patients whose copy is found, and how many other pairs are taken for one picture."""
    prints = np.stack([print_of(v) for v in [*volumes, *copies.values()]])
    pairs = pairs_of(prints, [f"P{n}" for n in range(len(volumes))] + [f"C{n}" for n in copies]).assign(role="x")
    found = pairs[same_picture(pairs)]
    right = (found["one"].str[0] != found["two"].str[0]) & (found["one"].str[1:] == found["two"].str[1:])
    return set(found.loc[right, "one"].str[1:].astype(int)), int((~right).sum())


@pytest.mark.parametrize("copied", [[3, 8], list(range(12))], ids=["two", "all"])
def test_copies_among_real_scans_are_found_however_many_there_are(shared_data, copied):
    volumes, ways = _real(shared_data, "hippocampus", 12), list(DISGUISES.values())
    found, wrong = _twins(volumes, {n: ways[n % 3](volumes[n]) for n in copied})
    assert (found, wrong) == (set(copied), 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_no_patient_of_a_whole_real_cohort_is_a_twin_of_another(shared_data, name):
    assert _twins(_real(shared_data, name), {}) == (set(), 0)


@pytest.mark.slow
@pytest.mark.parametrize("what", DISGUISES)
@pytest.mark.parametrize("name", ["flair", "hippocampus"])
def test_disguised_copies_are_found_in_real_cohorts(shared_data, name, what):
    volumes = _real(shared_data, name, 40)
    few = np.random.default_rng(3).permutation(len(volumes))
    for copied in (few[:1], few[:5], few):
        found, wrong = _twins(volumes, {int(n): DISGUISES[what](volumes[n]) for n in copied})
        assert wrong == 0
        assert len(found) >= (len(copied) if len(copied) <= 5 else 0.9 * len(copied))

"""Slices: which are kept, how they are scaled, and that k is the slice axis of every plane."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from scan2gene.core.errors import ScanError
from scan2gene.core.section import Plugin
from scan2gene.core.study_cohort import Role
from scan2gene.core.volume import Volume
from scan2gene.preprocess.edge_slices import dark_shares, edge_slices, kept_slices, three_groups
from scan2gene.preprocess.preview import write_kept
from scan2gene.preprocess.reorient import reorient
from scan2gene.preprocess.resample import resize
from scan2gene.preprocess.slice_selection import kept_numbers
from scan2gene.preprocess.store import build_store
from scan2gene.preprocess.zscore_slices import zscore_slices


def head(slices: int = 30, side: int = 40, seed: int = 0) -> np.ndarray:
    """A bright ball in faint noise, black outside: (side, side, slices) float32."""
    rng = np.random.default_rng(seed)
    i, j, k = np.meshgrid(*[np.linspace(-1, 1, n) for n in (side, side, slices)], indexing="ij")
    inside = i**2 + j**2 + (k / 0.8) ** 2 < 0.8
    return np.where(inside, rng.uniform(60, 200, inside.shape), 0).astype(np.float32)


def test_three_groups_are_those_of_scikit_learn():
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(1)
    for n in (5, 12, 40):
        values = rng.beta(0.5, 0.8, n)
        found = KMeans(3, n_init=50, random_state=0).fit(values[:, None])
        rank = np.argsort(np.argsort(found.cluster_centers_.ravel()))
        np.testing.assert_array_equal(three_groups(values), rank[found.labels_])


def test_rule_middle_is_the_studys():
    from sklearn.cluster import KMeans

    array = head()
    shares = [float((s <= np.percentile(s, 5)).mean()) for s in np.moveaxis(array, 2, 0)]  # as the study words it
    np.testing.assert_allclose(dark_shares(array), shares)
    found = KMeans(3, n_init=50, random_state=0).fit(np.array(shares)[:, None])
    middle = np.argsort(found.cluster_centers_.ravel())[1]
    kept = kept_slices(Volume(array, np.eye(4)), rule="middle")
    np.testing.assert_array_equal(kept, np.flatnonzero(found.labels_ == middle))
    assert 0 < len(kept) < 30


def test_foreground_keeps_one_range_with_every_slice_that_shows_much():
    array = head()
    shown = (array > 0).mean(axis=(0, 1))
    volume = Volume(array, np.diag([1.0, 1, 5, 1]))
    kept = kept_slices(volume)
    np.testing.assert_array_equal(kept, np.arange(kept[0], kept[-1] + 1))
    assert set(np.flatnonzero(shown > 0.3 * shown.max())) <= set(kept)
    assert not set(np.flatnonzero(shown < 0.2 * shown.max())) & set(kept)
    out = edge_slices(volume)
    np.testing.assert_array_equal(out.array, array[:, :, kept])
    np.testing.assert_allclose(out.affine @ [0, 0, 0, 1], volume.affine @ [0, 0, kept[0], 1])


def test_grey_scale_does_not_decide_which_slices_are_kept():
    array = head()
    for rule in ("foreground", "middle"):
        plain = kept_slices(Volume(array, np.eye(4)), rule=rule)
        np.testing.assert_array_equal(plain, kept_slices(Volume(7 * array - 3, np.eye(4)), rule=rule))


@pytest.mark.parametrize(("slices", "why"), [(2, "has 2 slices"), (3, "fewer than three values")])
def test_middle_says_why_it_cannot(slices, why):
    flat = np.random.default_rng(0).random((20, 20, slices))
    with pytest.raises(ScanError, match=f"{why}.*rule: foreground"):
        edge_slices(Volume(flat, np.eye(4)), rule="middle")
    assert edge_slices(Volume(flat, np.eye(4))).shape[2] == slices


def test_each_slice_is_standardised_by_itself():
    array = head()
    array[:, :, 3] *= 9
    out = zscore_slices(Volume(array, np.eye(4))).array
    for k in range(30):
        expected = array[:, :, k].astype(float)
        expected = (expected - expected.mean()) / (expected.std() or 1)
        np.testing.assert_allclose(out[:, :, k], expected, atol=1e-5)


def test_k_is_the_slice_axis_in_every_plane():
    place = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    for plane, axes in {"axial": "LPS", "coronal": "LIP", "sagittal": "PIL"}.items():
        letters = {"L": (0, -1), "P": (1, -1), "S": (2, 1), "I": (2, -1), "R": (0, 1), "A": (1, 1)}
        affine = np.eye(4)
        affine[:3, :3] = 0
        for axis, (letter, spacing) in enumerate(zip(axes, (0.9, 0.9, 5), strict=True)):
            world, sign = letters[letter]
            affine[world, axis] = sign * spacing
        stored = Volume(place, affine)
        for order in ([2, 0, 1], [1, 2, 0], [0, 1, 2]):  # as some tool stored it
            turned = affine.copy()
            turned[:3, :3] = affine[:3, :3][:, order]
            out = reorient(Volume(place.transpose(order), turned), axes="acquisition")
            assert out.orientation == axes, plane
            np.testing.assert_array_equal(out.array, stored.array)


def test_resize_leaves_an_axis_alone():
    volume = Volume(head(), np.eye(4))
    both = resize(volume, shape=[20, 24, None])
    np.testing.assert_array_equal(both.array, resize(volume, shape=[20, 24, 30]).array)
    thin = resize(Volume(head()[:, :, :9], np.eye(4)), shape=[20, 24, None])
    assert thin.shape == (20, 24, 9)


def test_a_series_of_two_slices_is_told_and_costs_no_other_role(tmp_path):
    for role, slices in (("t1", 12), ("t2", 2)):
        nib.save(nib.Nifti1Image(head()[:, :, 9 : 9 + slices], np.eye(4)), tmp_path / f"{role}.nii")
    exams = pd.DataFrame([{"patient_id": "p", "exam_id": "e", "role:t1": "t1", "role:t2": "t2"}])
    paths = {r: str(tmp_path / f"{r}.nii") for r in ("t1", "t2")}
    recipe = [Plugin(name="edge_slices", options={"rule": "middle"})]
    roles = {r: Role(match={"path": r}, optional=True) for r in ("t1", "t2")}
    manifest = build_store(tmp_path / "store", exams, paths, roles, recipe).set_index("role")
    assert manifest["status"].to_dict() == {"t1": "ok", "t2": "failed"}
    assert "has 2 slices" in manifest.loc["t2", "reason"]
    needed = {r: Role(match={"path": r}) for r in ("t1", "t2")}
    strict = build_store(tmp_path / "strict", exams, paths, needed, recipe).set_index("role")
    assert set(strict["status"]) == {"failed"}
    assert "has 2 slices" in strict.loc["t1", "reason"]


def test_what_was_kept_is_pictured(tmp_path):
    nib.save(nib.Nifti1Image(head(), np.eye(4)), tmp_path / "t1.nii")
    exams = pd.DataFrame([{"patient_id": "p", "exam_id": "e", "role:t1": "t1"}])
    recipe = [Plugin(name="reorient", options={"axes": "acquisition"}), Plugin(name="edge_slices")]
    (path,) = write_kept(tmp_path, exams, {"t1": str(tmp_path / "t1.nii")}, ["t1"], recipe)
    page = np.asarray(Image.open(path)).astype(int)
    framed = (page == [70, 170, 90]).all(axis=2).sum()
    one = 4 * (72 - 3)  # pixels around a slice, two inwards of its cell
    assert framed == len(kept_slices(Volume(head(), np.eye(4)))) * one
    assert write_kept(tmp_path, exams, {}, ["t1"], recipe[:1]) == []


def test_real_gliomas_lose_ends_and_never_the_slice_with_most_tumour(shared_data):
    lost = []
    for folder in sorted((shared_data / "tcga_lgg" / "images").iterdir())[:12]:
        image, mask = (np.asarray(nib.load(folder / f"{n}.nii.gz").dataobj) for n in ("flair", "mask"))
        kept = kept_slices(Volume(image, np.eye(4)))
        assert int((mask > 0).sum(axis=(0, 1)).argmax()) in kept
        lost.append(image.shape[2] - len(kept))
    assert sum(lost) > 0


def test_kept_slices_that_may_not_adjoin_are_found_again_from_the_scan(tmp_path):
    sagittal = np.array([[0.0, 0, 5, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    array = head(12)
    array[:, :, 6] = 0  # a slice of no use in the middle
    nib.save(nib.Nifti1Image(array, sagittal), tmp_path / "s.nii")
    turn = Plugin(name="reorient", options={"axes": "acquisition"})
    exam, paths = {"role:t1": "s"}, {"s": str(tmp_path / "s.nii")}
    steps = [turn, Plugin(name="edge_slices", options={"rule": "middle"}), Plugin(name="zscore_slices")]
    found = kept_numbers(exam, "t1", paths, steps)
    turned = reorient(Volume(array, sagittal), axes="acquisition")
    np.testing.assert_array_equal(found, kept_slices(turned, rule="middle"))
    assert kept_numbers(exam, "t1", paths, [turn, Plugin(name="edge_slices")]) is None

"""Masks on chosen slices: by their place in the patient, whatever plane they are in and whatever was left out."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import torch

from scan2gene.core.errors import ScanError
from scan2gene.data.samples import Samples
from scan2gene.predict.lesions import left_right_axes, lesion_masks

AXIAL = np.diag([-1.0, -1, 2, 1])  # LPS
CORONAL = np.array([[-1.0, 0, 0, 0], [0, 0, -2, 0], [0, -1, 0, 11.4], [0, 0, 0, 1]])  # LIP
SAGITTAL = np.array([[0.0, 0, -2, 0], [-1, 0, 0, 0], [0, -1, 0, 11.4], [0, 0, 0, 1]])  # PIL
SHAPES = {"axial": (12, 12, 4), "coronal": (12, 12, 6), "sagittal": (12, 12, 6)}


def _store(folder):
    """A mask with all its six slices; the axial series lost the first and the last, none of the others any."""
    mask = np.zeros((12, 12, 6), np.uint8)
    mask[3:6, 4:9, 2:4] = 1
    inner = AXIAL.copy()
    inner[2, 3] = 2
    saved = {"axial": inner, "coronal": CORONAL, "sagittal": SAGITTAL}
    for role, affine in saved.items():
        nib.save(nib.Nifti1Image(np.zeros(SHAPES[role], np.float32), affine), folder / f"{role}.nii")
    nib.save(nib.Nifti1Image(mask, AXIAL), folder / "mask.nii")
    rows = [{"exam_id": "E", "role": r, "file": f"{r}.nii", "status": "ok"} for r in (*saved, "mask")]
    exams = pd.DataFrame([{"patient_id": "P", "exam_id": "E", "role": r, "slice": k}
                          for r in saved for k in range(SHAPES[r][2])])  # fmt: skip
    zeros = torch.zeros(len(exams), 1)
    data = Samples(exams, torch.zeros(len(exams), 1, 12, 12), zeros + 1, zeros, {}, ("gene",))
    return pd.DataFrame(rows), data, (mask, saved)


def _found(folder, kept=lambda exam, role: None, role="mask"):
    manifest, data, given = _store(folder)
    return lesion_masks(folder, manifest, data, range(len(data.table)), role, kept), data, given


def test_every_marked_pixel_lies_where_the_lesion_is_in_the_patient(tmp_path):
    found, data, (mask, saved) = _found(tmp_path)
    for role, affine in saved.items():
        own = {data.table["slice"].iloc[n]: m for n, m in found.items() if data.table["role"].iloc[n] == role}
        places = {(i, j, k) for k, m in own.items() for j, i in torch.nonzero(m).tolist()}
        to_mask = np.linalg.inv(AXIAL) @ affine
        wanted = set()
        for place in np.ndindex(SHAPES[role]):
            at = np.rint(to_mask @ (*place, 1))[:3].astype(int)
            if all(0 <= a < n for a, n in zip(at, mask.shape, strict=True)) and mask[tuple(at)]:
                wanted.add(place)
        assert places == wanted, role
        assert wanted
    assert {data.table["slice"].iloc[n] for n in found if data.table["role"].iloc[n] == "axial"} == {1, 2}


def test_slices_that_do_not_adjoin_have_the_mask_of_their_own_place(tmp_path):
    found, data, _ = _found(tmp_path, lambda exam, role: np.array([1, 3, 4, 5]) if role == "axial" else None)
    assert {data.table["slice"].iloc[n] for n in found if data.table["role"].iloc[n] == "axial"} == {1}


def test_what_cannot_be_placed_has_no_mask(tmp_path):
    def lost(exam, role):
        raise ScanError("moved away")

    assert _found(tmp_path, lost)[0] == {}
    assert _found(tmp_path, role=None)[0] == {}
    assert _found(tmp_path, role="absent")[0] == {}


def test_left_and_right_lie_in_the_plane_of_axial_and_coronal_slices_only(tmp_path):
    manifest, data, _ = _store(tmp_path)
    turned = AXIAL[:, [1, 0, 2, 3]]  # i runs from front to back
    nib.save(nib.Nifti1Image(np.zeros(SHAPES["axial"], np.float32), turned), tmp_path / "axial.nii")
    axes = left_right_axes(tmp_path, manifest, data, range(len(data.table)), "i")
    by_role = data.table["role"].groupby(pd.Series(axes).reindex(range(len(data.table))).to_numpy()).unique()
    assert {axis: list(roles) for axis, roles in by_role.items()} == {0: ["sagittal"], 2: ["axial"], 3: ["coronal"]}

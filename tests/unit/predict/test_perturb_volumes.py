"""Altered copies: what is erased is gone, its hole is no cue, and nothing depends on the batch."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from scan2gene.data.load import load_samples
from scan2gene.data.perturb import filled, resliced, shifted
from scan2gene.data.samples import Samples, Sampling
from scan2gene.predict.aggregate import IDENTITY, Aggregate
from scan2gene.predict.lesions import lesion_masks
from scan2gene.predict.perturb import Alterations, forward_altered
from scan2gene.tasks.outputs import Output


class Mean(nn.Module):
    """Two outputs: the mean over the left half along W, and over the right one."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x, present=None):
        left, right = x.split(x.shape[-1] // 2, dim=-1)
        return self.scale * torch.stack([left.mean(dim=(1, 2, 3, 4)), right.mean(dim=(1, 2, 3, 4))], dim=1)


def _data(n: int = 6, lesion: float = 5.0) -> tuple[Samples, dict[int, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((n, 1, 8, 12, 12), generator=generator)
    masks = {}
    for row in range(n):
        mask = torch.zeros((8, 12, 12), dtype=torch.bool)
        mask[2 + row % 2 : 5 + row % 2, 3:6, 2 + row % 3 : 5 + row % 3] = True
        images[row, 0][mask] += lesion
        masks[row] = mask
    exams = pd.DataFrame({"exam_id": [f"E{i}" for i in range(n)], "patient_id": [f"P{i}" for i in range(n)]})
    data = Samples(exams, images, torch.ones((n, 1)), torch.zeros((n, 2)), {}, ("gene.L", "gene.R"))
    return data, masks


def _altered(data, masks, batch: int = 4, rows=None):
    rows = range(len(data.table)) if rows is None else rows
    axes = dict.fromkeys(rows, 4)  # left to right along W
    return forward_altered(Mean(), data, rows, Alterations(masks, axes, Aggregate(IDENTITY), (), batch, seed=3))


def test_every_way_gives_every_exam_a_score_that_no_batch_changes():
    data, masks = _data()
    whole, single = _altered(data, masks), _altered(data, masks, batch=1)
    assert set(whole) == {
        "shifted",
        "noise",
        "resliced",
        "mirrored",
        "erased",
        "only_lesion",
        "background",
        "only_border",
    }
    for name, values in whole.items():
        assert np.isfinite(values).all()
        assert values == pytest.approx(single[name], abs=1e-6)


def test_an_erased_lesion_leaves_no_trace_in_the_mean():
    data, masks = _data(lesion=5.0)
    plain, _ = _data(lesion=0.0)
    bright, dark = _altered(data, masks)["erased"], _altered(plain, masks)["erased"]
    assert bright == pytest.approx(dark, abs=1e-5)  # the scans differ inside the lesion only
    assert _altered(data, masks)["background"] == pytest.approx(_altered(plain, masks)["background"], abs=1e-5)


def test_with_the_lesion_alone_the_rest_of_the_scan_is_no_cue():
    data, masks = _data()
    other = data.images.clone()
    for row in range(1, len(other)):  # the first lends its surroundings to all
        other[row, 0][~masks[row]] += 3
    moved = Samples(data.table, other, data.present, data.targets, {}, data.names)
    assert _altered(moved, masks)["only_lesion"] == pytest.approx(_altered(data, masks)["only_lesion"], abs=1e-6)


def test_what_fills_a_hole_continues_its_surroundings():
    ramp = torch.linspace(0, 1, 24).expand(1, 1, 16, 16, 24).clone()
    grain = 0.05 * torch.randn(ramp.shape, generator=torch.Generator().manual_seed(1))
    x = ramp + grain
    hole = torch.zeros_like(x)
    hole[..., 5:11, 5:11, 9:15] = 1
    x_with = torch.where(hole > 0, torch.full_like(x, 9.0), x)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    found = filled(x_with, hole, noise)
    inside = hole > 0
    assert torch.equal(found[~inside], x[~inside])
    assert float((found - ramp)[inside].abs().mean()) < 0.12
    assert 0.02 < float((found - filled(x_with, hole, 0 * noise))[inside].std()) < 0.08


def test_mirroring_gives_each_side_its_own_score_back():
    data, masks = _data()
    model = Mean()
    with torch.no_grad():
        plain = model(data.images).double().numpy()
    assert _altered(data, masks)["mirrored"] == pytest.approx(plain, abs=1e-6)


def test_an_exam_without_mask_has_no_copy_without_lesion():
    data, masks = _data()
    del masks[2]
    masks[4] = torch.zeros_like(masks[4])
    found = _altered(data, masks)
    assert np.isnan(found["erased"]).all(axis=1).tolist() == [False, False, True, False, True, False]
    assert np.isfinite(found["shifted"]).all()
    assert set(_altered(data, {})) == {"shifted", "noise", "resliced", "mirrored", "only_border"}


def test_small_changes_are_small():
    x = torch.randn((1, 1, 10, 40, 40), generator=torch.Generator().manual_seed(0))
    assert torch.equal(shifted(x)[..., 1:, 1:, 1:], x[..., :-1, :-1, :-1])
    assert resliced(x).mean() == pytest.approx(float(x.mean()), abs=0.01)
    flat = torch.ones((1, 1, 5, 4, 4))
    assert torch.equal(resliced(flat), flat)


def test_copies_of_volumes_are_those_that_they_were():
    """Sums over exams, kept from before slices had copies of their own."""
    kept = {"shifted": 0.854273, "noise": 1.076988, "resliced": 1.082506, "mirrored": 1.082506, "erased": -0.278446,
            "only_lesion": 1.166279, "background": -0.340497}  # fmt: skip
    found = {n: v[:, 0].sum() for n, v in _altered(*_data()).items()}
    assert {n: found[n] for n in kept} == pytest.approx(kept, abs=1e-5)


def test_exams_with_grids_of_their_own_have_the_copies_that_need_no_other_exam(tmp_path):
    shapes = [(12, 12, 8), (14, 12, 8), (12, 12, 9)]
    rows = [{"exam_id": f"E{n}", "role": "t1", "file": f"{n}.nii", "status": "ok"} for n in range(3)]
    for n, shape in enumerate(shapes):
        image = np.random.default_rng(n).normal(size=shape).astype(np.float32)
        mask = np.zeros(shape, np.uint8)
        mask[3:6, 3:6, 2 + n : 5 + n] = n < 2
        nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / f"{n}.nii")
        nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / f"m{n}.nii")
        rows.append({"exam_id": f"E{n}", "role": "mask", "file": f"m{n}.nii", "status": "ok"})
    cohort = pd.DataFrame({"exam_id": ["E0", "E1", "E2"], "patient_id": ["P0", "P1", "P2"]})
    labels = pd.DataFrame({"patient_id": cohort["patient_id"], "side": "", "target": "gene", "value": [0, 1, 0]})
    manifest = pd.DataFrame(rows).assign(reason="")
    data = load_samples(tmp_path, manifest, cohort, labels, Sampling(("t1",), (Output("gene"),), one_grid=False))
    masks = lesion_masks(tmp_path, manifest, data, range(3), "mask", lambda exam, role: None)
    assert {n: tuple(mask.shape) for n, mask in masks.items()} == {0: (8, 12, 12), 1: (8, 12, 14)}  # the third is empty
    found = _altered(data, masks, batch=1)
    assert set(found) == {"shifted", "noise", "resliced", "mirrored", "erased"}
    assert np.isnan(found["erased"]).all(axis=1).tolist() == [False, False, True]
    assert np.isfinite(found["shifted"]).all()

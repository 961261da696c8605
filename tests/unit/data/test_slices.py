"""Slices as items: the right voxels, from memory as from disk, evenly chosen, exams without any told."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from scan2gene.core.errors import CohortError, RunError
from scan2gene.core.section import Plugin
from scan2gene.data.augment import AUGMENTATIONS, Batch, augment
from scan2gene.data.load import evenly, load_samples
from scan2gene.data.samples import Sampling, SliceSampler
from scan2gene.tasks.outputs import Output

SLICES = Sampling(("t1", "t2"), (Output("gene"),), SliceSampler())


@pytest.fixture(params=[np.uint8, np.float32])
def store(request, tmp_path):
    """Three patients: two roles, one role, and none that could be prepared."""
    rng = np.random.default_rng(0)
    rows = []
    for n, (exam, role, slices) in enumerate([("a", "t1", 4), ("a", "t2", 7), ("b", "t1", 3)]):
        array = (255 * rng.random((6, 5, slices))).astype(request.param)
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / f"{n}.nii")
        rows.append({"exam_id": exam, "role": role, "file": f"{n}.nii", "status": "ok", "reason": ""})
    rows.append({"exam_id": "c", "role": "t1", "file": None, "status": "failed", "reason": "two slices only"})
    cohort = pd.DataFrame({"patient_id": ["A", "B", "C"], "exam_id": ["a", "b", "c"], "site": None})
    labels = pd.DataFrame(
        [("A", None, "gene", 1.0, ""), ("B", None, "gene", 0.0, "")],
        columns=["patient_id", "side", "target", "value", "source"],
    )
    return tmp_path, pd.DataFrame(rows), cohort, labels


def test_each_row_is_its_slice_from_memory_and_from_disk(store):
    held, kept = load_samples(*store, SLICES), load_samples(*store, SLICES, memory=0)
    assert isinstance(held.images, torch.Tensor)
    assert not isinstance(kept.images, torch.Tensor)
    assert tuple(held.images.shape) == tuple(kept.images.shape) == (14, 1, 5, 6)  # H is j, W is i
    volumes = {row.exam_id + row.role: nib.load(store[0] / row.file) for row in store[1].head(3).itertuples()}
    for n, exam in enumerate(held.table.to_dict("records")):
        expected = np.asarray(volumes[exam["exam_id"] + exam["role"]].dataobj)[:, :, exam["slice"]].T
        np.testing.assert_array_equal(held.images[torch.tensor([n])][0, 0], expected)
    some = torch.tensor([13, 0, 7, 7])
    torch.testing.assert_close(kept.images[some], held.images[some], rtol=0, atol=0)
    assert kept.images.nbytes == held.images.nbytes
    assert held.targets.ravel().tolist() == [1.0] * 11 + [0.0] * 3
    assert held.failed == {"c": "two slices only"}
    assert "14 slices" in held.description()


def test_a_volume_that_was_cut_short_is_named(store):
    kept = load_samples(*store, SLICES, memory=0)
    path = store[0] / "1.nii"
    path.write_bytes(path.read_bytes()[:-1])
    kept.images[torch.tensor([0])]
    with pytest.raises(RunError, match=r"1\.nii is shorter"):
        kept.images[torch.tensor([9])]


def test_a_patient_gives_at_most_so_many_evenly_over_roles_and_places(store):
    data = load_samples(*store, replace(SLICES, sampler=SliceSampler(4)))
    assert data.table[["exam_id", "role", "slice"]].to_numpy().tolist() == [
        ["a", "t1", 1], ["a", "t2", 0], ["a", "t2", 2], ["a", "t2", 5], ["b", "t1", 0], ["b", "t1", 1], ["b", "t1", 2],
    ]  # fmt: skip
    table = pd.DataFrame({"patient_id": ["p"] * 10})
    assert evenly(table, 2)[0].tolist() == [2, 7]
    assert evenly(table, 99)[0].tolist() == list(range(10))


def test_slices_of_two_sizes_are_refused_with_the_step_that_helps(store):
    nib.save(nib.Nifti1Image(np.ones((6, 6, 3), np.uint8), np.eye(4)), store[0] / "2.nii")
    with pytest.raises(CohortError, match="224, 224, null"):
        load_samples(*store, SLICES)


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_every_augmentation_takes_slices_one_like_another(name):
    images = torch.rand(3, 1, 20, 22, generator=torch.Generator().manual_seed(0))
    options = {"cutout": {"probability": 1.0}, "low_resolution": {"axes": ["j"]}, "flip": {"probability": 1.0}}
    steps = [Plugin(name=name, options=options.get(name, {}))]
    batch = Batch(images, torch.zeros(3, 1), ("gene",), (1.0, 1.0, 5.0))
    out = augment(batch, steps, 1, 2, [4, 5, 6]).images
    assert out.shape == images.shape
    assert torch.isfinite(out).all()
    for n, row in enumerate((4, 5, 6)):
        assert not torch.equal(out[n], images[n]), "nothing happened"
        alone = augment(Batch(images[n : n + 1], torch.zeros(1, 1), ("gene",), (1.0, 1.0, 5.0)), steps, 1, 2, [row])
        torch.testing.assert_close(alone.images[0], out[n])

"""Whole volumes as samples: one grid for all, or one exam a batch, each on its own grid."""

from __future__ import annotations

from functools import partial

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from tests.bare_fit import bare_fit

from scan2gene.core.errors import CohortError
from scan2gene.core.study_runs import Data, Predict, Train
from scan2gene.data.load import load_samples
from scan2gene.data.samples import Sampling
from scan2gene.forward.logits import forward_variants
from scan2gene.models import MODELS
from scan2gene.tasks.outputs import Output
from scan2gene.train.loop import fit_network

ROLES = ("t1", "t2")


def _store(folder, shapes):
    """Files of exams: exam -> role -> shape."""
    rng, rows = np.random.default_rng(0), []
    for exam, roles in shapes.items():
        for role, shape in roles.items():
            nib.save(
                nib.Nifti1Image(rng.random(shape, np.float32), np.diag([2, 2, 3, 1.0])), folder / f"{exam}{role}.nii"
            )
            rows.append({"exam_id": exam, "role": role, "file": f"{exam}{role}.nii", "status": "ok", "reason": ""})
    cohort = pd.DataFrame({"patient_id": [*shapes], "exam_id": [*shapes]})
    values = {"side": "", "target": "gene", "value": [n % 2 for n in range(len(shapes))]}
    labels = pd.DataFrame({"patient_id": cohort["patient_id"], **values})
    return folder, pd.DataFrame(rows), cohort, labels


DIFFERENT = {f"E{n}": {"t1": (12 + n % 3, 10, 8), **({"t2": (12 + n % 3, 10, 8)} if n % 4 else {})} for n in range(8)}


def test_volumes_of_several_grids_are_refused_with_both_ways_out(tmp_path):
    with pytest.raises(CohortError, match=r"differ in shape, e.g. .*\(12, 10, 8\).*crop_or_pad.*data.batch_size: 1"):
        load_samples(*_store(tmp_path, DIFFERENT), Sampling(ROLES, (Output("gene"),)))


def test_one_exam_a_batch_keeps_its_own_grid(tmp_path):
    given = _store(tmp_path, DIFFERENT)
    data = load_samples(*given, Sampling(ROLES, (Output("gene"),), one_grid=False))
    assert "8 exams of different sizes float32" in data.description()
    assert data.images.nbytes == sum(4 * 80 * (12 + n % 3) * (2 if n % 4 else 1) for n in range(8))
    for n, exam in enumerate(data.table["exam_id"]):
        image = data.images[torch.tensor([n])]
        assert image.shape == (1, 2, 8, 10, 12 + n % 3)
        np.testing.assert_array_equal(image[0, 0], nib.load(tmp_path / f"{exam}t1.nii").get_fdata(dtype=np.float32).T)
        assert bool(image[0, 1].any()) == bool(data.present[n, 1]) == bool(n % 4)
    same = load_samples(*given[:2], given[2][::3], given[3], Sampling(ROLES, (Output("gene"),), one_grid=False))
    assert isinstance(same.images, torch.Tensor)  # these have one grid after all


def test_a_network_learns_from_exams_that_each_have_their_own_grid(tmp_path):
    data = load_samples(*_store(tmp_path, DIFFERENT), Sampling(ROLES, (Output("gene"),), one_grid=False))
    torch.manual_seed(0)
    build = partial(MODELS["light_cnn"], 2, 1)
    train = Train(epochs=2, device="cpu", mixup=0.2)
    fit_network(bare_fit(tmp_path, Data(batch_size=1), train, 5), build, data, np.arange(6), np.arange(6, 8))
    assert np.isfinite(pd.read_csv(tmp_path / "history.csv")["validation_loss"]).all()
    passed = forward_variants(build(), data, range(8), 1, Predict(flips=["i"]))
    assert np.isfinite(passed.logits["tta"]).all() and passed.embeddings.shape[0] == 8


def test_an_exam_whose_roles_differ_in_grid_is_set_aside_with_its_reason(tmp_path):
    shapes = {"A": {"t1": (8, 8, 8), "t2": (8, 8, 9)}, "B": {"t1": (8, 8, 9), "t2": (8, 8, 9)}}
    data = load_samples(*_store(tmp_path, shapes), Sampling(ROLES, (Output("gene"),), one_grid=False))
    assert data.table["exam_id"].tolist() == ["B"]
    assert data.failed == {"A": "its roles were prepared to different shapes: 8 x 8 x 8 and 8 x 8 x 9"}

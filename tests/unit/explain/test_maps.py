"""Maps of slices put back as volumes: in their place, weighed by their say in the answer."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from scan2gene.core.errors import StudyError
from scan2gene.core.section import Plugin
from scan2gene.core.volume import Volume
from scan2gene.data.load import load_samples
from scan2gene.data.samples import Samples, Sampling
from scan2gene.explain import METHODS
from scan2gene.explain.asked import Asked
from scan2gene.explain.grid import on_grid
from scan2gene.explain.maps import Attended, Explained, exam_maps, seen_voxels
from scan2gene.forward.logits import inputs_of
from scan2gene.models import MODELS
from scan2gene.models.mil import AttentionMIL
from scan2gene.predict.aggregate import IDENTITY, Aggregate, fuse
from scan2gene.predict.aggregate import rule_shares as shares
from scan2gene.preprocess.slice_selection import laid_on, with_gaps
from scan2gene.tasks.outputs import Output

SIZES = {"axial": (6, 5, 4), "coronal": (6, 5, 3)}  # prepared I, J, K
SEEN = {"axial": [0, 1, 3], "coronal": [2]}


class Weighing(nn.Module):
    """A network whose logit is a weighted sum of pixels, so that what each adds is known."""

    spatial_dims, cam_layer = 2, "same"

    def __init__(self):
        super().__init__()
        self.same = nn.Identity()
        self.weight = nn.Parameter(torch.rand(1, 1, 5, 6) + 0.1)

    def forward(self, x, present=None):
        return (self.same(x) * self.weight).sum(dim=(1, 2, 3))[:, None]


def _fit(folder, way: Plugin, part: str = "test", role_weights=None):
    rng = np.random.default_rng(0)
    volumes = {r: rng.uniform(0.1, 1, s).astype(np.float32) for r, s in SIZES.items()}
    for role, array in volumes.items():
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"{role}.nii")
    rows = [(role, k) for role, numbers in SEEN.items() for k in numbers]
    rows += rows[:2]  # of another exam, in training
    exams = pd.DataFrame({"exam_id": [*"EEEE", *"TT"], "role": [r for r, _ in rows], "slice": [k for _, k in rows]})
    exams["patient_id"] = exams["exam_id"]
    images = torch.stack([torch.from_numpy(volumes[r][:, :, k].T.copy())[None] for r, k in rows])
    data = Samples(exams, images, torch.ones(len(rows), 1), torch.zeros(len(rows), 1), {}, ("gene",))
    files = {("E", role): f"{role}.nii" for role in volumes}
    parts, aggregate = np.array([*[part] * 4, "train", "train"]), Aggregate(way, role_weights=role_weights or {})
    model = Weighing()
    fit = Explained(model, model, data, parts, aggregate, list(SIZES), folder, files, {}, _adjoining, None, None, 3, 7)
    return fit, volumes


def _adjoining(exam, role):
    return None


ROW = {"exam_id": "E", "target": "gene", "side": ""}


def _map(fit, model, method="hires_cam", sign="positive"):
    return exam_maps(fit, model, ROW | {"class": sign}, Plugin(name=method))


@pytest.mark.parametrize("way", ["mean", "max", "top_k", "noisy_or", "late"])
def test_each_slice_lies_in_its_place_weighed_by_its_share(tmp_path, way):
    weights = {"gene": pd.Series({"axial": 0.3, "coronal": 0.7})}
    fit, volumes = _fit(tmp_path, Plugin(name=way), role_weights=weights if way == "late" else None)
    model = Weighing()
    found = _map(fit, model)
    logits = model(fit.data.images[:4])[:, 0].detach().numpy()
    share = np.array([0.1, 0.1, 0.1, 0.7]) if way == "late" else shares(Plugin(name=way), logits)
    assert share.sum() == pytest.approx(1)
    pixels = model.weight.detach()[0, 0].numpy().T
    for n, (role, k) in enumerate([(r, k) for r, numbers in SEEN.items() for k in numbers]):
        np.testing.assert_allclose(found[role][:, :, k], share[n] * pixels * volumes[role][:, :, k], rtol=1e-5)
    assert not found["axial"][:, :, 2].any() and not found["coronal"][:, :, :2].any()
    seen = seen_voxels(fit, ROW)
    assert {r: sorted(set(np.nonzero(s)[2])) for r, s in seen.items()} == SEEN


def test_slices_of_other_parts_have_no_map(tmp_path):
    fit, _ = _fit(tmp_path, Plugin(name="mean"))
    fit.part[0] = "train"
    found = _map(fit, Weighing())
    assert not found["axial"][:, :, 0].any() and found["axial"][:, :, 1].any()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_explains_slices(tmp_path, method):
    torch.manual_seed(0)
    fit, _ = _fit(tmp_path, Plugin(name="mean"))
    for sign in ("positive", "negative"):
        found = _map(fit, MODELS["light_cnn2d"](1, 1), method, sign)
        assert all(np.isfinite(a).all() and (a >= 0).all() for a in found.values())
        assert {r: a.shape for r, a in found.items()} == SIZES


@pytest.mark.parametrize("way", [Plugin(name="max"), Plugin(name="noisy_or")])
def test_a_share_is_how_the_answer_follows_a_slice(way):
    z = np.random.default_rng(1).normal(0, 2, 6)
    bag = np.zeros(6, int)
    step = np.eye(6) * 1e-5
    slopes = (
        np.array([(fuse(way, (z + s)[:, None], bag) - fuse(way, (z - s)[:, None], bag))[0, 0] for s in step]) / 2e-5
    )
    np.testing.assert_allclose(shares(way, z), slopes / slopes.sum(), atol=1e-6)


def test_answers_of_an_attention_are_the_weighted_mean_of_its_slices(tmp_path):
    torch.manual_seed(0)
    network = MODELS["light_cnn2d"](1, 1).eval()
    x = torch.randn(5, 1, 24, 24)
    with torch.no_grad():
        embeddings = network.pool(network.forward_features(x))
        attention = AttentionMIL(embeddings.shape[1], 1, 8, gated=True)
        attention.fit_scale(embeddings)
        nn.init.normal_(attention.score.weight)
        nn.init.normal_(attention.head.weight)
        model = Attended(network, attention).eval()
        share = torch.softmax(model.attention_scores(x), dim=0)
        whole = attention.eval()(embeddings, torch.zeros(5, dtype=torch.long), 1)
        torch.testing.assert_close((share @ model(x))[0], whole[0, 0], rtol=1e-4, atol=1e-5)
    assert model.get_submodule(model.cam_layer) is not None


def test_kept_slices_that_do_not_adjoin_go_back_to_where_they_were():
    scan = Volume(np.zeros((4, 4, 8), np.uint8), np.diag([2.0, 2, 5, 1]))
    kept = np.array([1, 2, 5])
    affine = scan.affine.copy()
    affine[2, 3] = 5.0  # edge_slices keeps the place of the first
    cam = Volume(np.stack([np.full((4, 4), v, np.float32) for v in (1, 2, 3)], axis=2), affine)
    moved = on_grid(with_gaps(cam, kept), scan).array[1, 1]
    np.testing.assert_allclose(moved, [0, 1, 2, 0, 0, 3, 0, 0], atol=0.02)
    mask = Volume((np.arange(8) % 2 * np.ones((4, 4, 1))).astype(np.uint8), scan.affine, "label")
    assert laid_on(mask, cam, kept)[0, 0].tolist() == [True, False, True]
    assert laid_on(mask, Volume(np.zeros((4, 4, 8), np.float32), scan.affine), None)[0, 0].tolist() == [False, True] * 4


def test_the_map_of_a_volume_is_that_of_its_only_instance(tmp_path):
    """On the grid of the exam's first role, whatever grids other exams have."""
    torch.manual_seed(0)
    shapes = {"E": (9, 8, 10), "F": (12, 8, 10)}
    for exam, shape in shapes.items():
        image = nib.Nifti1Image(np.random.default_rng(1).random(shape, np.float32), np.eye(4))
        nib.save(image, tmp_path / f"{exam}.nii")
    rows = [{"exam_id": e, "role": "t2", "file": f"{e}.nii", "status": "ok", "reason": ""} for e in shapes]
    cohort = pd.DataFrame({"exam_id": [*shapes], "patient_id": [*shapes]})
    labels = pd.DataFrame({"patient_id": [*shapes], "side": "", "target": "gene", "value": [0, 1]})
    sampling = Sampling(("t1", "t2"), (Output("gene"),), one_grid=False)
    data = load_samples(tmp_path, pd.DataFrame(rows), cohort, labels, sampling)
    model, files = MODELS["light_cnn"](2, 1).eval(), {(e, "t2"): f"{e}.nii" for e in shapes}
    fit = Explained(
        model, model, data, np.array(["test", "test"]), Aggregate(IDENTITY), sampling.roles, tmp_path, files, {},
        _adjoining, None, None, 1, 7,
    )  # fmt: skip
    found = _map(fit, model, "integrated_gradients")
    assert {role: array.shape for role, array in found.items()} == {"t2": shapes["E"]}
    x, present = inputs_of(data, [0], data.images, torch.device("cpu"))
    wanted = METHODS["integrated_gradients"](Asked(model, x, present, 0, torch.ones(1), (0,)))
    np.testing.assert_array_equal(found["t2"], wanted[0].numpy().T)
    assert seen_voxels(fit, ROW)["t2"].all()
    with pytest.raises(StudyError, match="gradient_shap compares with other exams"):
        _map(fit, model, "gradient_shap")

"""Altered copies of exams seen as slices: the lesion or the rest is gone, and nothing else tells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from scan2gene.core.section import Plugin
from scan2gene.core.study_runs import Predict
from scan2gene.data.perturb import filled
from scan2gene.data.samples import Samples
from scan2gene.forward.logits import NetworkOutput, forward_variants
from scan2gene.models import MODELS
from scan2gene.models.mil import AttentionMIL
from scan2gene.predict.aggregate import load_aggregate
from scan2gene.predict.perturb import Alterations, forward_altered
from scan2gene.tasks.outputs import Output

SIDE = 24
ANSWERS = [Output("gene"), Output("other")]
WITHOUT_MASK = {"shifted", "noise", "mirrored", "every_second", "only_border"}
WITH_MASK = {"erased", "background", "only_lesion"}


class Reader(nn.Module):
    """Two outputs: the brightest place, and the mean of a stripe at the edge."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x, present=None):
        bright = nn.functional.avg_pool2d(x, 3, 1).amax(dim=(1, 2, 3))
        return self.scale * torch.stack([bright - 3, x[..., :2].mean(dim=(1, 2, 3))], dim=1)


class Constant(Reader):
    """Says the same of every slice that shows nothing."""

    def forward(self, x, present=None):
        return 0 * super().forward(x)


def _cohort(lesion=lambda label: 4.0, stripe=lambda label: 0.0, exams: int = 16, slices=None, show=(1, 3)):
    """Exams with an axial series and, but for every third, a coronal one; a lesion in some slices of both.

    `lesion` and `stripe` give brightness from the label, which is 1 in every second exam.
    """
    rows, images, masks = [], [], {}
    for n in range(exams):
        label = n % 2
        for role in ("axial", "coronal")[: 1 if n % 3 == 2 else 2]:
            rng = np.random.default_rng([n, len(role)])
            count = slices(label) if slices else int(rng.integers(5, 9))
            top, left = rng.integers(6, 13, 2)
            for k in range(count):
                image = 0.3 * rng.standard_normal((SIDE, SIDE))
                image[:, :2] += stripe(label)
                if show[0] <= k < show[1]:
                    mask = np.zeros((SIDE, SIDE), bool)
                    mask[top : top + 5, left : left + 5] = True
                    image[mask] += lesion(label)
                    masks[len(rows)] = torch.from_numpy(mask)
                rows.append({"patient_id": f"P{n:02d}", "exam_id": f"E{n:02d}", "role": role, "slice": k, "y": label})
                images.append(image)
    table = pd.DataFrame(rows)
    x = torch.from_numpy(np.stack(images)[:, None].astype(np.float32))
    data = Samples(table, x, torch.ones(len(x), 1), torch.zeros(len(x), 2), {}, ("gene", "other"))
    return data, masks


def _altered(data, masks, way="max", batch=64, rows=None, model=None, settings=None, left_right=None):
    axes = dict.fromkeys(range(len(data.table)), 3) if left_right is None else left_right
    fuse = load_aggregate(Plugin(name=way), ANSWERS, None)
    rows = list(range(len(data.table))) if rows is None else rows
    swap = settings.swap_targets if settings else ()
    return forward_altered(model or Reader(), data, rows, Alterations(masks, axes, fuse, swap, batch, seed=3))


def _auroc(data, values, output: int) -> float:
    return roc_auc_score(data.table.groupby("exam_id")["y"].first(), values[:, output])


def test_a_sign_in_the_lesion_goes_with_it_and_comes_with_it():
    data, masks = _cohort(lesion=lambda label: 3.0 + 2 * label)
    found = _altered(data, masks)
    assert set(found) == WITHOUT_MASK | WITH_MASK
    assert all(np.isfinite(values).all() for values in found.values())
    for name in ("shifted", "noise", "mirrored", "every_second", "only_lesion"):
        assert _auroc(data, found[name], 0) > 0.95, name
    dull, _ = _cohort(lesion=lambda label: 3.0)  # differs inside the lesion only
    gone = _altered(dull, masks)
    for name in ("erased", "background"):
        np.testing.assert_allclose(found[name], gone[name], atol=1e-5)
        assert abs(_auroc(data, found[name], 0) - 0.5) < 0.2, name


def test_a_sign_beside_the_lesion_stays_without_it_and_not_with_it_alone():
    data, masks = _cohort(stripe=float)
    found = _altered(data, masks)
    for name in ("erased", "background", "noise"):
        assert _auroc(data, found[name], 1) > 0.95, name
    alone = found["only_lesion"][:, 1]
    both = data.table.groupby("exam_id")["role"].nunique().to_numpy() == 2
    assert np.ptp(alone[both]) < 1e-6  # all lie in the same series, whose stripe all share
    assert np.ptp(alone[~both]) < 1e-6


@pytest.mark.parametrize("way", ["noisy_or", "mean"])
def test_how_many_slices_there_are_is_no_cue_to_the_lesion_alone(way):
    data, masks = _cohort(slices=lambda label: 5 + 4 * label, exams=6)
    found = _altered(data, masks, way, model=Constant())
    whole = _altered(data, {}, way, model=Constant())
    assert _auroc(data, whole["shifted"], 0) > 0.7 if way == "noisy_or" else np.ptp(whole["shifted"]) < 1e-9
    both = data.table.groupby("exam_id")["role"].nunique().to_numpy() == 2
    assert np.ptp(found["only_lesion"][both]) < 1e-9
    assert np.ptp(found["only_lesion"][~both]) < 1e-9


def test_every_lesion_goes_to_its_own_level_among_as_many_slices_as_the_longest_series_has():
    data, masks = _cohort(show=(4, 5), slices=lambda label: 5 + 6 * label, exams=6)  # the last of 5, or the fifth of 11
    seen = {}

    def spy(passed, exams):
        bright = np.flatnonzero(passed.logits["original"][:, 0] > -1)
        seen.setdefault(exams["exam_id"].iloc[0], []).append((len(exams), bright.tolist()))
        return np.zeros((1, 2))

    forward_altered(Reader(), data, range(len(data.table)), Alterations(masks, {}, spy, (), 64))
    alone = {exam: answers[-1] for exam, answers in seen.items()}
    assert alone["E02"] == (11, [9, 10])  # of 5 slices, axial only
    assert alone["E05"] == (11, [4])
    assert alone["E00"] == (22, [9, 10, 20, 21])
    assert alone["E01"] == (22, [4, 15])


def test_the_series_that_lends_its_surroundings_does_not_lend_its_lesion():
    data, masks = _cohort(exams=6)
    sizes = data.table.groupby(["role", "exam_id"]).size()
    lenders = [sizes[role].idxmax() for role in ("axial", "coronal")]
    bright = data.images.clone()
    for row, mask in masks.items():
        if data.table["exam_id"].iloc[row] in lenders:
            bright[row, 0][mask] += 30
    changed = Samples(data.table, bright, data.present, data.targets, {}, data.names)
    before, after = (_altered(d, masks)["only_lesion"] for d in (data, changed))
    others = ~np.isin(data.table["exam_id"].unique(), lenders)
    np.testing.assert_allclose(after[others], before[others], atol=1e-5)
    assert (after[~others, 0] > before[~others, 0] + 20).all()


def test_in_background_no_slice_tells_whether_it_shows_the_lesion():
    few, masks_few = _cohort(show=(1, 2), exams=4)
    many, masks_many = _cohort(show=(1, 5), exams=4)
    ours, theirs = (_altered(d, m, "noisy_or")["background"] for d, m in ((few, masks_few), (many, masks_many)))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    unseen = {row: mask for row, mask in masks_few.items() if few.table["role"].iloc[row] == "axial"}
    assert np.isfinite(_altered(few, unseen)["background"]).all()  # the coronal series has its box all the same


def test_answers_do_not_depend_on_the_batch_nor_on_whose_turn_it_is():
    data, masks = _cohort(exams=4)
    whole = _altered(data, masks, batch=100)
    for name, values in _altered(data, masks, batch=3).items():
        np.testing.assert_allclose(values, whole[name], atol=1e-6)
    backwards = [row for n in reversed(range(4)) for row in np.flatnonzero(data.table["exam_id"] == f"E0{n}")]
    for name, values in _altered(data, masks, rows=backwards).items():
        if name != "only_lesion":  # of series of one length the first lends its surroundings
            np.testing.assert_allclose(values[::-1], whole[name], atol=1e-6)


def test_every_second_slice_of_each_series_answers():
    data, _ = _cohort(exams=5)
    rows = np.flatnonzero((data.table["exam_id"] != "E02") | (data.table["slice"] == 0)).tolist()  # of one slice
    found = _altered(data, {}, "mean", rows=rows)["every_second"][:, 0]
    assert np.isnan(found).tolist() == [False, False, True, False, False]
    own = data.table[(data.table["exam_id"] == "E00") & (data.table["slice"] % 2 == 0)]
    with torch.no_grad():
        p = torch.sigmoid(Reader()(data.images[own.index.tolist()])[:, 0]).mean()
    assert found[0] == pytest.approx(float(torch.logit(p)), abs=1e-5)


def test_only_slices_that_have_a_left_and_a_right_are_mirrored_and_targets_change_places():
    data, masks = _cohort(exams=6)
    axes = {row: {"axial": 2, "coronal": 0}[role] for row, role in enumerate(data.table["role"])}
    axial = np.flatnonzero(data.table["role"] == "axial").tolist()
    coronal = np.flatnonzero(data.table["role"] == "coronal").tolist()
    turned = _altered(data, masks, "mean", left_right=axes, rows=axial)["mirrored"]
    upside = Samples(data.table, data.images.flip([2]), data.present, data.targets, {}, data.names)
    logits = forward_variants(Reader(), upside, axial, 64, Predict()).logits
    fuse = load_aggregate(Plugin(name="mean"), ANSWERS, None)
    wanted = fuse(NetworkOutput(logits), data.table.iloc[axial])
    np.testing.assert_allclose(turned, wanted, atol=1e-6)
    swap = Predict(swap_targets=[("gene", "other")])
    swapped = _altered(data, masks, "mean", left_right=axes, rows=axial, settings=swap)["mirrored"]
    np.testing.assert_allclose(swapped, wanted[:, ::-1], atol=1e-6)
    assert "mirrored" not in _altered(data, masks, left_right=axes, rows=coronal)


def test_an_exam_that_shows_no_lesion_has_no_copy_without_it():
    data, masks = _cohort(exams=6)
    masks = {row: mask for row, mask in masks.items() if data.table["exam_id"].iloc[row] != "E03"}
    found = _altered(data, masks)
    for name in WITH_MASK:
        assert np.isnan(found[name]).any(axis=1).tolist() == [n == 3 for n in range(6)]
    assert all(np.isfinite(found[name]).all() for name in WITHOUT_MASK)
    assert set(_altered(data, {})) == WITHOUT_MASK


@pytest.mark.parametrize("way", ["late", "gated_attention"])
def test_what_a_way_learned_is_used_on_altered_slices(tmp_path, way):
    """Where moving changes nothing, a moved copy gets the answer of the exam as it is."""
    torch.manual_seed(0)
    data, _ = _cohort(exams=3)
    network = MODELS["light_cnn2d"](1, 2).eval()
    passed = forward_variants(network, data, range(len(data.table)), 64, Predict())
    rows = ["split,repeat,fold,target,side,member,weight,n,reason,run_id"]
    rows += [f"s,0,0,{t},,{r},{w},3,,net" for t in data.names for r, w in (("axial", 0.9), ("coronal", 0.1))]
    (tmp_path / "fusion_weights.csv").write_text("\n".join(rows))
    attention = AttentionMIL(passed.embeddings.shape[1], 2, gated=True)
    nn.init.normal_(attention.score.weight)
    nn.init.normal_(attention.head.weight)
    torch.save(attention.state_dict(), tmp_path / "gated_attention.pt")
    fuse = load_aggregate(Plugin(name=way), ANSWERS, tmp_path)
    flat = Samples(data.table, data.images.mean(dim=(2, 3), keepdim=True).expand_as(data.images).contiguous(),
                         data.present, data.targets, {}, data.names)  # fmt: skip
    rows = range(len(data.table))
    found = forward_altered(network, flat, rows, Alterations({}, {}, fuse, (), 7))["shifted"]
    wanted = fuse(forward_variants(network, flat, rows, 64, Predict()), flat.table)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.ptp(wanted[:, 0]) > 1e-4


def test_a_large_hole_of_a_fine_slice_is_filled_from_around_it_not_from_the_air():
    x = torch.zeros((1, 1, 160, 160))
    x[..., 30:130, 30:130] = 1.0
    hole = torch.zeros_like(x)
    hole[..., 50:110, 50:110] = 1
    inside = filled(x, hole, torch.zeros_like(x))[..., 50:110, 50:110]
    assert float(inside.min()) > 0.6


def test_nothing_is_said_of_no_slices():
    data, masks = _cohort(exams=2)
    assert _altered(data, masks, rows=[]) == {}

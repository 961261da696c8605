"""The page of `scan2gene preview`: every step in pictures, nothing that names the patient."""

from __future__ import annotations

import re

import nibabel as nib
import numpy as np
import pytest
from tests.integration.road import edit, nifti_study, shell

from scan2gene.core.section import Plugin
from scan2gene.core.volume import Volume
from scan2gene.preprocess.step_page import default_recipe, step_page


def ball(shape=(30, 28, 16)) -> np.ndarray:
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    return np.where((grid**2).sum(axis=0) < 0.5, 500, 0) + np.random.default_rng(0).random(shape).astype(np.float32)


def headings(page: str) -> list[str]:
    return [re.sub(r"<.*?>", "", h).strip() for h in re.findall(r"<h2>(.*?)</h2>", page)]


def test_the_default_recipe_is_shown_step_by_step(tmp_path, monkeypatch):
    exam = tmp_path / "SECRET^NAME" / "t1.nii.gz"
    exam.parent.mkdir()
    nib.save(nib.Nifti1Image(ball(), np.diag([1.5, 1.5, 3, 1])), exam)
    assert shell(monkeypatch, "preview", exam, "-o", tmp_path / "page.html") == ""
    page = (tmp_path / "page.html").read_text()
    steps = default_recipe()
    assert [h.split()[1] for h in headings(page)[1:]] == [s.name for s in steps]
    assert headings(page)[0] == "As read"
    pictures = re.findall(r'src="(data:image/png;base64,[^"]{1000,})"', page)
    assert len(pictures) == 1 + len(steps)
    assert len(set(pictures)) > len(steps) - 2  # first_channel and reorient may leave the picture as it is
    assert "SECRET" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "128 x 128 x 48 voxels" in page  # what the recipe ends with


def test_a_step_that_cannot_be_done_says_why_and_ends_the_page():
    recipe = [Plugin(name="equalise"), Plugin(name="crop_to_mask", options={"mask": "mask"}), Plugin(name="zscore")]
    page = step_page({"t1": Volume(ball(), np.eye(4))}, recipe)
    assert [h.split()[1] for h in headings(page)] == ["read", "equalise", "crop_to_mask"]
    assert "not done: crop_to_mask needs the role &#x27;mask&#x27;" in page


@pytest.fixture
def study(tmp_path):
    path = nifti_study(tmp_path, 4)
    cohort = {
        "scans": ["scans"], "labels": "labels.csv", "patient_pattern": r"(P\d+)",
        "roles": {"t1": {"match": {"path": "t1"}}, "mask": {"match": {"path": "mask"}, "kind": "label"}},
    }  # fmt: skip
    own = [{"name": "crop_to_mask", "options": {"mask": "mask", "margin_voxels": 0}}]
    runs = [{"name": "whole", "model": {"name": "light_cnn"}}]
    runs += [{"name": "inside", "model": {"name": "light_cnn"}, "preprocess": own}]
    edit(path, cohort=cohort, runs=runs)
    inside = np.zeros((12, 12, 10), np.uint8)
    inside[3:7, 2:9, 4:6] = 1
    nib.save(nib.Nifti1Image(inside, np.eye(4)), tmp_path / "mask.nii")
    return path


def test_a_runs_own_steps_and_a_mask_are_shown(study, monkeypatch, tmp_path):
    exam, page = tmp_path / "scans" / "P001" / "t1.nii.gz", tmp_path / "p.html"
    words = ("preview", exam, study, "--run", "inside", "--role", f"mask={tmp_path / 'mask.nii'}", "-o", page)
    assert shell(monkeypatch, *words) == ""
    assert headings(page.read_text())[1:] == ["1. crop_to_mask mask: mask, margin_voxels: 0"]
    assert page.read_text().count("4 x 7 x 2 voxels") == 4  # image and mask, each as text and as the picture's words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--run", "insid"], "--run 'insid' is not known; valid: inside, whole. Did you mean 'inside'?"),
        (["--role", "maks=x.nii"], "expected name=path; role 'maks' is not known"),
        (["--role", "mask"], "expected name=path"),
    ],
)
def test_mistakes_are_answered_in_words(study, monkeypatch, tmp_path, words, message):
    exam = tmp_path / "scans" / "P001" / "t1.nii.gz"
    assert message in shell(monkeypatch, "preview", exam, study, *words)
    assert "give the study file" in shell(monkeypatch, "preview", exam, *words)

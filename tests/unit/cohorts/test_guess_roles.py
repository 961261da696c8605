"""Roles guessed from sequences, descriptions and names pick exactly their series."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from toy import scan

from scan2gene.cohorts.guess_roles import RoleGuess, guess_roles
from scan2gene.cohorts.roles import found_in
from scan2gene.imaging.index import index
from scan2gene.imaging.sequence import recognise

PATIENTS = ("P1", "P2", "P3")


def guessed(rows: list[dict[str, str]]) -> dict[str, RoleGuess]:
    series = pd.DataFrame(rows).fillna("")
    below = [row["path"].removeprefix("/scans") for row in rows]
    found = {g.name: g for g in guess_roles(series, below, series["patient_id"].tolist())}
    for guess in found.values():  # what is said to be picked is picked, by the means that curation uses
        matches = [found_in(series, c, p, "role") for c, p in ((guess.column, guess.pattern), *guess.also)]
        assert pd.concat(matches, axis=1).all(axis=1).sum() == guess.series
    return found


def nifti(name: str, folder: str = "") -> list[dict[str, str]]:
    paths = [(p, f"/scans/{folder.format(p)}{name.format(p)}") for p in PATIENTS]
    return [
        scan(p, "", format="nifti", path=path, series_id=path, exam_id=path.rpartition("/")[0],
             told_apart_by=f"volume={path.partition('#')[2]}" if "#" in path else "") for p, path in paths
    ]  # fmt: skip


def test_the_sequence_column_is_preferred_and_serves_both_formats():
    rows = [scan(p, f"ax {s} {p}", sequence=s) for p in PATIENTS for s in ("T1", "T1c", "FLAIR")]
    rows += [row | {"sequence": "T1c"} for row in nifti("{}_x.nii")]
    rows += [row | {"sequence": "FLAIR"} for row in nifti("{}_flair_seg.nii")]
    found = guessed(rows)
    assert {n: (g.column, g.pattern) for n, g in found.items() if n in ("t1", "t1c")} == {
        "t1": ("sequence", "T1"),
        "t1c": ("sequence", "T1c"),
    }
    assert found["t1c"].series == 6
    assert found["mask"].kind == "label"
    assert found["flair"].column != "sequence"  # the masks are called so too


@pytest.mark.parametrize(
    ("descriptions", "roles"),
    [
        (["AX T1", "AX T1 POST GD", "AX T2 FLAIR", "AX T2", "ADC map"], {"t1", "t1c", "flair", "t2", "adc"}),
        (["t1_mprage", "t1_mprage +C", "ep2d_diff"], {"t1", "t1c", "dwi"}),
        (["SAG VIBE DYNAMIC", "T2 TSE"], {"dce", "t2"}),
    ],
)
def test_descriptions(descriptions, roles):
    assert set(guessed([scan(p, d) for p in PATIENTS for d in descriptions])) == roles


@pytest.mark.parametrize(
    ("names", "folder", "roles"),
    [
        (["t1.nii.gz", "t1ce.nii.gz", "flair.nii.gz", "seg.nii.gz"], "{}/", {"t1", "t1c", "flair", "mask"}),
        (["{}_T1.nii", "{}_T1_GD.nii", "{}_tumor_mask.nii"], "", {"t1", "t1c", "mask"}),
        (["{}-t1n.nii.gz", "{}-t1c.nii.gz", "{}-t2f.nii.gz", "{}-t2w.nii.gz"], "{0}/", {"t1", "t1c", "flair", "t2"}),
        (["imagesTr/{}.nii.gz", "labelsTr/{}.nii.gz"], "", {"image", "mask"}),
        (["a/{}_brain.nii.gz"], "", {"image"}),
        (["pre.nii.gz", "post_1.nii.gz", "post_2.nii.gz"], "{}/", {"pre", "post1", "post2"}),
        (["{}.nii", "{}_second.nii"], "", {"image", "second"}),
        (["{}_0000.nii", "{}_0001.nii"], "", {"image-0000", "image-0001"}),
        (["{}_pre.nii", "{}_post1.nii", "{}_mask.nii"], "", {"pre", "post1", "mask"}),
        (["t0/{}.nii", "t1/{}.nii", "t2/{}.nii"], "", {"pre", "post1", "post2"}),
        (["pre/{}.nii", "post1/{}.nii", "masks/{}.nii"], "", {"pre", "post1", "mask"}),
        (["t1/{}.nii", "t2/{}.nii", "flair/{}.nii"], "", {"t1", "t2", "flair"}),
        ([f"dce.nii.gz#{n}" for n in range(3)], "{}/", {"pre", "post1", "post2"}),
        ([f"scan.nii.gz#{n}" for n in range(3)], "{}/", {"image"}),  # volumes of what, nobody says
    ],
)
def test_file_names(names, folder, roles):
    found = guessed([row for name in names for row in nifti(name, folder)])
    assert set(found) == roles
    assert all(not re.search("P[123]", g.pattern) for g in found.values())


@pytest.mark.parametrize(
    ("descriptions", "roles"),
    [
        (["ax dyn pre", "ax dyn 1st pass", "ax dyn 2nd pass", "ax t1 tse +c"], ["pre", "post1", "post2", "t1c"]),
        (["t1_fl3d pre", "t1_fl3d post 1", "t1_fl3d post 2"], ["pre", "post1", "post2"]),
        (["dyn pre", "dyn 1st"], ["pre", "post1"]),
        (["DCE pre", "DCE early", "DCE late"], ["pre", "post1", "post2"]),
        (["Ph1/AX VIBRANT", "Ph2/AX VIBRANT"], ["phase1", "phase2"]),  # which is before contrast agent, none says
        (["AX T1", "AX T1 POST", "COR T1 POST"], ["t1", "t1c"]),  # two planes are no phases
        (["T1 PRE", "T1 POST"], ["t1", "t1c"]),
    ],
)
def test_contrast_phases_are_roles_of_their_own(descriptions, roles):
    rows = [scan(p, d, sequence=recognise({"SeriesDescription": d})[0]) for p in PATIENTS for d in descriptions]
    assert list(guessed(rows)) == roles


def test_phases_of_real_exams(shared_data):
    exam = index(shared_data / "breast_dce_bilateral_dicom").fillna("")
    found = guessed(exam[exam["status"] == "ok"].to_dict("records"))
    assert {n: g.pattern for n, g in found.items() if n != "t1c"} == {
        "pre": "^(?:ax dyn pre)$",
        "post1": "^(?:ax dyn 1st pass)$",
        "post2": "^(?:ax dyn 2nd pass)$",
        "post3": "^(?:ax dyn 3rd pass)$",
    }
    exam = index(shared_data / "breast_dce_dicom").fillna("")  # three volumes of one series, and maps made of them
    exam = exam[exam["status"] == "ok"].reset_index(drop=True)
    found = guessed(exam.to_dict("records"))
    assert {n: g.also for n, g in found.items()} == {
        "pre": (("series_id", "[/#]0$"),), "post1": (("series_id", "[/#]1$"),), "post2": (("series_id", "[/#]2$"),),
    }  # fmt: skip


def test_nothing_that_tells_is_no_role():
    rows = [scan(p, "") for p in PATIENTS]
    assert [g.pattern for g in guess_roles(pd.DataFrame(rows), ["/x"] * 3, list(PATIENTS))] == [""]

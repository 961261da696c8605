"""Targets of several classes and numbers cut in two, from a table to the split, the plan and BIDS."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from scan2gene.commands.plan import plan, told
from scan2gene.stages.pipeline import curated_as_bids, run
from tests.integration.road import nifti_study, shell

DUKE = "duke_breast_clinical/Clinical_and_Other_Features.xlsx"
MAMA = "mama_mia_clinical/clinical_and_imaging_info.xlsx"


def stub_scans(folder, patients) -> None:
    """A tiny volume for each patient."""
    array = np.arange(512, dtype=np.int16).reshape(8, 8, 8)
    for patient in patients:
        path = folder / patient / "t1.nii.gz"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(array, np.diag([-2.0, -2, 2, 1])), path)


@pytest.mark.parametrize(
    ("file", "header", "ids", "column", "every"),
    [(DUKE, [1, 2], "Patient ID", "Mol Subtype", 8), (MAMA, [0], "patient_id", "tumor_subtype", 12)],
    ids=["duke", "mama-mia"],
)
def test_molecular_subtypes_are_one_target_up_to_the_split(
    tmp_path, shared_data, monkeypatch, file, header, ids, column, every
):
    table = pd.read_excel(shared_data / file, header=header[0], dtype=str).iloc[len(header) - 1 :: every]
    by_hand = table.dropna(subset=[column]).set_index(ids)[column]
    stub_scans(tmp_path / "scans", table[ids])
    words = ("--scans", tmp_path / "scans", "--labels", shared_data / file, "--target", column)
    assert shell(monkeypatch, "new", *words, "-o", tmp_path / "study.yaml") == ""
    out = run(tmp_path / "study.yaml", tmp_path / "run", "split", ["splits=[{name: cv, kind: kfold, folds: 3}]"])
    labels, split, counts, power = (
        pd.read_csv(out / f"{name}.csv", dtype={"label": str, "class": str})
        for name in ("labels", "split", "split_table", "power")
    )
    assert labels.set_index("patient_id")["label"].to_dict() == by_hand.to_dict()
    sizes = by_hand.value_counts()
    rows = counts.drop_duplicates("class").set_index("class")["all"]
    assert rows.drop("unknown").to_dict() == sizes.to_dict()
    assert rows["unknown"] == 0  # whoever has no subtype is left out
    tested = split[split["part"] == "test"].merge(labels, on="patient_id").groupby(["fold", "label"]).size()
    shown = counts[counts["class"] != "unknown"].set_index(["fold", "class"])["test"]
    assert tested.to_dict() == {key: n for key, n in shown.items() if n}
    assert ((shown - shown.index.get_level_values("class").map(sizes) / 3).abs() < 1).all()
    assert len(sizes) == len(power) == (4 if file == DUKE else 6)
    positive = power.set_index(power["target"].str.partition(":")[2])["positive"]
    assert positive.to_dict() == sizes.to_dict()
    assert (power["positive"] + power["negative"] == len(by_hand)).all()


@pytest.fixture
def study(tmp_path):
    """24 patients: a kind of three classes, per side too, and a volume cut at 15 cm3."""
    targets = {
        "kind": {"classes": {"low": ["L"], "middle": "M", "high": ["H*"]}},
        "side_kind": {"left": "left", "right": "right", "classes": {"none": ["0"], "some": ["1", "2"]}},
        "large": {"column": "volume", "above": 15.5},
        "gene": {},
    }
    path = nifti_study(tmp_path, targets=targets, splits=[{"name": "cv", "kind": "kfold", "folds": 3}])
    labels = pd.read_csv(tmp_path / "labels.csv", dtype=str)
    labels["kind"] = ["L", "M", "high", "H"] * 6
    labels["left"], labels["right"] = ["0", "1", "2"] * 8, ["0", "0", "1", ""] * 6
    labels["volume"] = [f"{n},5" for n in range(24)]
    labels.to_csv(tmp_path / "labels.csv", index=False)
    return path


def test_counts_of_every_class_are_shown_and_exported(study, tmp_path, capsys):
    found = plan(study, tmp_path / "run", limit=0)
    shown = capsys.readouterr().out
    assert "positive/negative gene 12/12, large 8/16; kind: 6 low, 6 middle, 12 high; side_kind: " in shown
    rows = found.targets.set_index("target")[["unit", "positive", "negative"]]
    assert list(rows.index) == [
        "kind:low",
        "kind:middle",
        "kind:high",
        "side_kind:none",
        "side_kind:some",
        "large",
        "gene",
    ]
    assert rows.loc["kind:high"].tolist() == ["patient", 12, 12]
    assert rows.loc["side_kind:some"].tolist() == ["side", 22, 20]
    assert any(line.split()[:4] == ["cv", "side_kind:none", "20", "positive,"] for line in told(found))
    counts = pd.read_csv(tmp_path / "run" / "split_table.csv")
    assert (counts[counts["class"] == "low"]["test"] == 2).all()
    made = curated_as_bids(study, tmp_path / "bids", tmp_path / "run")
    assert made.patients == 24
    people = pd.read_csv(tmp_path / "bids" / "participants.tsv", sep="\t", dtype=str)
    assert people["kind"].value_counts().to_dict() == {"high": 12, "low": 6, "middle": 6}
    assert people["large"].value_counts().to_dict() == {"0": 16, "1": 8}
    assert people["side_kind.R"].value_counts(dropna=False).to_dict() == {"none": 12, "some": 6, np.nan: 6}
    described = json.loads((tmp_path / "bids" / "participants.json").read_text())
    assert described["kind"]["Levels"] == {"low": "L", "middle": "M", "high": "H*"}
    assert described["large"]["Levels"] == {"1": "above 15.5", "0": "not above 15.5"}

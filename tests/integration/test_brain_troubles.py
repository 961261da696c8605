"""A folder as the GBM study has it, with everything that goes wrong in one: reported, counted, and then applied."""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml

import scan2gene
from scan2gene.core.errors import CohortError
from scan2gene.phantom.brain_exams import (
    MAF,
    NO_LABELS,
    NO_SCANS,
    RAW,
    SEQUENCED,
    WIDE,
    write_brain_cohort,
    write_session,
)
from tests.integration.road import edit

PATIENTS = 9
ROLE = {"flair": {"match": {"sequence": "FLAIR", "plane": "axial"}}}
STEPS = [
    {"name": "reorient", "options": {"axes": "acquisition"}},
    {"name": "edge_slices", "options": {"rule": "middle"}},
    {"name": "resize", "options": {"shape": [24, 24, None]}},
    {"name": "zscore_slices"},
]


@pytest.fixture(scope="module")
def brains(tmp_path_factory):
    """A finished run on a troubled cohort, what it said, and its patients."""
    folder = tmp_path_factory.mktemp("brains")
    patients = write_brain_cohort(folder, PATIENTS, seed=5, series=(("flair", "axial"),))
    table = pd.read_csv(folder / WIDE)
    table["RARE"] = np.where(table["patient_id"] == patients[6].patient_id, "MUTATED", "NOT_MUTATED")
    table.to_csv(folder / WIDE, index=False)
    study = {
        "name": "brains",
        "cohort": {"scans": [str(RAW)], "labels": str(WIDE), "exams": "first", "exclude": {"SeriesDescription": "LOC"},
                   "roles": ROLE},
        "targets": {"IDH": {}, "RARE": {}},
        "preprocess": STEPS,
        "splits": [{"name": "cv", "kind": "kfold", "folds": 3}],
        "data": {"batch_size": 64, "augment": [],
                 "slices": {"fusion": [{"name": "gated_attention", "options": {"epochs": 2}}, {"name": "mean"}]}},
        "train": {"epochs": 1},
        "evaluate": {"bootstrap": 100, "shuffles": 0},
        "explain": {"exams": 0},
        "runs": [{"name": "flat", "model": {"name": "light_cnn2d"}}],
    }  # fmt: skip
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.setattr("scan2gene.preprocess.preview.write_previews", lambda *_: [])
        out = scan2gene.run(path, folder / "out")
    return out, said.getvalue(), patients


def _left_out(out) -> pd.DataFrame:
    return pd.read_csv(out / "exclusions.csv", dtype=str).fillna("")


def test_who_is_left_out_is_named_with_the_reason_and_counted(brains):
    out, _, patients = brains
    found = _left_out(out)
    reasons = dict(zip(found["patient_id"], found["reason"], strict=False))
    assert reasons[NO_LABELS] == "patient is not in the label table"
    assert reasons[NO_SCANS] == "labelled patient without a usable scan"
    assert reasons[patients[1].patient_id] == "another exam of the patient is the first one"
    assert reasons[patients[2].patient_id].startswith("not taken as flair: another is alike")
    assert reasons[patients[3].patient_id] == "only 2 slices; a volume needs at least 3"
    assert reasons[patients[5].patient_id] == "plays no role in this study: its sequence is not recognised"
    html = (out / "report.html").read_text()
    for reason in set(found["reason"]):
        assert reason.split(" /")[0] in html.replace("&#39;", "'").replace("&amp;", "&"), reason
    assert pd.read_csv(out / "cohort.csv")["patient_id"].tolist() == [p.patient_id for p in patients]


def test_series_that_lie_twice_are_counted(brains):
    out, said, _ = brains
    assert "; 1 found in more than one place, counted once (n_copies)" in said
    html = (out / "report.html").read_text()
    assert "1 series were found in more than one place" in html
    roles = re.search(r"image series of the cohort \((?:role|roles) ([^)]*)\)", html)[1].split(", ")
    played = {c.removeprefix("role:") for c, known in pd.read_csv(out / "cohort.csv").notna().any().items() if known}
    assert roles == [r for r in roles if r in played]  # of the recipe's twelve, those that occur


def test_a_class_that_a_fold_lacks_is_told_before_training_and_in_the_report(brains):
    out, said, _ = brains
    table = pd.read_csv(out / "split_table.csv")
    (line,) = (row for row in said.splitlines() if row.startswith("split "))
    told = dict(part.split(" has one class only: ") for part in re.split("folds?; ", line, maxsplit=1)[1].split("; "))
    known = table[table["class"] != "unknown"]
    assert "RARE" in told
    for target, rows in known.groupby("target"):
        for part in ("train", "validation", "test"):
            lacking = int((rows.groupby("fold")[part].min() == 0).sum())
            assert (f"{part} in {lacking}" in told.get(target, "")) == (lacking > 0)
    html = (out / "report.html").read_text()
    assert "RARE has one class only" in html and "cannot be estimated, because" in html
    auroc = pd.read_csv(out / "metrics.csv").query("target == 'RARE' and metric == 'auroc' and variant == 'original'")
    assert auroc["low"].isna().all()
    assert auroc["reason"].tolist() == ["a single patient in the rarer class shows no spread"]


def test_genes_that_no_table_has_are_named(brains, tmp_path):
    out, _, _ = brains
    folder = out.parent
    copy = folder / "other.yaml"
    for changes, message in (
        ({"targets": {"ATRX": {}}}, r"target ATRX: column 'ATRX' is not known; valid: EGFR, IDH"),
        ({"targets": {"X": {"genes": ["IDH7"]}}, "cohort": {"scans": [str(RAW)], "mutations": str(MAF),
          "sequenced": str(SEQUENCED), "roles": ROLE}}, "IDH7 has no row in cohort.mutations"),
    ):  # fmt: skip
        copy.write_text((folder / "study.yaml").read_text())
        edit(copy, **changes)
        with pytest.raises(CohortError, match=message):
            scan2gene.run(copy, tmp_path, until="curate")


def test_its_own_exams_and_a_new_one_from_raw_scans(brains, tmp_path):
    """The same slices, the same attention, the same answers; a new patient gets one answer from all folds."""
    out, _, patients = brains
    again = scan2gene.apply(out, out.parent / RAW, tmp_path / "own", force=True)
    keys = ["exam_id", "target", "fold", "variant"]
    before = pd.read_parquet(out / "predictions.parquet").query("unit == 'exam'").set_index(keys)["logit"]
    after = again.predictions.query("variant != 'ensemble'").astype({"fold": int}).set_index(keys)["logit"]
    assert set(before.index) <= set(after.index)
    np.testing.assert_allclose(after[before.index].astype(float), before, rtol=1e-4, atol=1e-5)
    new = replace(patients[0], patient_id="TCGA-ZZ-0500", seed=patients[0].seed + 7)
    write_session(tmp_path / "new" / new.patient_id / "session_1", new, (("flair", "axial"),))
    found = scan2gene.apply(out, tmp_path / "new", tmp_path / "answer", force=True).summary
    assert found["patient_id"].tolist() == [new.patient_id] * 2 and set(found["status"]) == {"ok"}
    cuts = pd.DataFrame(json.loads((out / "thresholds.json").read_text())).query("variant == 'original'")
    expected = cuts.groupby("target")["threshold"].median()
    assert found.set_index("target")["threshold"].to_dict() == pytest.approx(expected.to_dict())

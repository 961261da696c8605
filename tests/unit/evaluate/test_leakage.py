"""Every kind of leak is planted and found; what is clean gives nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scan2gene.evaluate.evaluate import to_patients
from scan2gene.evaluate.leakage import (
    Parts,
    case_table,
    copies_before_split,
    level,
    one_person,
    patients_apart,
    predictions_follow,
    same_picture,
    shared_files,
    stem,
    twin_images,
)
from scan2gene.evaluate.leakage_of_fits import composition_kept, early_stopping, fitted_inside, thresholds_inside
from scan2gene.stats.thresholds import g_mean_threshold

PATIENTS = [f"P{n:03d}" for n in range(40)]


def _split(folds: int = 4) -> pd.DataFrame:
    rows = []
    for fold in range(folds):
        for n, patient in enumerate(PATIENTS):
            part = "test" if n % folds == fold else "validation" if (n // folds) % 4 == 0 else "train"
            rows.append(("cv", 0, fold, patient, part))
    return pd.DataFrame(rows, columns=["split", "repeat", "fold", "patient_id", "part"])


def _predictions(split: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y = dict(zip(PATIENTS, np.random.default_rng(1).permutation(np.arange(40) % 2), strict=True))
    table = split.assign(run_id="net", variant="original", site="", side="", target="gene", status="ok", reason="")
    table["exam_id"] = table["patient_id"]
    table["y_true"] = table["patient_id"].map(y).astype(float)
    table["logit"] = rng.normal(table["y_true"] - 0.5)
    return table.assign(prob=1 / (1 + np.exp(-table["logit"])))


def test_a_patient_in_two_parts_is_found_with_its_fold():
    split = _split()
    assert patients_apart(split).status == "clean"
    extra = split[(split["patient_id"] == "P003") & (split["fold"] == 3)].assign(part="train")
    found = patients_apart(pd.concat([split, extra]))
    assert (found.status, len(found.cases)) == ("found", 1)
    assert (found.cases[0]["one"], found.cases[0]["fold"]) == ("P003", 3)


def test_a_tested_exam_that_the_split_does_not_test_is_found():
    split = _split()
    table = _predictions(split)
    assert predictions_follow(table, split).status == "clean"
    table.loc[(table["patient_id"] == "P007") & (table["fold"] == 0), "part"] = "test"
    found = predictions_follow(table, split)
    assert [(c["one"], c["part_one"], c["part_two"]) for c in found.cases] == [("P007", "test", "train")]


@pytest.mark.parametrize("column", ["study", "series", "file", "stored voxels"])
def test_a_study_or_file_of_two_patients_is_found(column):
    used = pd.DataFrame({"patient_id": PATIENTS, column: [f"1.2.{n}" for n in range(40)]})
    parts = Parts(_split())
    assert shared_files(used, parts).status == "clean"
    used.loc[5, column] = used.loc[10, column]
    found = shared_files(used, parts)
    assert {found.cases[0]["one"], found.cases[0]["two"]} == {"P005", "P010"}
    assert column in found.cases[0]["what"]
    used[column] = ""  # unknown is not the same
    assert shared_files(used, parts).status == "clean"


def test_what_two_patients_of_one_part_share_is_no_leak_of_a_holdout():
    split = _split()
    holdout = split[split["fold"] == 0]
    one, two = holdout.loc[holdout["part"] == "train", "patient_id"].iloc[:2]
    used = pd.DataFrame({"patient_id": [one, two], "series": ["1.2", "1.2"]})
    assert shared_files(used, Parts(holdout)).status == "clean"
    assert shared_files(used, Parts(split)).status == "found"


def test_twin_images_are_found_above_the_threshold_only():
    rng = np.random.default_rng(0)
    pairs = pd.DataFrame({"role": "t1", "one": PATIENTS[:20], "two": PATIENTS[1:21], "flip": "",
                          "likeness": rng.normal(0.7, 0.04, 20)})  # fmt: skip
    assert twin_images(pairs, Parts(_split()), 40).status == "clean"
    pairs.loc[4, "likeness"], pairs.loc[7, ["likeness", "flip"]] = 1.0, [0.93, "i"]
    found = twin_images(pairs, Parts(_split()), 40)
    assert [c["one"] for c in found.cases] == ["P004", "P007"]
    assert "identical image" in found.cases[0]["what"]
    assert "mirrored along i" in found.cases[1]["what"]
    assert twin_images(None, Parts(_split()), 0, "none was prepared").status == "unknown"


def _nearest(likeness: np.ndarray) -> pd.DataFrame:
    """Pairs in which each patient has one other."""
    return pd.DataFrame({"role": "t1", "one": [f"A{n}" for n in range(len(likeness))], "flip": "",
                         "two": [f"B{n}" for n in range(len(likeness))], "likeness": likeness})  # fmt: skip


def test_the_level_of_a_twin_follows_the_cohort_within_bounds():
    rng = np.random.default_rng(0)
    assert level(_nearest(rng.normal(0.7, 0.03, 500))) == 0.87
    assert 0.87 < level(_nearest(rng.normal(0.84, 0.01, 500))) < 0.9
    assert level(_nearest(rng.normal(0.9, 0.02, 500))) == 0.92
    assert level(_nearest(rng.normal(0.9, 0.01, 4))) == 0.87  # eight patients do not say what is usual
    usual = _nearest(rng.normal(0.74, 0.03, 100))
    copies = _nearest(rng.normal(0.95, 0.02, 60)).assign(one=lambda t: "C" + t["one"], two=lambda t: "C" + t["two"])
    assert level(pd.concat([usual, copies])) < 0.89  # copies do not hide each other


def test_many_candidates_that_are_unlike_do_not_raise_the_level():
    rng = np.random.default_rng(0)
    ids = [f"P{n:03d}" for n in range(60)]
    near = _nearest(rng.normal(0.76, 0.02, 30)).assign(one=ids[::2], two=ids[1::2])
    far = pd.DataFrame([(a, b) for a in ids for b in rng.choice(ids, 5) if a < b], columns=["one", "two"])
    far = far.assign(role="t1", flip="", likeness=rng.uniform(0.3, 0.7, len(far)))
    assert level(pd.concat([near, far])) == 0.87


def test_a_copy_far_above_all_else_is_a_twin_and_roles_are_judged_apart():
    rng = np.random.default_rng(0)
    ids = [f"P{n:03d}" for n in range(40)]
    usual = pd.DataFrame([(a, b) for n, a in enumerate(ids) for b in ids[n + 1 : n + 6]], columns=["one", "two"])
    usual = usual.assign(role="t1", flip="", likeness=rng.uniform(0.6, 0.74, len(usual)))
    usual.loc[0, "likeness"] = 0.84
    assert same_picture(usual).tolist() == [True] + [False] * (len(usual) - 1)
    alike = usual.assign(role="t2", likeness=rng.uniform(0.8, 0.84, len(usual)))  # a role in which all are alike
    assert same_picture(pd.concat([usual, alike])).sum() == 1
    assert not same_picture(usual.head(0)).any()


@pytest.mark.parametrize(
    ("one", "two"),
    [("UCSF-PDGM-0429", "UCSF-PDGM-0429_FU003d"), ("P001_visit1", "P001_visit2"), ("sub-01_ses-01", "sub-01_ses-02"),
     ("P012-pre", "P012-post"), ("P001_1", "P001_2"), ("P001", "P001_aug3"), ("P001_flip", "P001"),
     ("P001_baseline", "P001_FU12")],
)  # fmt: skip
def test_ids_of_two_visits_and_of_altered_copies_are_found(one, two):
    split = pd.DataFrame({"split": "s", "repeat": 0, "fold": 0, "patient_id": [one, two], "part": ["train", "test"]})
    assert one_person([one, two], Parts(split)).status == "found"
    assert stem(one) == stem(two)


@pytest.mark.parametrize(
    "ids",
    [PATIENTS, [f"TCGA-DU-{n}" for n in range(5849, 5889)], [f"UCSF-PDGM-{n:04d}" for n in range(40)],
     [f"site_{n}" for n in range(40)], [f"C3L-{n:05d}" for n in range(40)], [str(n) for n in range(40)],
     [f"Breast_MRI_{n:03d}" for n in range(40)], [f"ISPY1_{n}" for n in range(1001, 1041)],
     [f"hippocampus_{n:03d}" for n in range(40)],
     [f"TCGA-DU-A5T{letter}" for letter in "PQRSTUWVYZMD"], [f"TCGA-HT-{n}" for n in range(7468, 7508)]],
)  # fmt: skip
def test_numbered_patients_are_no_visits(ids):
    split = pd.DataFrame(
        {"split": "s", "repeat": 0, "fold": 0, "patient_id": ids, "part": ["train", "test"] * (len(ids) // 2)}
    )
    assert one_person(ids, Parts(split)).status == "clean"


def test_copies_in_the_store_are_augmentation_before_the_split():
    manifest = pd.DataFrame({"patient_id": PATIENTS, "exam_id": PATIENTS, "role": "t1", "status": "ok",
                             "file": [f"{p}_t1_0a1b.nii" for p in PATIENTS]})  # fmt: skip
    assert copies_before_split(manifest).status == "clean"
    twice = pd.concat([manifest, manifest.iloc[[3]].assign(file="P003_t1_0a1c.nii")])
    assert copies_before_split(twice).status == "found"
    assert copies_before_split(None).status == "unknown"


def test_a_median_of_all_patients_is_found():
    split = _split()
    cohort = pd.DataFrame({"patient_id": PATIENTS, "age": np.random.default_rng(0).normal(50, 10, 40)})
    fold = {"split": "cv", "repeat": 0, "fold": 1}
    rows = split[(split["fold"] == 1) & (split["part"] == "train")]["patient_id"]
    inside = float(cohort[cohort["patient_id"].isin(rows)]["age"].median())
    everyone = float(cohort["age"].median())
    assert inside != everyone
    assert fitted_inside([(fold, {"columns": ["age"], "median": [inside]})], cohort, split).status == "clean"
    found = fitted_inside([(fold, {"columns": ["age"], "median": [everyone]})], cohort, split)
    assert (found.status, found.cases[0]["fold"]) == ("found", 1)
    assert fitted_inside([], cohort, split, ["nyul"]).status == "unknown"
    assert "nothing could be computed anew" in fitted_inside([], cohort, split).told
    clean = fitted_inside([(fold, {"columns": ["age"], "median": [inside]})], cohort, split, (), [(fold, "net", True)])
    assert (clean.status, "the same came out: 1 median and 1 ComBat fit." in clean.told) == ("clean", True)
    found = fitted_inside([], cohort, split, (), [(fold, "net", True), (fold, "other", False)])
    assert (found.status, found.cases[0]["what"].split(":")[0]) == ("found", "other")


def test_a_threshold_chosen_on_test_patients_is_found():
    patients = to_patients(_predictions(_split()))
    base = {"run_id": "net", "split": "cv", "variant": "original", "repeat": 0, "fold": 0, "target": "gene"}
    own = patients[patients["fold"] == 0]
    rows = {p: own[own["part"] == p] for p in ("validation", "test")}
    chosen = {p: g_mean_threshold(r["y_true"].to_numpy(), r["prob"].to_numpy()) for p, r in rows.items()}
    assert chosen["validation"] != chosen["test"]
    again = [base | {"threshold": chosen["validation"], "n": len(rows["validation"])}]
    assert thresholds_inside(again, again).status == "clean"
    assert thresholds_inside([base | {"threshold": chosen["test"], "n": 10}], again).status == "found"


def test_early_stopping_on_test_rows_is_found():
    table = _predictions(_split()).assign(unit="exam")
    fold = {"split": "cv", "repeat": 0, "fold": 2}

    def watched(part: str) -> pd.DataFrame:
        rows = table[(table["fold"] == 2) & (table["part"] == part)]
        loss = float(np.mean(np.log1p(np.exp(rows["logit"])) - rows["y_true"] * rows["logit"]))
        return pd.DataFrame({"validation_loss": [loss + 0.5, loss, loss + 0.1], "best": [1, 1, 0]})

    assert early_stopping([("net", fold, watched("validation"))], table).status == "clean"
    assert early_stopping([("net", fold, watched("test"))], table).status == "found"
    late = watched("validation").assign(best=[0, 0, 1])
    assert early_stopping([("net", fold, late)], table).status == "found"
    other = watched("validation").assign(validation_loss=[3.0, 2.0, 2.5])
    assert early_stopping([("net", fold, other)], table).status == "unknown"
    fused = table.assign(
        unit="exam", logit=table["logit"] / 3
    )  # slices were watched, and the answers fused from them differ
    both = pd.concat([table.assign(unit="slice"), fused])
    assert early_stopping([("net", fold, watched("validation"))], both).status == "clean"
    assert early_stopping([("net", fold, watched("test"))], both).status == "found"


def test_cases_make_a_table_even_where_there_are_none():
    assert case_table([patients_apart(_split())]).empty
    split = _split()
    extra = split[(split["patient_id"] == "P003") & (split["fold"] == 3)].assign(part="train")
    table = case_table([patients_apart(pd.concat([split, extra]))])
    assert list(table["check"]) == ["patients"]


def test_a_mean_that_is_not_made_as_planned_is_found():
    planned = {"image": ["lesion", "radiomics"], "best": ["clinical", "image"]}
    clean = composition_kept(planned, {"study.json": {"best": ["image", "clinical"], "image": ["lesion", "radiomics"]}})
    assert clean.status == "clean"
    found = composition_kept(planned, {"study.json": planned | {"image": ["radiomics"]}, "ensembles.csv": planned})
    assert found.status == "found" and len(found.cases) == 1
    assert "The composition changed after planning: image" in found.told and "study.json has radiomics" in found.told

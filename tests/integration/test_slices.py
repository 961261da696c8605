"""The road of slices, from scans to the report, on a cohort with a sign that some slices show."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from scan2gene.commands.apply import apply
from scan2gene.core.errors import RunError, StudyError
from scan2gene.explain.fit import read_maps
from scan2gene.stages import pipeline
from tests.integration.road import edit
from tests.integration.slice_cohort import write_slice_study

WAYS = ["max", "mean", "top_k", "noisy_or", "late", "attention", "gated_attention"]
VOLUME = [
    {"name": "reorient", "options": {"axes": "LAS"}},
    {"name": "resize", "options": {"shape": [16, 16, 8]}},
    {"name": "zscore"},
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of slices with four ways to fuse them, beside one of whole volumes on the same split."""
    folder = tmp_path_factory.mktemp("slices")
    quick = {"attention": {"epochs": 10}, "gated_attention": {"epochs": 10}}
    slices = {"fusion": [{"name": n, "options": quick.get(n, {})} for n in WAYS]}
    flat = {"name": "flat", "model": {"name": "light_cnn2d", "options": {"dropout": 0.0}}}
    runs = [
        flat,
        flat | {"name": "few", "data": {"slices": {"per_patient": 2}}, "train": {"epochs": 1}},
        {"name": "whole", "model": {"name": "light_cnn"}, "preprocess": VOLUME,
         "data": {"slices": None, "batch_size": 8}, "train": {"epochs": 1}},
        {"name": "age", "model": {"name": "clinical", "options": {"columns": ["age"]}}},
    ]  # fmt: skip
    predict = {"flips": ["i"], "late_fusion": {"both": ["flat", "whole"]}}
    study = write_slice_study(
        folder, masks=True, runs=runs, predict=predict, data={"batch_size": 32, "augment": [], "slices": slices},
        explain={"exams": 1, "scored": 3, "methods": [{"name": "smooth_grad", "options": {"samples": 2}}]},
    )  # fmt: skip
    broken = folder / "scans" / "P004"
    for path in broken.glob("*.nii"):
        nib.save(nib.Nifti1Image(np.full((24, 24, 8), 9, np.uint8), np.eye(4)), path)
    return pipeline.run(study, folder / "out"), study


def test_a_sign_in_two_slices_is_found_per_patient(finished):
    out, _ = finished
    metrics = pd.read_csv(out / "metrics.csv")
    assert set(metrics.loc[metrics["run_id"] == "age", "variant"]) == {"original"}  # a table has no slices
    auroc = metrics[(metrics["metric"] == "auroc") & (metrics["run_id"] == "flat")].set_index("variant")
    assert auroc.loc["original", "value"] >= 0.9
    tta = {"tta", *(f"{w}, tta" for w in WAYS[1:5])}  # attention saw the slices as they are
    assert set(auroc.index) == {"original", *WAYS[1:], "slice level", *tta}
    assert auroc.loc["original", "n_units"] == auroc.loc["original", "n"]
    assert auroc.loc["slice level", "n_units"] > 5 * auroc.loc["slice level", "n"]


def test_accuracy_stands_beside_what_needs_no_network(finished):
    out, _ = finished
    metrics = pd.read_csv(out / "metrics.csv")
    own = metrics[(metrics["metric"] == "accuracy") & (metrics["variant"] == "original")].iloc[0]
    share = own["n_positive"] / own["n_units"]
    assert f"majority class {max(share, 1 - share):.3f}" in (out / "report.html").read_text()
    history = pd.read_csv(out / "experiments" / "flat" / "history.csv")
    np.testing.assert_array_equal(history["validation_accuracy"], history["validation_accuracy:gene"])
    table = pd.read_parquet(out / "predictions.parquet")
    slices = table[(table["run_id"] == "flat") & (table["unit"] == "slice") & (table["part"] == "validation")]
    right = ((slices["prob"] > 0.5) == (slices["y_true"] == 1)).mean()
    best = history[history["best"] == 1].iloc[-1]
    assert best["validation_accuracy:gene"] == pytest.approx(right)


def test_exam_rows_are_fused_slice_rows(finished):
    out, _ = finished
    table = pd.read_parquet(out / "predictions.parquet")
    table = table[table["run_id"] == "flat"]
    slices = table[table["unit"] == "slice"]
    assert slices["unit_id"].is_unique
    assert (slices["unit_id"].str.split(":").str[-2].isin(["axial", "coronal"])).all()
    exams = table[(table["unit"] == "exam") & (table["status"] == "ok")]
    assert (exams.groupby("variant")["patient_id"].nunique() == 29).all()
    p = slices.groupby("exam_id")["prob"]
    expected = {"original": p.max(), "mean": p.mean(), "noisy_or": p.agg(lambda v: 1 - np.prod(1 - v))}
    for variant, values in expected.items():
        own = exams[exams["variant"] == variant].set_index("exam_id")["prob"]
        np.testing.assert_allclose(own, values[own.index], rtol=1e-6)


def test_learned_fusion_keeps_what_it_learned(finished):
    out, _ = finished
    weights = pd.read_csv(out / "fusion_weights.csv")
    assert set(weights[weights["run_id"] == "flat"]["member"]) == {"axial", "coronal"}
    assert set(weights[weights["run_id"] == "both"]["member"]) == {"flat", "whole"}
    np.testing.assert_allclose(weights.groupby("run_id")["weight"].sum(), 1)
    assert (out / "experiments" / "flat" / "holdout-r0-f0" / "gated_attention.pt").exists()
    both = pd.read_csv(out / "metrics.csv").query("run_id == 'both' and metric == 'auroc'")
    assert both["variant"].tolist() == ["late fusion"]


def test_an_exam_without_slices_is_told_and_counted(finished):
    out, _ = finished
    table = pd.read_parquet(out / "predictions.parquet")
    lost = table[(table["patient_id"] == "P004") & (table["run_id"] == "flat")]
    assert set(lost["status"]) == {"failed"}
    assert lost["reason"].str.contains("every voxel has the same value").all()


def test_a_patient_gives_no_more_slices_than_asked(finished):
    out, _ = finished
    table = pd.read_parquet(out / "predictions.parquet")
    few = table[(table["run_id"] == "few") & (table["unit"] == "slice")]
    assert few.groupby("patient_id").size().max() == 2


def test_volumes_and_slices_stand_on_one_split(finished):
    out, _ = finished
    table = pd.read_parquet(out / "predictions.parquet")
    plain = table[(table["unit"] == "exam") & (table["variant"] == "original")]
    parts = plain.pivot(index="patient_id", columns="run_id", values="part")
    assert (parts["flat"] == parts["whole"]).all()
    assert "slice" not in set(table.loc[table["run_id"] == "whole", "unit"])


def test_the_report_sets_slice_level_apart_and_shows_what_was_kept(finished):
    out, _ = finished
    html = (out / "report.html").read_text()
    assert "flat, slice level" in html
    assert "split holdout: single slices, not for comparison with figures of patients" in html
    assert "Single slices, apart from the table and not for comparison with it: AUROC few " in html
    patients, slices = (
        pd.read_csv(out / "report" / "tables" / f"metrics-holdout-gene{n}.csv") for n in ("", "-slices")
    )
    assert set(slices["variant"]) == {"slice level"} and "slice level" not in set(patients["variant"])
    assert "Weights of late fusion" in html and (out / "report" / "tables" / "fusion-weights.csv").exists()
    assert {"convergence-holdout.svg", "accuracy-holdout.svg"} <= {
        p.name for p in (out / "experiments" / "flat" / "plots").iterdir()
    }
    assert len(list((out / "store").glob("*/preview/kept-*.png"))) == 2
    assert html.count("green frame: kept") == len(list((out / "report" / "figures").glob("slices-kept-*.svg"))) == 2
    (counts,) = (pd.read_csv(p) for p in (out / "store").glob("*/slices.csv"))
    assert (counts["slices"] - counts["kept"] == 2).all()  # the empty one at each end, in either plane
    assert len(counts) == 52
    assert "weighed by its share in the answer about the exam (flat: max; few: mean)" in html
    embedded = pd.read_parquet(out / "embeddings.parquet")
    assert embedded[embedded["run_id"] == "flat"]["exam_id"].is_unique


def test_own_exams_applied_again_get_the_same_answers_in_every_way(finished):
    out, study = finished
    again = apply(out, study.parent / "scans", out / "apply" / "own", force=True)
    unit = ["run_id", "exam_id", "target", "fold", "variant"]
    before = pd.read_parquet(out / "predictions.parquet").query("unit == 'exam' and run_id != 'age'")
    after = again.predictions[again.predictions["variant"] != "ensemble"].astype({"fold": int})
    before, after = before.set_index(unit)["logit"], after.set_index(unit)["logit"]
    assert set(after.index.get_level_values("variant")) >= {"original", "late fusion", *WAYS[1:], "tta", "mean, tta"}
    assert set(before.index) <= set(after.index)
    np.testing.assert_allclose(after[before.index].astype(float), before, rtol=1e-4, atol=1e-5)
    summary = again.summary.set_index(["run_id", "patient_id"])
    assert "every voxel has the same value" in summary.loc[("flat", "P004"), "reason"]
    cuts = pd.DataFrame(json.loads((out / "thresholds.json").read_text())).set_index(["run_id", "variant"])["threshold"]
    assert summary.loc[("flat", "P000"), "threshold"] == cuts["flat", "original"]
    assert summary.loc[("both", "P000"), "threshold"] == cuts["both", "late fusion"]


def test_exams_of_another_kind_are_refused_and_late_fusion_with_them(finished, tmp_path):
    out, study = finished
    for role in ("axial", "coronal"):
        scan = nib.load(study.parent / "scans" / "P001" / f"{role}.nii")
        array = 255 - np.asarray(scan.dataobj)  # its head is dark, and the air around it bright
        (tmp_path / "P900").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(array, scan.affine), tmp_path / "P900" / f"{role}.nii")
    found = apply(out, tmp_path, out / "apply" / "inverted").summary.set_index("run_id")
    assert set(found["status"]) == {"refused"} and set(found.index) == {"flat", "few", "whole", "both"}
    assert found.loc["flat", "reason"].count("outside what training saw") >= 1
    (out / "experiments" / "flat" / "holdout-r0-f0" / "attention.pt").rename(tmp_path / "kept.pt")
    with pytest.raises(RunError, match=r"attention.pt, which says how slices are fused, is not there or not whole"):
        apply(out, study.parent / "scans", out / "apply" / "own", run="flat", force=True)
    (tmp_path / "kept.pt").rename(out / "experiments" / "flat" / "holdout-r0-f0" / "attention.pt")


def test_no_leak_is_found_where_there_is_none(finished):
    """Thresholds of single slices decide nothing, and are not taken for those of patients."""
    out, _ = finished
    checks = {c["check"]: c for c in json.loads((out / "audit.json").read_text())["leakage"]}
    assert [name for name, c in checks.items() if c["status"] == "found"] == []


def test_maps_of_slices_lie_on_the_scans_and_are_held_against_the_lesion(finished):
    out, study = finished
    maps = read_maps(out / "explain" / "maps.csv").query("run_id == 'flat'")
    for row in maps[maps["picked"]].itertuples():
        (folder,) = {(out / row.map).parent}
        found = {p.name.split("_")[-2]: p for p in sorted(folder.glob("*_prepared.nii.gz")) if row.patient_id in p.name}
        total = inside = 0.0
        for role, path in found.items():
            scan = nib.load(study.parent / "scans" / row.patient_id / f"{role}.nii")
            moved = nib.load(str(path).replace("_prepared", ""))
            assert moved.shape == scan.shape and np.allclose(moved.affine, scan.affine, atol=1e-4)
            prepared, on_scan = nib.load(path).get_fdata(), moved.get_fdata()
            assert not on_scan[:, :, [0, -1]].any()  # the empty slices at the ends were left out
            assert on_scan[:, :, 1:-1].sum() == pytest.approx(prepared.sum(), rel=0.02)
            seen = prepared.any(axis=(0, 1)).sum()
            assert seen <= 1  # `max`: one slice of all decides
            total += prepared.sum()
            if role == "axial" and (spot := study.parent / "scans" / row.patient_id / "spot.nii").exists():
                inside += on_scan[nib.load(spot).get_fdata() > 0].sum()
        assert total > 0
        if not np.isnan(row.energy):
            assert row.energy == pytest.approx(inside / total, abs=0.01)
    assert maps["energy"].notna().any() and maps["energy_random"].notna().any()
    scores = pd.read_csv(out / "explain" / "scores.csv")
    assert {"energy_ratio", "pointing", "rank_correlation"} <= set(scores.loc[scores["run_id"] == "flat", "measure"])


def test_the_audit_has_altered_copies_of_slices(finished):
    out, _ = finished
    table = pd.read_parquet(out / "variants.parquet")
    variants = table.groupby("run_id")["variant"].agg(set)
    without_mask = {"shifted", "noise", "mirrored", "every_second", "only_border"}
    assert variants["flat"] - {"only_outside"} == without_mask | {"erased", "background", "only_lesion"}
    assert variants["whole"] >= {"resliced"} and "every_second" not in variants["whole"]
    assert "only_lesion" in variants["few"] or "every_second" in variants["few"]
    predicted = pd.read_parquet(out / "predictions.parquet").query("variant == 'original' and part == 'test'")
    known = predicted[(predicted["run_id"] == "flat") & (predicted["unit"] == "exam")].set_index("exam_id")["prob"]
    own = table[table["run_id"] == "flat"].pivot(index="exam_id", columns="variant", values="prob")
    assert set(own.index) == set(known.dropna().index) and own["shifted"].notna().all()
    assert np.corrcoef(own["noise"], known[own.index])[0, 1] > 0.9
    figures = pd.read_csv(out / "audit.csv").query("run == 'flat'").set_index("kind")
    truth = predicted.drop_duplicates("exam_id").set_index("exam_id")["y_true"]
    assert roc_auc_score(truth[own.index], own["shifted"]) >= 0.9  # too few patients for a figure of the audit
    assert "by every second of its slices" in figures.loc[
        "every_second", "told"]  # fmt: skip
    assert "cannot be estimated" in figures.loc["erased", "told"]  # only positive patients have a mask
    html = (out / "report.html").read_text()
    for row in ("flat, lesion erased", "flat, every second slice alone", "flat, moved by 3 %", "whole, slices blurred"):
        assert row in html


def test_another_fusion_needs_no_training(finished):
    out, study = finished
    (stamp,) = (p for p in (out / "stages").rglob("*flat*") if p.is_file() and "train" in str(p.relative_to(out)))
    before = stamp.stat().st_mtime_ns
    copies = pd.read_parquet(out / "variants.parquet")
    data = yaml.safe_load(study.read_text())["data"]
    data["slices"]["fusion"] = [{"name": "mean"}, {"name": "top_k", "options": {"k": 2}}]
    edit(study, data=data)
    pipeline.run(study, out, until="evaluate")
    assert stamp.stat().st_mtime_ns == before
    table = pd.read_parquet(out / "predictions.parquet")
    assert set(table.loc[table["run_id"] == "flat", "variant"]) == {"original", "top_k", "tta", "top_k, tta"}
    altered = pd.read_parquet(out / "variants.parquet")
    key = ["run_id", "variant", "exam_id"]
    changed = altered.set_index(key)["logit"] - copies.set_index(key)["logit"]
    assert (changed["flat"].abs() > 1e-3).any() and (changed["whole"] == 0).all()  # copies are fused in the new way


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"slices": {"fusion": [{"name": "median"}]}}}, "'median' is not known; valid: .*noisy_or"),
        ({"predict": {"flips": ["k"]}}, "no axis k"),
    ],
)
def test_what_slices_cannot_have_is_refused_before_any_work(tmp_path, changes, message):
    study = write_slice_study(tmp_path, patients=4, **changes)
    with pytest.raises(StudyError, match=message):
        pipeline.run(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_a_study_of_slices_leaves_open_is_chosen(tmp_path):
    study = write_slice_study(tmp_path, patients=8)
    written = yaml.safe_load(study.read_text())
    for key in ("preprocess", "runs", "splits"):
        del written[key]
    study.write_text(yaml.safe_dump(written | {"data": {"slices": {}}}))
    out = pipeline.run(study, tmp_path / "out", until="plan")
    planned = yaml.safe_load((out / "study.yaml").read_text())
    assert [s["name"] for s in planned["preprocess"]][-2:] == ["resize", "zscore_slices"]
    assert planned["runs"][0]["model"]["name"] == "light_cnn2d"
    assert planned["data"]["slices"] is not None

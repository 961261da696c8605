"""A small finished run directory, written by hand."""

from __future__ import annotations

import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.files import write_json
from scan2gene.core.study import Study
from scan2gene.core.tables import write_csv, write_parquet
from scan2gene.evaluate.audit import Tables, outside, shortcut_figures
from scan2gene.evaluate.evaluate import Evaluation, evaluate
from scan2gene.evaluate.leakage import Check, patients_apart
from scan2gene.evaluate.verdicts import verdicts

EVIL = "<script>alert(1)</script>"
PATIENTS = [f"PAT-{n:04d}" for n in range(40)]
RUNS = ("net", "broken", "age")
PLACE = "/FOLDER"


def study_at(folder: Path) -> Study:
    """Two targets, two splits, two networks and a baseline; hostile text wherever a user may write."""
    return Study.model_validate(
        {
            "name": "fake",
            "question": f"Does it work? {EVIL}",
            "cohort": {
                "scans": [str(folder / "scans")],
                "labels": str(folder / "labels.csv"),
                "patient_pattern": r"(PAT-\d+)",
                "site_column": "site",
                "clinical": ["age"],
                "exclude": {"path": "PAT-0003"},
                "roles": {"t1c": {"match": {"SeriesDescription": f"POST|{EVIL}"}}},
            },
            "targets": {"idh": {}, "rare": {}},
            "preprocess": [
                {"name": "zscore"},
                {"name": "resample", "options": {"spacing_mm": [1, 1, 2], "note": EVIL}},
            ],
            "splits": [{"name": "cv", "kind": "kfold", "folds": 2}, {"name": "sites", "kind": "leave_one_site_out"}],
            "train": {"epochs": 20, "patience": 5},
            "evaluate": {"bootstrap": 200},
            "runs": [
                {"name": "net", "model": {"name": "light_cnn"}},
                {"name": "broken", "model": {"name": "light_cnn", "options": {"weights": "/opt/models/w.pt"}}},
                {"name": "age", "model": {"name": "clinical", "options": {"columns": ["age"]}}},
            ],
            "licences": [f"CC BY, https://example.org/licence {EVIL}"],
        }
    )


def write_run(folder: Path) -> tuple[Study, Path, dict[str, Path]]:
    """Write every file that the report reads; returns what `write_report` takes."""
    out, study = folder / "run", study_at(folder)
    cohort, series, labels, split, predictions = (t.replace(PLACE, str(folder), regex=True) for t in _tables())
    write_csv(out / "cohort.csv", cohort)
    write_csv(out / "series.csv", series)
    write_csv(out / "labels.csv", labels)
    _write_exclusions(out, folder)
    write_csv(out / "split.csv", split)
    write_parquet(out / "predictions.parquet", predictions)
    found, audit, judged = _answers()
    write_csv(out / "metrics.csv", found.metrics)
    write_json(out / "thresholds.json", found.thresholds)
    write_json(out / "results.json", found.results)
    write_csv(out / "comparisons.csv", found.comparisons)
    write_json(out / "audit.json", audit)
    write_json(out / "verdicts.json", judged)
    store = _write_store(out, list(cohort["exam_id"]))
    _write_training(out)
    return study, out, {"net": store, "broken": store}


@cache
def _tables() -> tuple[pd.DataFrame, ...]:
    """Cohort, series, labels, split and predictions; `PLACE` where the folder stands."""
    rng = np.random.default_rng(0)
    idh = np.arange(40) % 2
    idh[30:] = 1  # the site south has one class only
    site = np.where(np.arange(40) < 30, "north", "south")
    rare = np.where(np.arange(40) < 3, 0.0, np.nan)  # one class: no metric can be estimated
    exams = [f"1.2.840.99999.{n}" for n in range(40)]
    paths = [f"{PLACE}/scans/{p}/t1 post.nii.gz" for p in PATIENTS]
    cohort = pd.DataFrame(
        {"patient_id": PATIENTS, "exam_id": exams, "site": site, "role:t1c": paths, "clinical:age": 50}
    )
    labels = [
        (p, "", t, v, "x:1") for t, vs in (("idh", idh), ("rare", rare)) for p, v in zip(PATIENTS, vs, strict=True)
    ]
    table = pd.DataFrame(labels, columns=["patient_id", "side", "target", "value", "source"]).dropna()
    table["label"] = table["value"].map({0: "negative", 1: "positive"})
    split = _split(site)
    truth = {"idh": dict(zip(PATIENTS, idh, strict=True)), "rare": dict(zip(PATIENTS, rare, strict=True))}
    of_patient = {p: (e, s) for p, e, s in zip(PATIENTS, exams, site, strict=True)}
    return cohort, _series(paths), table, split, _predictions(split, of_patient, truth, rng)


@cache
def _answers() -> tuple[Evaluation, dict[str, Any], list[dict[str, Any]]]:
    """What the product computes from the tables, wherever the run lies: evaluation, audit.json, verdicts.json."""
    cohort, series, labels, split, predictions = _tables()
    checks = [patients_apart(split), Check("images", "unknown", f"Images were not compared: {EVIL}.")]
    tables = Tables(cohort, series, labels, split, predictions, predictions[:0], pd.DataFrame())
    study = study_at(Path(PLACE))
    figures = shortcut_figures(study, tables, ["net", "broken"])
    beyond = outside(study, tables, figures)
    found = verdicts(study, tables, figures, checks, beyond)
    told = [{"check": c.name, "status": c.status, "told": c.told, "cases": len(c.cases)} for c in checks]
    rows = {"shortcuts": figures, "transfer": beyond[0], "shift": beyond[1]}
    audit = {"leakage": told} | {name: [one.row() for one in r] for name, r in rows.items()}
    return evaluate(predictions, split, 200, 1), audit, [vars(v) for v in found]


def _series(paths: list[str]) -> pd.DataFrame:
    series = pd.DataFrame({"series_id": paths, "path": paths, "format": "nifti", "patient_id": PATIENTS})
    series["StudyDescription"] = ["MR HEAD", f"MR {EVIL}", "MR HEAD", "MR of Jane Roe"] + ["MR HEAD", f"MR {EVIL}"] * 18
    series["Manufacturer"] = ["NaN & Sons", EVIL] * 20
    for column in ("MagneticFieldStrength", "SliceThickness"):
        series[column] = None
    series["spacing_i_mm"] = series["spacing_j_mm"] = np.linspace(0.5, 1.5, 40)
    series["spacing_k_mm"], series["plane"], series["orientation"], series["status"] = 3.0, "axial", "LPS", "ok"
    return series


def _write_exclusions(out: Path, folder: Path) -> None:
    reasons = [f"cannot read {folder}/scans/PAT-{n:04d}/x.nii" for n in (90, 91)] + [f"StudyDescription has /{EVIL}/"]
    rows = [("readable", f"PAT-{90 + n:04d}", "", "", reason) for n, reason in enumerate(reasons)]
    write_csv(
        out / "exclusions.csv", pd.DataFrame(rows, columns=["stage", "patient_id", "exam_id", "series_id", "reason"])
    )
    flow: list[dict[str, Any]] = [{"step": "series found", "kept": 43, "unit": "series", "left_out": {}}]
    flow.append({"step": "readable", "kept": 40, "unit": "series", "left_out": dict.fromkeys(reasons, 1)})
    flow.append({"step": "patients", "kept": 40, "unit": "patients", "left_out": {}})
    write_json(out / "flow.json", flow)


def _split(site: np.ndarray) -> pd.DataFrame:
    rows = []
    for name, group in (("cv", (np.arange(40) // 2) % 2), ("sites", (site == "south").astype(int))):
        for fold in (0, 1):
            rest = 0
            for patient, mine in zip(PATIENTS, group, strict=True):
                rest += mine != fold
                part = "test" if mine == fold else "validation" if rest % 4 == 0 else "train"
                rows.append((name, patient, 0, fold, part))
    return pd.DataFrame(rows, columns=["split", "patient_id", "repeat", "fold", "part"])


def _predictions(split: pd.DataFrame, of_patient: dict, truth: dict, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for run in RUNS:
        for at in split.to_dict("records"):
            for target in ("idh", "rare"):
                patient = at["patient_id"]
                exam, site = of_patient[patient]
                y = truth[target][patient]
                logit = rng.normal() + (2.5 * (np.nan_to_num(y) - 0.5) if run == "net" else 0)
                lost = run == "broken" and patient in PATIENTS[:4]
                rows.append(
                    at
                    | {
                        "run_id": run,
                        "variant": "original",
                        "site": site,
                        "exam_id": exam,
                        "side": "",
                    }
                    | {
                        "unit": "exam",
                        "unit_id": exam,
                        "target": target,
                        "label": "positive",
                        "y_true": float(y),
                    }
                    | {"logit": np.nan if lost else logit, "prob": np.nan if lost else 1 / (1 + np.exp(-logit))}
                    | {"status": "failed" if lost else "ok"}
                    | {"reason": f"{PLACE}/scans/{patient}/t1 post.nii.gz is cut short" if lost else ""}
                )
    return pd.DataFrame(rows)


def _write_store(out: Path, exams: list[str]) -> Path:
    store = out / "store" / "abcd1234"
    rows = [
        (p, e, "t1c", f"{p}_t1c.nii", "16x16x8", "1x1x2", "float32", "ok", "")
        for p, e in zip(PATIENTS, exams, strict=True)
    ]
    rows[0] = (*rows[0][:3], None, None, None, None, "failed", f"{PATIENTS[0]}_t1c.nii: {EVIL}")
    columns = ["patient_id", "exam_id", "role", "file", "shape", "spacing_mm", "dtype", "status", "reason"]
    write_csv(store / "manifest.csv", pd.DataFrame(rows, columns=columns))
    (store / "preview").mkdir()
    (store / "preview" / "1.png").write_bytes(_png())
    return store


def _png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


def _write_training(out: Path) -> None:
    for run in RUNS:
        for split in ("cv", "sites"):
            for fold in (0, 1):
                stage = f"train/{run}/{split}-r0-f{fold}"
                stamp = {"stage": stage, "key": "k", "outputs": [], "seconds": 90.0}
                write_json(out / "stages" / f"{stage.replace('/', '__')}.json", stamp)
                if run != "age":
                    path = out / "experiments" / run / f"{split}-r0-f{fold}" / "history.csv"
                    write_csv(
                        path, _history(best=2 if run == "broken" else 19 - fold, epochs=7 if run == "broken" else 20)
                    )
    write_json(out / "stages" / "index.json", {"stage": "index", "key": "k", "outputs": []})


def _history(best: int, epochs: int) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    loss = 0.5 + 0.01 * np.abs(epoch - best)
    table = pd.DataFrame({"split": "cv", "repeat": 0, "fold": 0, "epoch": epoch, "learning_rate": 1e-3})
    table["train_loss"], table["validation_loss"], table["validation_auroc"] = loss - 0.1, loss, np.nan
    for part, offset in (("train", 0.1), ("validation", 0.0)):
        for target in ("", ":idh", ":rare"):
            table[f"{part}_accuracy{target}"] = 0.6 + offset
    table["best"], table["seconds"] = (epoch <= best).astype(int), 0.1
    return table

"""`make results`: tables of features that tell nothing, through models, means and the verdict of the planned answer.

Each table: 80 patients, 60 features, age, and two targets by lot. The portfolio is that of a study of tables:
`clinical`, one block of features, `image` and `best`, in five folds, by the functions that a run uses. 200 tables have
ridge regression in place of the seven models whose mean is planned, which takes a tenth of the time; 40 have that mean.
What each came to is kept in runs/null-tables/, so that a stopped run goes on. Settings were fixed before the first run.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

import scan2gene
from scan2gene.cohorts.split import make_splits
from scan2gene.core.files import value_hash, write_json, write_text
from scan2gene.core.study import Study, mean_of_runs, standardised
from scan2gene.core.tables import PREDICTION_COLUMNS
from scan2gene.evaluate.audit import Tables, shortcut_figures
from scan2gene.evaluate.blocks import standardised_means
from scan2gene.evaluate.verdicts import verdicts
from scan2gene.learners.clinical import fit_clinical, linear_logits
from scan2gene.stats.linear import sigmoid
from scan2gene.stats.table_models import MODELS, fit_table_model, inner_folds
from scan2gene.tasks.run_config import resolved

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "runs" / "null-tables"
PAGE = ROOT / "docs" / "results" / "null-tables.md"
TABLES = {"ridge": 200, "mean": 40}
PATIENTS, FEATURES, TARGETS, FOLDS, DRAWS = 80, 60, ("one", "two"), 5, 200
CLAIMS = ("better", "unproven", "shortcut")  # verdicts that say "better than chance", or why it is


def study_of(model: str, seed: int) -> Study:
    """The portfolio of a study of tables."""
    return Study.model_validate({
        "name": f"null-{model}-{seed}", "seed": seed,
        "cohort": {"labels": "labels.csv", "clinical": ["age"]},
        "targets": {target: {} for target in TARGETS},
        "features": {"block": {"table": "features.csv"}},
        "splits": [{"name": "cv", "kind": "kfold", "folds": FOLDS, "validation_fraction": 0}],
        "evaluate": {"bootstrap": DRAWS},
        "runs": [
            {"name": "clinical", "model": {"name": "clinical", "options": {"columns": ["age"]}}},
            {"name": "block", "model": {"name": model, "options": {"features": ["block"]}}},
            mean_of_runs("image", ["block"]), mean_of_runs("best", ["clinical", "image"]),
        ],
    })  # fmt: skip


def one_table(model: str, seed: int) -> dict[str, str]:
    """Target -> kind of verdict on `best`; computed once and kept."""
    study, rng = study_of(model, seed), np.random.default_rng(seed)
    key = value_hash([study.model_dump(mode="json"), PATIENTS, FEATURES, scan2gene.__version__])
    kept = WORK / f"{model}-{seed:03d}-{key[:8]}.json"
    if kept.exists():
        return json.loads(kept.read_text(encoding="utf-8"))
    values, age = rng.normal(size=(PATIENTS, FEATURES)), rng.normal(55, 12, (PATIENTS, 1))
    truth = (rng.random((PATIENTS, len(TARGETS))) < rng.uniform(0.25, 0.75, len(TARGETS))).astype(float)
    ids = np.array([f"P{n:03d}" for n in range(PATIENTS)])
    cohort = pd.DataFrame({"patient_id": ids, "exam_id": ids, "site": ""})
    labels = cohort[["patient_id"]].assign(side="", **dict(zip(TARGETS, truth.T, strict=True)))
    labels = labels.melt(["patient_id", "side"], var_name="target").assign(source="")
    labels["label"] = labels["value"].map({0: "negative", 1: "positive"})
    split = make_splits(cohort, labels, study.splits, seed)
    tested, inner = [], []
    for fold, rows in split.groupby("fold"):
        part = rows.set_index("patient_id")["part"].reindex(ids).to_numpy()
        train = part == "train"
        for run, x in (("clinical", age), ("block", values)):
            scores, out_of_fold = _fitted(study, run, x, truth, ids, train)
            tested.append(_rows(run, int(fold), ids, part, truth, scores))
            inner.append(_rows(run, int(fold), ids[train], part[train], truth[train], out_of_fold))
    table, members = pd.concat(tested, ignore_index=True), standardised(study)
    means, _ = standardised_means(table, pd.concat(inner, ignore_index=True), members)
    series = pd.DataFrame({"series_id": ids})
    table = pd.concat([table, means], ignore_index=True)
    tables = Tables(cohort, series, labels, split, table, table[:0], pd.DataFrame())
    found = {
        v.target: str(v.kind) for v in verdicts(study, tables, shortcut_figures(study, tables, ["best", "image"]), [])
    }
    write_json(kept, found)
    return found


def _fitted(
    study: Study, run: str, x: np.ndarray, truth: np.ndarray, ids: np.ndarray, train: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log odds of all patients, and of training patients by inner folds, as the learner `tabular` makes them."""
    config = next(config for config in resolved(study) if config.name == run)
    if run == "block":
        estimators = MODELS[config.model.name](config.seed)
        model, inner = fit_table_model(x[train], truth[train], ids[train], estimators, config.seed)
        return model.logits(x), inner
    whole = fit_clinical(x[train], truth[train], config.outputs, columns=["age"])
    inner = np.full(truth[train].shape, np.nan)
    for learn, left_out in inner_folds(truth[train, 0], ids[train], config.seed):
        again = fit_clinical(x[train][learn], truth[train][learn], config.outputs, columns=["age"])
        inner[left_out] = linear_logits(again, x[train][left_out])
    return linear_logits(whole, x), inner


def _rows(
    run: str, fold: int, ids: np.ndarray, part: np.ndarray, truth: np.ndarray, scores: np.ndarray
) -> pd.DataFrame:
    """Prediction rows of one fit."""
    base = dict.fromkeys(PREDICTION_COLUMNS, "") | {"run_id": run, "split": "cv", "repeat": 0, "fold": fold}
    base |= {"variant": "original", "unit": "exam", "label": "positive", "status": "ok"}
    tables = [
        pd.DataFrame(base | {"part": part, "patient_id": ids, "exam_id": ids, "unit_id": ids, "target": target,
                             "y_true": truth[:, n], "logit": scores[:, n], "prob": sigmoid(scores[:, n])})
        for n, target in enumerate(TARGETS)
    ]  # fmt: skip
    return pd.concat(tables, ignore_index=True)[list(PREDICTION_COLUMNS)]


def page(found: dict[str, list[dict[str, str]]]) -> str:
    """The figures as Markdown."""
    lines = [
        "# Tables of features that tell nothing",
        "",
        f"Written by `make results` (`studies/null_tables.py`, scan2gene {scan2gene.__version__}). Each table:",
        f"{PATIENTS} patients, {FEATURES} features and age at random, {len(TARGETS)} targets by lot;",
        f"{FOLDS} folds; the planned answer `best` (half age, half features) and its verdict, P values corrected for",
        "targets (Holm). A false claim: the verdict on any target says that `best` is better than chance. `ridge` has",
        "ridge regression in place of the seven models whose mean is planned, to save time; `mean` takes that mean.",
        "",
        "| model on features | tables | with a false claim | share, exact 95 % interval | below chance | chance |",
        "|---|---|---|---|---|---|",
    ]
    for model, tables in found.items():
        kinds = [set(verdicts.values()) for verdicts in tables]
        claims = sum(bool(own & set(CLAIMS)) for own in kinds)
        ends = binomtest(claims, len(kinds)).proportion_ci(0.95, "exact")
        lines.append(
            f"| {model} | {len(kinds)} | {claims} | {claims / len(kinds):.1%} ({ends.low:.1%} to {ends.high:.1%}) | "
            f"{sum('worse' in own for own in kinds)} | {sum(own == {'chance'} for own in kinds)} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Do every table, or those of the named model."""
    WORK.mkdir(parents=True, exist_ok=True)
    wanted = [model for model in TABLES if model in sys.argv[1:]] or list(TABLES)
    found, begun = dict[str, list[dict[str, Any]]](), time.perf_counter()
    for model in wanted:
        found[model] = [one_table(model, seed) for seed in range(1, TABLES[model] + 1)]
        print(f"{model}: {TABLES[model]} tables, {time.perf_counter() - begun:.0f} s", flush=True)
    print(page(found))
    if wanted == list(TABLES):
        write_text(PAGE, page(found))


if __name__ == "__main__":
    main()

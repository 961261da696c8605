"""The answer, the metric tables and the figures about them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from scan2gene.core.study import clinical_half, headline, headline_first
from scan2gene.core.study_runs import Run
from scan2gene.core.tables import SLICE_LEVEL
from scan2gene.core.text import counted, listed, number_text
from scan2gene.report import figures
from scan2gene.report.inputs import Inputs, Scored, baseline_columns, estimate_of, split_text
from scan2gene.stats.intervals import Estimate
from scan2gene.stats.metrics import METRICS
from scan2gene.tasks.outputs import displayed, question_names

METRIC_NAMES = {
    "auroc": ("AUROC", "chance 0.5"),
    "average_precision": ("Average precision", "see prevalence"),
    "sensitivity_at_90_specificity": ("Sensitivity", "at 90 % specificity"),
    "brier": ("Brier score", "lower is better"),
    "log_loss": ("Loss", "cross-entropy, lower is better"),
    "accuracy": ("Accuracy", ""),
    "balanced_accuracy": ("Balanced accuracy", "chance 0.5"),
    "precision": ("Precision", "PPV"),
    "npv": ("Negative predictive value", "NPV"),
    "recall": ("Recall", "sensitivity"),
    "f1": ("F1", ""),
    "specificity": ("Specificity", ""),
    "mcc": ("MCC", "chance 0"),
}

WHOLE_NAMES = {
    "auroc_macro": ("Macro AUROC", "mean over classes, chance 0.5"),
    "auroc_weighted": ("Weighted AUROC", "classes by their size"),
    "accuracy": ("Accuracy", "largest probability"),
    "balanced_accuracy": ("Balanced accuracy", "mean recall"),
    "macro_f1": ("Macro F1", "mean over classes"),
    "kappa": ("Kappa", "Cohen's, chance 0"),
    "log_loss": ("Loss", "cross-entropy"),
    "brier": ("Brier score", "sum over classes"),
}

Scores = dict[tuple[str, str, str, str], Scored]


def scores(inputs: Inputs) -> Scores:
    """(run, split, target, metric) -> figure; a figure that cannot be estimated has its reason."""
    table = pd.concat([inputs.metrics, inputs.wholes]) if inputs.several else inputs.metrics
    return _scores(inputs, table[table["variant"] == "original"])


def _scores(inputs: Inputs, table: pd.DataFrame) -> Scores:
    found: Scores = {}
    for row in table.to_dict("records"):
        estimate = estimate_of(row)
        estimate = replace(estimate, reason=inputs.hide(estimate.reason))
        key = (row["run_id"], row["split"], row["target"], row["metric"])
        positive = None if pd.isna(row["n_positive"]) else int(row["n_positive"])
        found[key] = Scored(estimate, int(row["n"]), positive, int(row["n_units"]))
    return found


def answer(inputs: Inputs, found: Scores) -> dict[str, Any]:
    """The AUROC of every run and target, a table for each split; targets of several classes as a whole."""
    tables = [_auroc_table(inputs, found, split.name) for split in inputs.study.splits]
    wholes = [
        {"split": split.name, "target": target, "names": list(WHOLE_NAMES.values()), "rows": [
            {"run": run.name, "cells": [found.get((run.name, split.name, target, m)) for m in WHOLE_NAMES]}
            for run in headline_first(inputs.study)
        ]}
        for split in inputs.study.splits for target in inputs.several
    ]  # fmt: skip
    return {"tables": tables, "wholes": wholes}


def _auroc_table(inputs: Inputs, found: Scores, split: str) -> dict[str, Any]:
    targets = inputs.questions
    rows = []
    for run in headline_first(inputs.study):
        cells = [found.get((run.name, split, target, "auroc")) for target in targets]
        rows.append({"run": run.name, "model": _model_text(run), "cells": cells, "differences": []})
        rows += _added(inputs, split) if run.name == headline(inputs.study) else []
    return {
        "split": split,
        "what": split_text(inputs.study, split),
        "targets": targets,
        "rows": rows,
        "notes": _not_paired(inputs, found, split),
    }


def _added(inputs: Inputs, split: str) -> list[dict[str, Any]]:
    """What the study's answer has above clinical columns, target by target; no row where none are known."""
    table, base = inputs.comparisons, clinical_half(inputs.study)
    of_clinical = table[(table["split"] == split) & (table["metric"] == "auroc") & (table["run_id"] == base)]
    differences = of_clinical[of_clinical["best"] == headline(inputs.study)].set_index("target")[
        ["difference", "low", "high", "reason"]
    ]
    rows = differences.rename(columns={"difference": "value"}).to_dict("index")
    cells = [estimate_of(rows[target]) if target in rows else None for target in inputs.questions]
    what = f"{headline(inputs.study)} − {base}"
    return [{"run": what, "model": "what the scan adds", "cells": [], "differences": cells}] if rows else []


def _not_paired(inputs: Inputs, found: Scores, split: str) -> list[str]:
    """Sentences on test patients in folds with one class only: no pair of patients holds them."""
    runs_of: dict[tuple[str, int], list[str]] = {}
    for run in inputs.study.runs:
        for target, result in inputs.results.get(run.name, {}).get(split, {}).items():
            folds = result.get("auroc_by_fold", [])
            repeats = len({fold["repeat"] for fold in folds}) or 1
            count = round(sum(fold["n"] for fold in folds if fold["auroc"] is None) / repeats)
            scored = found.get((run.name, split, target, "auroc"))
            if count and scored is not None and scored.estimate.value is not None:
                runs_of.setdefault((target, count), []).append(run.name)
    return [
        f"{target}, {listed(runs)}: {counted(count, 'patient')} tested in folds with one class only, who do not count "
        "in the AUROC."
        for (target, count), runs in runs_of.items()
    ]


def _model_text(run: Run) -> str:
    columns = baseline_columns(run)
    if run.members:
        return f"mean of {listed(run.members)}"
    return f"clinical baseline: {', '.join(columns)}" if columns else run.model.name


def metrics(inputs: Inputs, found: Scores) -> dict[str, Any]:
    """All metrics per split and target, with reasons as notes, and figures by fold."""
    failed = _failed_exams(inputs)
    tables = []
    for split in inputs.study.splits:
        for target in inputs.questions:
            notes: list[str] = []
            shown = headline_first(inputs.study)
            rows = [_metric_row(run.name, split.name, target, found, failed, notes) for run in shown]
            rows += _variant_rows(inputs, split.name, target, failed, notes, of_slices=False)
            slices = _variant_rows(inputs, split.name, target, failed, notes, of_slices=True)
            groups = [("", rows), *([("single slices", slices)] if slices else [])]
            tables.append({"split": split.name, "target": target, "rows": rows, "groups": groups, "notes": notes})
    return {
        "names": [METRIC_NAMES[m] for m in METRICS],
        "tables": tables,
        "folds": _fold_rows(inputs, found),
        "fallbacks": _fallbacks(inputs),
        "fusion": _fusion_rows(inputs),
    }


def fusion_weights(inputs: Inputs) -> pd.DataFrame:
    """fusion_weights.csv with numbers as such; empty where nothing was fused late."""
    file = inputs.files.fusion_weights
    table = file.read() if file.exists() else pd.DataFrame(columns=list(file.columns))
    return table.astype({"weight": float}).assign(reason=table["reason"].fillna(""))


def _fusion_rows(inputs: Inputs) -> list[dict[str, Any]]:
    """How much each member of a late fusion counts: mean and range over fits, and in how many nothing was learned."""
    keys, rows = ["run_id", "split", "target"], []
    for (run, split, target), table in fusion_weights(inputs).groupby(keys, sort=False):
        members = [
            {"name": name, "mean": part["weight"].mean(), "low": part["weight"].min(), "high": part["weight"].max()}
            for name, part in table.groupby("member", sort=False)
        ]
        fits = table.drop_duplicates(["repeat", "fold", "side"])
        equal = fits.loc[fits["reason"] != "", "reason"]
        rows.append({"run": run, "split": split, "target": target, "members": members, "fits": len(fits),
                     "equal": len(equal), "reason": equal.iloc[0] if len(equal) else ""})  # fmt: skip
    return rows


def _variant_rows(
    inputs: Inputs, split: str, target: str, failed: dict[Any, int], notes: list[str], of_slices: bool
) -> list[dict[str, Any]]:
    """Rows of what was predicted beside the exams as they are, named by run and variant; or those of single slices."""
    table = inputs.metrics[(inputs.metrics["variant"] == SLICE_LEVEL) == of_slices]
    others = table[(table["variant"] != "original") & (table["split"] == split) & (table["target"] == target)]
    rows = []
    for (run, variant), part in others.groupby(["run_id", "variant"], sort=False):
        row = _metric_row(run, split, target, _scores(inputs, part), failed, notes)
        rows.append(row | {"run": f"{run}, {variant}"})
    return rows


def _metric_row(
    run: str, split: str, target: str, found: Scores, failed: dict[Any, int], notes: list[str]
) -> dict[str, Any]:
    cells, sizes = [], None
    for metric in METRICS:
        scored = found.get((run, split, target, metric))
        estimate = scored.estimate if scored else Estimate(None, reason="no test patients")
        sizes = scored or sizes
        note = 0
        if estimate.low is None:
            reason = estimate.reason or "no interval was computed"
            if reason not in notes:
                notes.append(reason)
            note = notes.index(reason) + 1
        beside = ""
        if metric == "average_precision" and scored and scored.units:
            beside = f"prevalence {number_text((scored.n_positive or 0) / scored.units)}"
        if metric == "accuracy" and scored and scored.units:
            share = (scored.n_positive or 0) / scored.units
            beside = f"majority class {number_text(max(share, 1 - share))}"  # reached without a network
        cells.append({"estimate": estimate, "note": note, "beside": beside})
    return {"run": run, "cells": cells, "sizes": sizes, "failed": failed.get((run, split, target), 0)}


def _fallbacks(inputs: Inputs) -> list[tuple[str, str, int, int]]:
    """(split, target, thresholds that could not be chosen, all thresholds), where there are such."""
    counts: dict[tuple[str, str], list[int]] = {}
    for row in inputs.thresholds:
        lacking, total = counts.get((row["split"], row["target"]), (0, 0))
        counts[row["split"], row["target"]] = [lacking + bool(row["reason"]), total + 1]
    return [(*key, lacking, total) for key, (lacking, total) in counts.items() if lacking]


def _failed_exams(inputs: Inputs) -> dict[Any, int]:
    """(run, split, target) -> test exams without a prediction, each counted once."""
    table = inputs.predictions
    lost = table[(table["part"] == "test") & (table["status"] != "ok")]
    return lost.groupby(["run_id", "split", "target"])["exam_id"].nunique().to_dict()


def _fold_rows(inputs: Inputs, found: Scores) -> list[dict[str, Any]]:
    rows = []
    for run in inputs.study.runs:
        for split in inputs.study.splits:
            for target, result in inputs.results.get(run.name, {}).get(split.name, {}).items():
                scored = found.get((run.name, split.name, target, "auroc"))
                judged = scored is None or scored.estimate.value is not None
                if len(result["auroc_by_fold"]) > 1 and judged:
                    rows += [
                        {"run": run.name, "split": split.name, "target": target, **f} for f in result["auroc_by_fold"]
                    ]
    return rows


def forests(inputs: Inputs, found: Scores) -> list[tuple[str, Any]]:
    """(split, forest plot)."""
    drawn = []
    for split in inputs.study.splits:
        rows: list[figures.ForestRow] = []
        for name, target in inputs.study.targets.items():
            metric_of = {name: "auroc_macro"} if target.classes else {}
            for one in (*metric_of, *question_names({name: target})):
                rows.append(figures.ForestRow(f"{one}, mean over classes" if one in metric_of else displayed(one)))
                for run in headline_first(inputs.study):
                    scored = found.get((run.name, split.name, one, metric_of.get(one, "auroc")))
                    missing = "" if scored else "no test patients"
                    rows.append(figures.ForestRow(run.name, scored, bool(baseline_columns(run)), missing))
        drawn.append((split.name, figures.forest(rows, f"AUROC with 95 % intervals, split {split.name}")))
    return drawn

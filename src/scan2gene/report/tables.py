"""Every table of the page as rows and columns, to be written beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scan2gene.core.tables import SLICE_LEVEL
from scan2gene.core.text import difference_text, estimate_text
from scan2gene.report.cases import COLUMNS as CASE_COLUMNS
from scan2gene.report.flow import ANALYSED
from scan2gene.report.inputs import Inputs, fitting_patients
from scan2gene.report.results import fusion_weights


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Args:
        name: Of its files.
        caption: What it shows.
        csv: For programs: plain numbers, a row per fact.
        printed: For readers, where that is another one.
    """

    name: str
    caption: str
    csv: pd.DataFrame
    printed: pd.DataFrame | None = None


def tables(inputs: Inputs, page: dict[str, Any]) -> list[Table]:
    """Tables of a report.

    Args:
        inputs: The run directory.
        page: What the page is made from: a key for each of its parts.
    """
    found = [*_metrics(inputs, page), *_curves(page["panels"]), *_cohort(page["cohort"]), *_scans(page)]
    found += [*_training(page["training"]), *_failures(page["failures"])]
    if page["neighbours"]:
        columns = tuple(page["neighbours"][0])
        found.append(_table("embedding-neighbours", "Are neighbours alike?", page["neighbours"], columns))
    if page["plan"]["power"]:
        columns = tuple(page["plan"]["power"][0])
        found.append(_table("power", "What the test patients can show", page["plan"]["power"], columns))
    if page["cases"]:
        rows = [row for figure in page["cases"] for row in figure["rows"]]
        found.append(_table("cases", "Surest right decisions and worst errors", rows, CASE_COLUMNS))
    names = ("stage", "seconds", "cpu_seconds")
    costs = [{k: r[k] for k in names} for r in page["reproduce"]["costs"] if r["seconds"] is not None]
    found.append(_table("costs", "Time of each stage", costs, names))
    return [table for table in found if len(table.csv)]


def _table(name: str, caption: str, rows: Sequence[Any], columns: Sequence[str]) -> Table:
    return Table(name, caption, pd.DataFrame(list(rows), columns=list(columns)))


def _metrics(inputs: Inputs, page: dict[str, Any]) -> list[Table]:
    metrics = pd.concat([inputs.metrics, inputs.wholes]) if inputs.several else inputs.metrics
    metrics = metrics.assign(reason=metrics["reason"].map(inputs.hide, na_action="ignore"))
    found = [Table("metrics", "Every metric of every run", metrics)]
    for table in page["answer"]["tables"]:
        rows = [[r["run"], *_cells(r)] for r in table["rows"]]
        of_split = metrics[(metrics["split"] == table["split"]) & (metrics["metric"] == "auroc")]
        caption = f"AUROC with 95 % interval, test patients of {table['split']} ({table['what']})"
        shown = pd.DataFrame(rows, columns=["run", *table["targets"]])
        found.append(Table(f"auroc-{table['split']}", caption, of_split, shown))
    for table in page["metrics"]["tables"]:
        split, target = table["split"], table["target"]
        mine = metrics[(metrics["split"] == split) & (metrics["target"] == target)]
        for apart, group in table["groups"]:
            columns = {"metric": [" ".join(n).strip() for n in page["metrics"]["names"]]}
            columns |= {r["run"]: [estimate_text(c["estimate"]) for c in r["cells"]] for r in group}
            of_slices = mine["variant"] == SLICE_LEVEL
            caption = f"Metrics with 95 % interval for {target}, test patients of {split}"
            caption += f": {apart}, not for comparison" if apart else ""
            name = f"metrics-{split}-{target}{'-slices' if apart else ''}"
            found.append(Table(name, caption, mine[of_slices == bool(apart)], pd.DataFrame(columns)))
    for whole in page["answer"]["wholes"]:
        of_whole = metrics[(metrics["split"] == whole["split"]) & (metrics["target"] == whole["target"])]
        caption = f"All classes of {whole['target']} together with 95 % interval, test patients of {whole['split']}"
        columns = {"metric": [name for name, _ in whole["names"]]}
        columns |= {r["run"]: [estimate_text(c.estimate if c else None) for c in r["cells"]] for r in whole["rows"]}
        found.append(Table(f"metrics-{whole['split']}-{whole['target']}", caption, of_whole, pd.DataFrame(columns)))
    if len(inputs.confusion):
        caption = "Test patients by true class and class of the largest probability"
        found.append(Table("confusion-of-classes", caption, inputs.confusion))
    folds = [f | {"sites": ", ".join(f["sites"])} for f in page["metrics"]["folds"]]
    names = ("run", "split", "target", "repeat", "fold", "sites", "n", "n_positive", "auroc")
    cuts = pd.DataFrame(inputs.thresholds)
    if len(cuts):
        cuts = cuts.assign(reason=cuts["reason"].map(inputs.hide))
    return [
        *found,
        _table("auroc-by-fold", "AUROC of each fold", folds, names),
        Table("fusion-weights", "Weights of late fusion, from validation patients", fusion_weights(inputs)),
        Table("thresholds", f"Decision thresholds, chosen on {fitting_patients(inputs.study)}", cuts),
    ]


def _cells(row: dict[str, Any]) -> list[str]:
    """AUROC of each target in words; of a row of differences these."""
    if row["differences"]:
        return ["" if d is None else difference_text(d) for d in row["differences"]]
    return [estimate_text(cell.estimate if cell else None) for cell in row["cells"]]


def _curves(panels: Sequence[dict[str, Any]]) -> list[Table]:
    decisions, bins = [], []
    for panel in panels:
        for run in panel["runs"]:
            if not run["numbers"]:
                continue
            place = [panel["split"], panel["target"], run["run"]]
            counts, known = run["numbers"]["counts"], run["numbers"]["reliability"]
            decisions.append([*place, counts[1, 1], counts[1, 0], counts[0, 1], counts[0, 0]])
            each = zip(known.n, known.probability, known.share, strict=True)
            bins += [[*place, number + 1, int(n), float(p), float(s)] for number, (n, p, s) in enumerate(each)]
    where = ("split", "target", "run")
    names = ("true_positive", "false_negative", "false_positive", "true_negative")
    return [
        _table("confusion", "Decisions on test patients at the chosen thresholds", decisions, (*where, *names)),
        _table("calibration", "Reliability in bins of equal size, test patients", bins,
               (*where, "bin", "n", "mean_probability", "share_positive")),
    ]  # fmt: skip


def _cohort(cohort: dict[str, Any]) -> list[Table]:
    flow = [
        (step["step"], step["unit"], step["kept"], reason, n)
        for step in cohort["steps"]
        for reason, n in [("", 0), *step["left_out"]]
    ]
    found = [_table("flow", "Flow into the study", flow, ("step", "unit", "kept", "left_out_because", "left_out"))]
    analysed = pd.DataFrame(cohort["analysed"], columns=list(ANALYSED))
    found.append(Table("analysed", "Tested patients: label unknown, not predicted, analysed", analysed))
    for part in cohort["parts"]:
        every = [*part["rows"], *part["totals"].values()]
        rows = [[r["target"], r["class"], "patients", *r["cells"], r["all"]] for r in every]
        rows += [
            [r["target"], r["class"], "volumes", *r["volumes"], r["all_volumes"]] for r in every if r["all_volumes"]
        ]
        names = ("target", "class", "unit", "training", *part["parts"][1:], "all")
        caption = f"Patients and volumes by class and part, {part['split']}"
        found.append(_table(f"classes-{part['split']}", caption, rows, names))
    if cohort["sites"]:
        rows = [
            [site["site"], target, *counts]
            for site in cohort["sites"]["rows"]
            for target, counts in zip(cohort["sites"]["targets"], site["counts"], strict=True)
        ]
        of_site = ("site", "target", "positive", "negative", "unknown")
        found.append(_table("sites", "Patients by site and class", rows, of_site))
    left = [(e["stage"], reason, n) for e in cohort["exclusions"] for reason, n in e["reasons"]]
    return [*found, _table("exclusions", "Left out, and why", left, ("stage", "reason", "count"))]


def _scans(page: dict[str, Any]) -> list[Table]:
    values = [(one["name"], r["value"], r["n"]) for one in page["scans"]["lists"] for r in one["rows"]]
    found = page["acquisition"]
    studies = [(r["text"], r["found"], r["kept"]) for r in found["studies"]]
    axes = [(r["cosines"], r["view"], r["axes"], r["n"]) for r in found["orientations"]]
    return [
        _table("scans", "What the image series are like", values, ("property", "value", "series")),
        _table("orientations", "Image orientation", axes, ("row_and_column_cosines", "view", "voxel_axes", "series")),
        _table("studies", "Studies found, before selection", studies, ("study_description", "exams", "in_the_study")),
    ]


def _training(training: Sequence[dict[str, Any]]) -> list[Table]:
    keys = ("run", "split", "model", "fits", "epochs", "best", "speed", "seconds")
    names = ("run", "split", "model", "fits", "epochs", "best_epoch", "exams_per_second", "time")
    fits = [
        (t["run"], t["split"], f["repeat"], f["fold"], len(f["epoch"]), f["best"], "yes" if f["early"] else "no",
         f["loss"], f["learned"], f["steps"], f["rate"])
        for t in training
        for f in t["by_fold"]
    ]  # fmt: skip
    each = ("run", "split", "repeat", "fold", "epochs", "best_epoch", "stopped_early", "validation_loss",
            "training_auroc", "steps", "last_learning_rate")  # fmt: skip
    return [
        _table("training", "Training", [[t[k] for k in keys] for t in training], names),
        _table("best-epochs", "Best epoch of each fit", fits, each),
    ]


def _failures(failures: dict[str, Any]) -> list[Table]:
    return [
        _table("failed-volumes", "Volumes that could not be prepared", failures["volumes"],
               ("recipe", "role", "reason", "volumes")),
        _table("failed-exams", "Exams without a prediction", failures["exams"], ("run", "reason", "exams")),
    ]  # fmt: skip

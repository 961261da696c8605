"""What checklists and cards say of a run's results and limits, each with the files that it is read from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scan2gene.core.study import study_hash
from scan2gene.core.text import clauses, counted, estimate_text, listed, number_text
from scan2gene.report.characteristics import characteristics as characteristics_of
from scan2gene.report.inputs import ORIGINAL, Inputs, Scored, estimate_of, split_text
from scan2gene.report.methods import Methods, about, joined
from scan2gene.report.methods_models import weight_records
from scan2gene.report.methods_tests import read_audit
from scan2gene.report.results import METRIC_NAMES, WHOLE_NAMES, Scores
from scan2gene.report.statements import Statement
from scan2gene.report.step_words import told as step_told
from scan2gene.tasks.run_config import resolved

MOST = 12  # figures in a sentence; the tables have all
SELECTING = ("edge_slices", "crop_to_mask", "body_crop", "crop_or_pad", "remove_background", "skull_strip",
             "apply_mask")  # fmt: skip
NOT_CLINICAL = "This is research output, not for clinical use."


@dataclass(frozen=True)
class Known:
    """A run directory, what its Methods say, and its figures."""

    inputs: Inputs
    told: Methods
    scores: Scores


Fill = Callable[[Known], Statement | None]


def sentences(*topics: str) -> Fill:
    """Those of the Methods about some topics."""

    def fill(known: Known) -> Statement | None:
        said = about(known.told, *topics)
        text, source = joined(said)
        return Statement(topics[0], text, source) if said else None

    return fill


def together(*fills: Fill) -> Fill:
    """What several say, one after the other."""

    def fill(known: Known) -> Statement | None:
        said = [s for s in (one(known) for one in fills) if s]
        text, source = joined(said)
        return Statement(said[0].topic, text, source) if said else None

    return fill


def always(text: str, source: str) -> Fill:
    """The same for every run."""
    return lambda known: Statement("always", text, source)


def question(known: Known) -> Statement | None:
    """What the study asks."""
    asked = known.inputs.hide(known.inputs.study.question)
    return Statement("question", f"The study asks: {asked}", "study.yaml, question") if asked else None


def goal(known: Known) -> Statement | None:
    """What was done with models: developed, and tested how."""
    ways = listed([f"{split_text(known.inputs.study, s.name)} (split {s.name})" for s in known.inputs.study.splits])
    targets = listed(list(known.inputs.study.targets))
    return Statement("goal", f"Models for {targets} were developed and tested: {ways}.", "study.yaml, targets, splits")


def licences(known: Known) -> Statement | None:
    """Licence notes of the data, as the study file has them."""
    notes = [known.inputs.hide(note) for note in known.inputs.study.licences]
    return (
        Statement("licences", f"Licences of the data: {'; '.join(notes)}.", "study.yaml, licences") if notes else None
    )


def weight_licences(known: Known) -> Statement | None:
    """Licences of the files that networks started from."""
    rows = [r for r in weight_records(known.inputs) if r["licence"]]
    told = dict.fromkeys(f"{r['weights']}: {r['licence']}" for r in rows)
    text = f"Licences of the weights: {'; '.join(told)}."
    return Statement("weights", text, "experiments/*/*/weights.json") if told else None


def subsets(known: Known) -> Statement | None:
    """Which part of the scans networks saw."""
    configs = [c for c in resolved(known.inputs.study) if c.name in known.inputs.stores]
    cuts = dict.fromkeys(step_told(s) for c in configs for s in c.recipe if s.name in SELECTING)
    most = [c.data.slices.per_patient for c in configs if c.data.slices is not None]
    slices = [f"at most {n} slices of a patient" if n else "single slices" for n in most]
    if not configs:
        return None
    told = [f"Of the scans were used parts: {listed(list(cuts))}."] if cuts else ["Whole volumes were used."]
    told += [f"Networks saw {listed(list(dict.fromkeys(slices)))}."] if slices else []
    return Statement("subsets", " ".join(told), "study.yaml, preprocess, data.slices")


def spacing(known: Known) -> Statement | None:
    """Voxel sizes of the scans as the files have them."""
    series = known.inputs.used_series()
    told = []
    for name, column in (("in-plane", "spacing_i_mm"), ("slice", "spacing_k_mm")):
        values = pd.to_numeric(series[column], errors="coerce").dropna() if column in series else pd.Series(dtype=float)
        if len(values):
            told.append(f"{name} spacing {values.median():.3g} mm ({values.min():.3g} to {values.max():.3g})")
    return Statement("spacing", f"Median {listed(told)}.", "series.csv") if told else None


def disjoint(known: Known) -> Statement | None:
    """That no patient stands in two parts, as the split file shows."""
    split = known.inputs.split
    seen = split.drop_duplicates(["split", "repeat", "fold", "patient_id", "part"])
    twice = int(seen.duplicated(["split", "repeat", "fold", "patient_id"], keep=False).sum())
    if twice:
        return Statement("disjoint", f"Parts are NOT disjoint: {twice:,} rows name a patient in two parts of a fold.",
                    "split.csv")  # fmt: skip
    return Statement(
        "disjoint", "Parts are disjoint by patient: in no fold does a patient stand in two parts.", "split.csv"
    )


def performance(known: Known) -> Statement | None:
    """AUROC of every run and target with its interval."""
    return figures_of(known, ("auroc", "auroc_macro"))


def diagnostic(known: Known) -> Statement | None:
    """Sensitivity, specificity and predictive values with intervals."""
    return figures_of(known, ("recall", "specificity", "precision", "npv"))


def figures_of(known: Known, metrics: Sequence[str]) -> Statement | None:
    """Some metrics of every run, split and target, each with its interval."""
    found = [
        (run, split, target, metric, scored)
        for (run, split, target, metric), scored in known.scores.items()
        if metric in metrics
    ]
    told = clauses((_figure(*one) for one in found), MOST, "figure")
    return Statement("figures", f"{told}.", "metrics.csv") if told else None


def _figure(run: str, split: str, target: str, metric: str, scored: Scored) -> str:
    what = f"{target}, {run}, {split}: {(METRIC_NAMES | WHOLE_NAMES)[metric][0]}"
    if scored.estimate.value is None:
        return f"{what} cannot be estimated, because {scored.estimate.reason}"
    return f"{what} {estimate_text(scored.estimate)}, {scored.who}"


def subgroups(known: Known) -> Statement | None:
    """AUROC within groups of patients; the page leaves groups of very few unnamed, and so does this."""
    rows = group_rows(known.inputs)
    told = [f"{r['target']}, {r['run']}, {known.inputs.hide(r['of'])}: {spread_of(r)}" for r in rows]
    text = f"AUROC by group of patients, with 95 % interval: {clauses(told, MOST, 'group')}."
    return Statement("groups", text, "audit.json, shortcuts") if told else None


def group_rows(inputs: Inputs) -> list[dict[str, Any]]:
    """Groups of patients whose AUROC has an interval; smaller ones have none, so nobody is told apart by these."""
    rows = read_audit(inputs).get("shortcuts", [])
    return [r for r in rows if r["kind"] == "subgroup" and r["value"] is not None and r["low"] is not None]


def spread_of(row: dict[str, Any]) -> str:
    """A figure of audit.json with its interval."""
    return estimate_text(estimate_of(row))


def recalibrated(known: Known) -> Statement | None:
    """Calibration slopes as given and after each way of mending."""
    rows = calibration_slopes(known.inputs) if about(known.told, "recalibration") else []
    told = [f"{r['target']}, {r['run_id']}, {r['split']}, {r['method']}: {number_text(r['value'])}" for r in rows]
    return Statement("slopes", f"Calibration slopes: {clauses(told, MOST)}.", "calibration.csv") if told else None


def calibration_slopes(inputs: Inputs) -> list[dict[str, Any]]:
    """Rows of calibration.csv with a slope."""
    table = inputs.files.calibration.read()
    return table[(table["figure"] == "slope") & table["value"].notna()].to_dict("records")


def failures(known: Known) -> Statement | None:
    """Exams without a prediction, and where wrong decisions are shown."""
    table = known.inputs.predictions
    lost = table[table["status"] != "ok"].drop_duplicates(["run_id", "exam_id"]).groupby("run_id").size()
    told = [f"{counted(int(n), 'exam')} by {run}" for run, n in lost.items()]
    text = f"Not predicted were {listed(told)}." if told else "Every exam was predicted by every run."
    shown = " The surest wrong decisions are pictured in report/figures (cases-*.svg)." if known.inputs.stores else ""
    return Statement("failures", text + shown, "predictions.parquet")


def counts(known: Known) -> Statement | None:
    """How many of each class are analysed by each run."""
    rows = [
        f"{run}, {target}, {split}: {s.who}"
        for (run, split, target, metric), s in known.scores.items() if metric == "auroc"
    ]  # fmt: skip
    source = "metrics.csv; report/tables/analysed.csv"
    return Statement("counts", f"Analysed: {clauses(rows, MOST)}.", source) if rows else None


def verdict(known: Known) -> Statement | None:
    """The headline of each target, by the rules of the audit."""
    rows = known.inputs.files.verdicts.read([])
    told = [f"{r['target']}: {known.inputs.hide(r['headline'])}." for r in rows]
    return Statement("verdict", " ".join(told), "verdicts.json") if told else None


def limits(known: Known) -> Statement | None:
    """What this run cannot show, whatever its figures."""
    study = known.inputs.study
    told = []
    if not any(s.kind == "leave_one_site_out" or s.external for s in study.splits):
        told.append("No site was kept apart, so nothing is known of other hospitals or scanners.")
    aurocs = [scored for (*_, metric), scored in known.scores.items() if metric == "auroc"]
    fewest = min((min(s.n_positive or 0, s.units - (s.n_positive or 0)) for s in aurocs), default=0)
    told.append(f"The rarer class has {fewest:,} test patients or sides in the smallest analysis.")
    open_ = [c["check"] for c in read_audit(known.inputs).get("leakage", []) if c["status"] == "unknown"]
    if open_:
        told.append(f"Checks for leakage could not tell: {listed(open_)}.")
    if not read_audit(known.inputs):
        told.append("The run was not audited for leakage and shortcuts.")
    told.append("Intervals tell of other patients like these; networks were not trained anew for them.")
    return Statement("limits", " ".join(told), "study.yaml, splits; metrics.csv; audit.json")


def characteristics(known: Known) -> Statement | None:
    """Clinical columns, sex, site and scanner, as far as they are known; the table has them by class and part."""
    found = characteristics_of(known.inputs)
    told = [f"{name}{f' {value}' if value else ''}: {cells[0][2]}" for name, value, cells in found["rows"]]
    text = f"Of all patients (median with quartiles, or number): {'; '.join(told)}. By class: characteristics.csv."
    source = "cohort.csv; series.csv; report/tables/characteristics.csv"
    return Statement("characteristics", text, source) if told else None


def protocol(known: Known) -> Statement | None:
    """The study file, which holds every setting."""
    text = f"Every setting is in the study file (hash {study_hash(known.inputs.study)}), which repeats the run."
    return Statement("protocol", text, "study.yaml")


def availability(known: Known) -> Statement | None:
    """What of the run could be handed on, and on what terms."""
    kept = "Trained weights lie in the run directory (experiments/*/*/best.pt). " if known.inputs.stores else ""
    text = f"{kept}Predictions, figures and settings lie in the run directory."
    return Statement("availability", text, "experiments; predictions.parquet")


def apply(known: Known) -> Statement | None:
    """How the networks answer for new exams."""
    if not known.inputs.stores:
        return None
    text = (
        "“scan2gene apply RUN_DIRECTORY SCANS” prepares new exams by the same steps and predicts them with the "
        "networks of the run; exams unlike those of training are refused with the reason."
    )
    return Statement("apply", text, "experiments/*/*/best.pt; apply/familiar.json")


def classes(known: Known) -> Statement | None:
    """Share of positives, and how many of each class are in the fold with the fewest."""
    rows = known.inputs.metrics
    own = rows[(rows["metric"] == "auroc") & (rows["variant"] == ORIGINAL)].drop_duplicates(["split", "target"])
    told = [f"{r['target']}, {r['split']}: {int(r['n_positive']):,} of {int(r['n_units']):,} positive"
            for r in own.to_dict("records")]  # fmt: skip
    return Statement("classes", f"{'; '.join(told)}.", "metrics.csv") if told else None

"""Whether probabilities can be taken at their word, what they are worth, and what else speaks for a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from scan2gene.core.tables import table_as_meant
from scan2gene.core.text import (
    NO_INTERVAL,
    capitalised,
    counted,
    estimate_text,
    interval_text,
    number_text,
    p_text,
    percent,
)
from scan2gene.evaluate.probabilities import AS_GIVEN, COLUMNS
from scan2gene.evaluate.verdict_words import slope_in_words
from scan2gene.report import use_figures
from scan2gene.report.inputs import Inputs, estimate_of, estimate_or_reason
from scan2gene.report.tables import Table
from scan2gene.stats.decision import NetBenefit, useful_range
from scan2gene.stats.intervals import Estimate

NAMES = {
    "calibration": "Calibration, as given and recalibrated on other patients",
    "decision": "Net benefit by threshold",
    "predictive_values": "Predictive values at the prevalence that the study names",
    "abstention": "Wrong decisions among the surest",
    "conformal": "Prediction sets and how often they hold the class",
    "evidence": "Other fits of the same method, shuffled labels, patients needed",
}


def use(inputs: Inputs) -> dict[str, Any]:
    """By split and target, sentences and figures of every run; the tables behind them; why where there are none."""
    tables = {name: _read(getattr(inputs.files, name).path) for name in NAMES}
    if any(table is None for table in tables.values()):
        return {"reason": "The stage evaluate of an older version wrote no tables about probabilities.", "groups": [],
                "tables": [], "figures": []}  # fmt: skip
    known = {name: table for name, table in tables.items() if table is not None}
    for table in known.values():
        for column in ("reason", "fits_reason", "shuffled_reason"):
            if column in table:
                table[column] = table[column].map(inputs.hide, na_action="ignore")
    groups, figures = [], []
    for split in inputs.study.splits:
        for target in inputs.questions:
            runs = []
            for run in inputs.study.runs:
                place = (run.name, split.name, target)
                of_run = {n: _at(t, place) for n, t in known.items()}
                drawn = _drawn(of_run, place)
                figures += [(f"{kind}-{split.name}-{target}-{run.name}", svg) for kind, svg in drawn.items()]
                runs.append({"run": run.name, "said": _said(of_run), "figures": drawn,
                             "evidence": _evidence(of_run["evidence"])})  # fmt: skip
            groups.append({"split": split.name, "target": target, "runs": runs})
    listed = [Table(n.replace("_", "-"), NAMES[n], t) for n, t in known.items() if len(t)]
    for number_, table in enumerate(listed):
        if table.name == "calibration":  # the report's own has this name: the bins of the diagram
            listed[number_] = Table("calibration-figures", table.caption, table.csv)
    return {"reason": "", "groups": groups, "tables": listed, "figures": figures}


def _read(path: Path) -> pd.DataFrame | None:
    if not path.exists():
        return None
    text = dict.fromkeys(("run_id", "split", "target", "method", "figure", "reason", "nested"), str)
    table = table_as_meant(pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""]))
    return table if set(COLUMNS.get(path.stem, ())) <= set(table.columns) else None


def _at(table: pd.DataFrame, place: tuple[str, str, str]) -> pd.DataFrame:
    run, split, target = place
    return table[(table["run_id"] == run) & (table["split"] == split) & (table["target"] == target)]


def _estimates(table: pd.DataFrame) -> dict[str, Estimate]:
    return {row["figure"]: estimate_of(row) for row in table.to_dict("records")}


def _said(tables: Mapping[str, pd.DataFrame]) -> list[tuple[str, str]]:
    """(what it is about, sentence) of one run."""
    table = tables["calibration"]
    given = _estimates(table[table["method"] == AS_GIVEN])
    if not given:
        reasons = table["reason"].dropna().tolist()
        return [("Probabilities", f"Nothing can be said, because {reasons[0] if reasons else 'it was not tested'}.")]
    calibration = (
        slope_in_words(given["slope"]),
        large_in_words(given["intercept"]),
        error_in_words(given["ece"], given["ece_if_calibrated"]),
    )
    said = [
        ("Calibration", " ".join(calibration)),
        ("Brier score", _brier(given)),
        ("Mended", _mended(table)),
        ("In use", _useful(tables["decision"])),
        ("Predictive values", _predictive_values(tables["predictive_values"])),
        ("Abstention", _abstained(tables["abstention"])),
        ("Sets", sets_in_words(tables["conformal"])),
    ]
    return [(what, words) for what, words in said if words]


def _predictive_values(table: pd.DataFrame) -> str:
    values = _estimates(table)
    if not values:
        return ""
    prevalence = percent(float(table["prevalence"].iloc[0]), exact=True)
    right, negative = (estimate_or_reason(values[f"{sign}_predictive_value"]) for sign in ("positive", "negative"))
    return f"Where {prevalence} are positive, a positive decision is right in {right}, a negative one in {negative}."


def large_in_words(intercept: Estimate) -> str:
    """What calibration in the large means."""
    if intercept.low is None or intercept.high is None:
        return ""
    if intercept.low > 0 or intercept.high < 0:
        word = "more" if intercept.low > 0 else "less"
        return f"Positives are {word} frequent than they say (intercept {estimate_text(intercept)}; 0 is right)."
    return f"On the whole they are about as high as they should be (intercept {estimate_text(intercept)}; 0 is right)."


def error_in_words(error: Estimate, luck: Estimate) -> str:
    """The calibration error beside what perfect probabilities would show on as many patients."""
    if error.value is None or luck.value is None or luck.high is None:
        return ""
    beyond = "more than luck explains" if error.value > luck.high else "no more than luck explains"
    return f"Bins miss by {number_text(error.value)} on average, {beyond} (perfect ones: {estimate_text(luck)})."


def _brier(given: Mapping[str, Estimate]) -> str:
    parts = [given[f"brier_{n}"].value for n in ("reliability", "resolution", "uncertainty", "within_bins")]
    if any(p is None for p in parts):
        return ""
    miss, tell, guess, within = (number_text(abs(float(p))) for p in parts if p is not None)
    within = f"{'−' if float(parts[-1] or 0) < 0 else '+'} {within}"
    return (
        f"{estimate_text(given['brier'])} = {miss} from probabilities that are off − {tell} from telling patients "
        f"apart + {guess}, which guessing the prevalence has, {within} inside bins."
    )


def _mended(table: pd.DataFrame) -> str:
    found = []
    for method, rows in table[table["method"] != AS_GIVEN].groupby("method", sort=False):
        values = _estimates(rows)
        if "brier" not in values:
            return f"Not fitted, because {rows['reason'].iloc[0]}."
        brier, error = (number_text(values[name].value) for name in ("brier", "ece"))
        found.append(f"{method} Brier {brier}, error {error}")
    return f"Fitted on other patients than those tested: {'; '.join(found)}." if found else ""


def _curve(table: pd.DataFrame) -> NetBenefit:
    names = ("threshold", "net_benefit", "low", "high", "act_on_all")
    return NetBenefit(*(table[c].to_numpy(float) for c in names))


def _useful(table: pd.DataFrame) -> str:
    if table.empty:
        return ""
    found = useful_range(_curve(table))
    if found is None:
        return "At no threshold is acting by it shown to be worth more than acting on everybody or on nobody."
    low, high = found
    where = f"at thresholds from {number_text(low, 2)} to {number_text(high, 2)}"
    return (
        f"Acting by it is worth more than acting on everybody or on nobody {where}, and is not shown to be elsewhere."
    )


def _abstained(table: pd.DataFrame) -> str:
    rows = {round(float(r["coverage"]), 1): r for r in table.dropna(subset=["error"]).to_dict("records")}
    if 1.0 not in rows:
        return ""
    every = float(rows[1.0]["error"])
    if 0.5 not in rows:
        return f"{percent(every)} of decisions are wrong; too many are equally sure to leave the unsure half out."
    half = rows[0.5]
    spread = NO_INTERVAL if math.isnan(half["low"]) else f"{percent(half['low'])} to {percent(half['high'])}"
    return (
        f"{percent(every)} of decisions are wrong; of the surest half, {percent(half['error'])} ({spread}, "
        f"{counted(int(half['n']), 'decision')})."
    )


def sets_in_words(table: pd.DataFrame) -> str:
    """What the prediction sets hold, and whether they hold what they should."""
    found = _estimates(table)
    if "coverage" not in found:
        reasons = table["reason"].dropna().tolist()
        return f"Not made, because {reasons[0]}." if reasons else ""
    level, held = float(table["confidence"].iloc[0]), found["coverage"]
    verdict = ""
    if held.low is not None and held.high is not None:
        verdict = ", less often than they should" if held.high < level else ", which agrees"
        verdict = ", more often than they need to" if held.low > level else verdict
    both, none = (found[n].value or 0.0 for n in ("both_classes", "no_class"))
    small = int(table["n_fits_too_small"].iloc[0])
    caution = f" {small} folds have too few patients to learn the sets from and name both classes." if small else ""
    by_class = ", ".join(f"{c} {estimate_or_reason(found[f'coverage_{c}'])}" for c in ("positive", "negative"))
    return (
        f"Sets made to hold the class in {percent(level)} hold it in {estimate_or_reason(held)}{verdict} ({by_class}); "
        f"{percent(both)} name both classes, {percent(none)} none.{caution}"
    )


def _evidence(table: pd.DataFrame) -> list[tuple[str, str]]:
    """(what it is about, sentence) of one run."""
    if table.empty:
        return []
    row: dict[str, Any] = {k: (None if pd.isna(v) else v) for k, v in table.iloc[0].to_dict().items()}
    fits = int(row["fits"] or 0)
    if row["fits_low"] is not None:
        words = (
            "Trained and tested again on other patients, the method would have a mean AUROC in "
            f"{interval_text(row['fits_low'], row['fits_high'])} (95 % interval by Nadeau and Bengio's correction; "
            f"mean of {fits} fits {number_text(row['fits_auroc'])})."
        )
    else:
        words = f"No interval over fits, because {row['fits_reason']}."
    if row["nested"] == "yes":
        words += " Its settings were searched inside each fold by validation patients: this is nested cross-validation."
    said = [("Other fits", words)]
    if row["shuffled_p"] is not None:
        words = (
            f"{capitalised(row['shuffled_what'])} reaches {number_text(row['shuffled_auroc'])} on true labels and "
            f"{number_text(row['shuffled_mean'])} on average of {int(row['shuffles'])} shuffles within sites, "
            f"{p_text(row['shuffled_p'])} (one-sided)."
        )
        said.append(("Shuffled labels", words))
    else:
        said.append(("Shuffled labels", f"Not estimated, because {row['shuffled_reason']}."))
    if row["power"] is not None:
        needed = row["patients_needed"]
        least = f"{int(needed):,} test patients" if needed is not None else "more than a million test patients"
        words = (
            f"Were the AUROC found the true one, {least} of this mix would tell it from chance in four of five "
            f"studies; as many as here would in {percent(row['power'])}."
        )
        said.append(("Patients needed", words))
    return said


def _drawn(tables: Mapping[str, pd.DataFrame], place: tuple[str, str, str]) -> dict[str, Markup]:
    run, split, target = place
    where, made = f"of {run}, {target}, split {split}", {}
    if len(tables["decision"]):
        made["decision"] = use_figures.decision_curve(_curve(tables["decision"]), f"Decision curve {where}",
                                                      _useful(tables["decision"]))  # fmt: skip
    kept = tables["abstention"].dropna(subset=["error"])
    if len(kept) > 1:
        coverage, error, low, high = (kept[c].to_numpy(float) for c in ("coverage", "error", "low", "high"))
        made["abstention"] = use_figures.abstention(
            coverage, error, low, high, f"Wrong decisions {where}", _abstained(tables["abstention"])
        )
    return made

"""Everything the page is made from, read once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scan2gene.core.errors import RunError
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.study import Study, input_roles
from scan2gene.core.study_runs import Run
from scan2gene.core.tables import (
    MEAN,
)
from scan2gene.core.text import estimate_text, listed, percent
from scan2gene.evaluate.power_tables import without_small_classes
from scan2gene.privacy.redaction import Redaction, redaction
from scan2gene.stats.intervals import Estimate
from scan2gene.tasks.outputs import by_question, one_vs_rest, patient_classes, question_names
from scan2gene.tasks.run_config import resolved

_PREDICTION_COLUMNS = [
    "run_id", "split", "repeat", "fold", "part", "variant", "site", "patient_id", "exam_id", "side", "unit", "target",
    "label", "y_true", "prob", "status", "reason",
]  # fmt: skip

ORIGINAL = "original"


@dataclass(frozen=True)
class Scored:
    """One figure on test patients: the estimate, and how many patients and sides of them are behind it."""

    estimate: Estimate
    n: int
    n_positive: int | None  # None of a target of several classes as a whole
    n_units: int | None = None  # sides, where a target has them

    @property
    def units(self) -> int:
        """What is scored: patients, or their sides."""
        return self.n if self.n_units is None else self.n_units

    @property
    def of_sides(self) -> str:
        """How many sides are scored, as it follows the number of patients; empty where there are none."""
        return f" with {self.units:,} sides" if self.units != self.n else ""

    @property
    def who(self) -> str:
        """Patients, sides of them, and how many are positive."""
        positive = "" if self.n_positive is None else f", {self.n_positive:,} positive"
        return f"{self.n:,} patients{self.of_sides}{positive}"


@dataclass(frozen=True)
class Inputs:
    """A finished run directory as tables; each class of a target stands against the rest as a target of its own."""

    study: Study
    out: Path
    stores: dict[str, Path]
    series: pd.DataFrame
    cohort: pd.DataFrame
    labels: pd.DataFrame
    exclusions: pd.DataFrame
    flow: list[dict[str, Any]]
    split: pd.DataFrame
    predictions: pd.DataFrame
    metrics: pd.DataFrame
    means: pd.DataFrame  # rows of metrics.csv over all targets of a run
    wholes: pd.DataFrame  # rows of metrics.csv of targets of several classes as a whole
    confusion: pd.DataFrame
    comparisons: pd.DataFrame
    thresholds: list[dict[str, Any]]
    results: dict[str, Any]
    called: dict[str, Any]
    stamps: list[dict[str, Any]]
    hide: Redaction

    @property
    def files(self) -> RunDirectory:
        """Its files."""
        return RunDirectory(self.out)

    @property
    def questions(self) -> list[str]:
        """Targets with two classes, and each class of the others against the rest."""
        return question_names(self.study.targets)

    @property
    def several(self) -> dict[str, list[str]]:
        """Targets of several classes, and these."""
        return {name: list(target.classes) for name, target in self.study.targets.items() if target.classes}

    def folds(self, split: str) -> list[tuple[int, int]]:
        """(repeat, fold) of a split, in order."""
        rows = self.split.loc[self.split["split"] == split, ["repeat", "fold"]].drop_duplicates()
        return sorted(rows.itertuples(index=False, name=None))

    def training_seconds(self, run: str, split: str) -> float | None:
        """What the fits of a run on a split took; None where no stamp says so."""
        stages = {f"train/{self.files.fit(run, split, *at).name}" for at in self.folds(split)}
        seconds = [s["seconds"] for s in self.stamps if s["stage"] in stages and "seconds" in s]
        return sum(seconds) if seconds else None

    def history(self, run: str, split: str) -> Iterator[tuple[int, int, pd.DataFrame]]:
        """(repeat, fold, history.csv) of a run's fits that have one; a baseline has none."""
        for repeat, fold in self.folds(split):
            history = self.files.fit(run, split, repeat, fold).history
            if history.exists():
                yield repeat, fold, pd.read_csv(history.path)

    def seen_roles(self) -> list[str]:
        """Roles that one network at least sees, or those of a study without runs."""
        of_runs = [role for config in resolved(self.study) for role in config.roles]
        return list(dict.fromkeys(of_runs)) or input_roles(self.study)

    def used_series(self) -> pd.DataFrame:
        """Rows of series.csv that networks see, with their role (column variable) and the cohort's patient id."""
        roles = [f"role:{role}" for role in self.seen_roles()]
        used = self.cohort.melt("patient_id", roles, value_name="series_id").dropna().astype({"series_id": str})
        return used.merge(self.series.drop(columns="patient_id"), on="series_id", how="inner")

    def wide_labels(self) -> pd.DataFrame:
        """patient_id x target: 1 where any side is positive, 0, or null where unknown; every patient has a row."""
        return patient_classes(self.labels).reindex(index=self.cohort["patient_id"].unique(), columns=self.questions)


def read_inputs(study: Study, out: Path, stores: dict[str, Path]) -> Inputs:
    """Read a run directory.

    Raises:
        RunError: A file is missing or was written by another version.
    """
    files = RunDirectory(out)
    series, cohort = files.series.read(), files.cohort.read()
    labels, exclusions = one_vs_rest(files.labels.read(), study.targets), files.exclusions.read()
    if not files.predictions.exists():
        raise RunError(f"predictions.parquet is missing in {out.name}. Run the stage predict first.")
    metrics = without_small_classes(files.metrics.read())
    over_targets = metrics["target"] == MEAN
    whole = metrics["target"].isin([name for name, target in study.targets.items() if target.classes])
    predictions = by_question(files.predictions.read(columns=_PREDICTION_COLUMNS))
    return Inputs(
        study=study,
        out=out,
        stores=stores,
        series=series,
        cohort=cohort,
        labels=labels,
        exclusions=exclusions,
        flow=files.flow.read(),
        split=files.split.read(),
        predictions=_original(predictions),
        metrics=metrics[~over_targets & ~whole],
        means=metrics[over_targets],
        wholes=metrics[whole],
        confusion=files.confusion.read() if whole.any() else pd.DataFrame(columns=list(files.confusion.columns)),
        comparisons=_compared(files.comparisons.read(), metrics[~over_targets]),
        thresholds=[row for row in files.thresholds.read() if row.get("variant", ORIGINAL) == ORIGINAL],
        results=_without_means(files.results.read()),
        called=files.called.read({}),
        stamps=files.stamps(),
        hide=redaction(study, out, (series, cohort, labels, exclusions)),
    )


def _without_means(results: dict[str, Any]) -> dict[str, Any]:
    """Results by run, split and target with two classes, without the means over targets."""

    def kept(targets: dict[str, Any]) -> dict[str, Any]:
        return {t: r for t, r in targets.items() if t != MEAN and "classes" not in r}

    return {run: {split: kept(targets) for split, targets in splits.items()} for run, splits in results.items()}


def _original(table: pd.DataFrame) -> pd.DataFrame:
    """Rows about exams as they are: none of altered ones, and none of single slices."""
    return table[(table["variant"] == ORIGINAL) & (table["unit"] != "slice")]


def _compared(comparisons: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """Comparisons of runs that have an AUROC; runs of too few patients are not compared either."""
    aurocs = metrics["metric"].isin(["auroc", "auroc_macro"])
    lacking = metrics[(metrics["variant"] == ORIGINAL) & aurocs & metrics["value"].isna()]
    nothing = set(lacking[["split", "target", "run_id"]].itertuples(index=False, name=None))
    pairs = comparisons[["split", "target", "best", "run_id"]].itertuples(index=False, name=None)
    kept = [not {(s, t, best), (s, t, run)} & nothing for s, t, best, run in pairs]
    return comparisons[pd.Series(kept, comparisons.index, dtype=bool)]


def estimate_of(row: Mapping[str, Any]) -> Estimate:
    """The estimate of a row with value, low, high and reason."""
    value, low, high = (None if pd.isna(row[c]) else float(row[c]) for c in ("value", "low", "high"))
    return Estimate(value, low, high, row["reason"] if isinstance(row["reason"], str) else "")


def estimate_or_reason(found: Estimate) -> str:
    """An estimate with its interval, or why there is none."""
    return estimate_text(found) if found.value is not None else f"cannot be estimated, because {found.reason}"


def baseline_columns(run: Run) -> tuple[str, ...]:
    """Columns of a clinical baseline; empty for every other model."""
    return tuple(run.model.options.get("columns", ())) if run.model.name == "clinical" else ()


def split_text(study: Study, name: str) -> str:
    """What a split is, in words."""
    split = next(s for s in study.splits if s.name == name)
    again = f", {split.repeats} times" if split.repeats > 1 else ""
    if split.external:
        sites = "those of site" if len(split.external) == 1 else "those of sites"
        again += f"; without {sites} {listed(split.external)}, which are external"
    if split.kind == "kfold":
        unit = "patient" if split.unit == "patient" else "slice, LEAKY"
        return f"{split.folds}-fold cross-validation by {unit}{again}"
    if split.kind == "holdout":
        units = "patients" if split.unit == "patient" else "slices (LEAKY)"
        return f"{percent(split.test_fraction, exact=True)} of the {units} held out for testing{again}"
    return f"each site tested once by networks that never saw it{again}"


def fitting_patients(study: Study, split: str = "") -> str:
    """Whose scores thresholds and calibration are learned from: of one split, or of all."""
    kinds = {s.has_validation for s in study.splits if split in ("", s.name)}
    words = {True: "validation patients of all folds", False: "patients tested in the other folds"}
    return " or, without a validation part, ".join(words[kind] for kind in (True, False) if kind in kinds)


def monitor_text(monitor: str) -> str:
    """What early stopping watches, in words: "auroc:IDH" -> "validation AUROC of IDH"."""
    metric, _, target = monitor.partition(":")
    name = {"auroc": "AUROC", "mcc": "MCC", "npv": "NPV", "f1": "F1"}.get(metric, metric.replace("_", " "))
    return f"validation {name}{f' of {target}' if target else ''}"

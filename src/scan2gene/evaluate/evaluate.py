"""The prediction table to figures: per patient or side, with thresholds from other patients, and intervals.

A target of several classes is scored class by class, each against the rest as a target with two classes, and then as a
whole (`multiclass`). The class that is predicted is the one of the largest probability.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.errors import RunError
from scan2gene.core.tables import COMPARISON_COLUMNS, CONFUSION_COLUMNS, EXTERNAL, MEAN, METRIC_COLUMNS, SLICE_LEVEL
from scan2gene.evaluate.compare_runs import compare_with_best
from scan2gene.evaluate.ensemble import ALL
from scan2gene.evaluate.means import counted, mean_over_targets
from scan2gene.evaluate.multiclass import WHOLE_METRICS, ClassSample, classes_of
from scan2gene.stats.intervals import Estimate
from scan2gene.stats.linear import logit, sigmoid
from scan2gene.stats.metrics import METRICS, auroc
from scan2gene.stats.resampling import PERSON, Sample
from scan2gene.stats.thresholds import g_mean_threshold

FOLD = ["run_id", "split", "variant", "repeat", "fold"]
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` gives: metrics, a threshold per fold and target, results by run, the best against others.

    `means` has rows as `metrics`, over all targets of a run that has several; `confusion` has rows with
    `CONFUSION_COLUMNS`, of targets of several classes.
    """

    metrics: pd.DataFrame
    thresholds: list[dict[str, Any]]
    results: dict[str, Any]
    comparisons: pd.DataFrame
    means: pd.DataFrame
    confusion: pd.DataFrame


def evaluate(predictions: pd.DataFrame, split: pd.DataFrame, draws: int, seed: int, fixed: str = "") -> Evaluation:
    """Score every run, split, variant and target on its test patients, or on their sides.

    Args:
        predictions: The prediction table from `by_question`; exams are averaged to patients first.
        split: split.csv, to see that nobody is missing.
        draws: Bootstrap draws.
        seed: Of the draws; one set of draws per target, so runs are compared on the same.
        fixed: The run that the others are compared with; "" takes the best of each metric.

    Raises:
        RunError: The table lacks a patient that the split names, repeats a row, or holds what is no probability.
    """
    slices = predictions["unit"] == "slice"
    check_complete(predictions[~slices], split)
    check_scores(predictions[~slices])
    patients = pd.concat([to_patients(predictions[~slices]), _as_units(predictions[slices])], ignore_index=True)
    thresholds = _thresholds(patients[patients["fold"] != ALL])
    tested = patients[patients["part"] == "test"]
    scored = list(_by_question(tested, with_decisions(tested, thresholds), draws, seed))
    wholes = list(_wholes(scored, classes_of(predictions), draws, seed))
    rows = [row for one in (*scored, *wholes) for row in one.rows()]
    metrics = pd.DataFrame(rows, columns=list(METRIC_COLUMNS))
    if wholes:  # a target of several classes has no number of positives
        metrics = metrics.astype({"n_positive": "Int64"})
    means = pd.DataFrame(_means([*scored, *wholes], draws, seed), columns=list(METRIC_COLUMNS))
    compared = pd.DataFrame(_compared([*scored, *wholes], draws, seed, fixed), columns=list(COMPARISON_COLUMNS))
    confusion = pd.DataFrame(_confusion(wholes), columns=list(CONFUSION_COLUMNS))
    return Evaluation(metrics, thresholds, _results([*scored, *wholes]), compared, means, confusion)


@dataclass(frozen=True)
class _Scored:
    """Figures of one run, split, variant and target, and what else results.json says of it."""

    run: str
    split: str
    variant: str
    target: str
    sample: Sample | ClassSample
    numbers: dict[str, Any]
    figures: dict[str, Estimate]
    more: dict[str, Any]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Of metrics.csv."""
        base = {"run_id": self.run, "split": self.split, "variant": self.variant, "target": self.target, **self.numbers}
        yield from ({**base, "metric": metric, **vars(figure)} for metric, figure in self.figures.items())


def _by_question(tested: pd.DataFrame, decided: pd.DataFrame, draws: int, seed: int) -> Iterator[_Scored]:
    """Every run, split, variant and target with two classes."""
    for (run, name, variant, target), table in tested.groupby(["run_id", "split", "variant", "target"]):
        scored = decided.loc[table.index].dropna(subset=["y_true", "prob"])
        sample = Sample(scored)
        units = scored.drop_duplicates([*PERSON, "unit_id"])
        numbers = {
            "n": units["patient_id"].nunique(),
            "n_units": len(units),
            "n_positive": int(units["y_true"].sum()),
            "n_failed": int((table["status"] != "ok").sum()),
            "n_rarer_patients": sample.fewest,
        }
        yield _Scored(str(run), str(name), str(variant), str(target), sample, numbers, _score(sample, draws, seed),
                      {"auroc_by_fold": _by_fold(scored)})  # fmt: skip


def _wholes(
    scored: Sequence[_Scored], classes: Mapping[str, Mapping[str, str]], draws: int, seed: int
) -> Iterator[_Scored]:
    """Every run, split, variant and target of several classes, from its classes; single slices have no such figures."""
    for (run, name, variant), found in _by_run(scored).items():
        for target, questions in classes.items():
            if variant == SLICE_LEVEL or not set(questions.values()) <= set(found):
                continue
            sample = ClassSample({label: found[q].sample for label, q in questions.items()})  # type: ignore[misc]
            numbers = {"n": sample.n_patients, "n_units": sample.n_units, "n_positive": None,
                       "n_failed": found[next(iter(questions.values()))].numbers["n_failed"],
                       "n_rarer_patients": sample.fewest}  # fmt: skip
            figures = {m: sample.interval(m, draws, seed) for m in WHOLE_METRICS}
            yield _Scored(run, name, variant, target, sample, numbers, figures, {"classes": sample.numbers})


def _by_run(scored: Sequence[_Scored]) -> dict[tuple[str, str, str], dict[str, _Scored]]:
    """(run, split, variant) -> target -> figures."""
    found: dict[tuple[str, str, str], dict[str, _Scored]] = {}
    for one in scored:
        found.setdefault((one.run, one.split, one.variant), {})[one.target] = one
    return found


def _results(scored: Sequence[_Scored]) -> dict[str, Any]:
    """results.json: by run, split and target; altered exams and ensembles as variants of these."""
    results: dict[str, Any] = {}
    for one in scored:
        result = {**one.numbers, "metrics": {m: vars(f) for m, f in one.figures.items()}, **one.more}
        place = results.setdefault(one.run, {}).setdefault(one.split, {}).setdefault(one.target, {})
        if one.variant == "original":
            place.update(result)
        else:
            place.setdefault("variants", {})[one.variant] = result
    return results


def _compared(scored: Sequence[_Scored], draws: int, seed: int, fixed: str) -> Iterator[dict[str, Any]]:
    """Rows of comparisons.csv: the best or fixed run of each split and target against the others."""
    places: dict[tuple[str, str], dict[str, _Scored]] = {}
    for one in scored:
        if one.variant == "original":
            places.setdefault((one.split, one.target), {})[one.run] = one
    for (name, target), runs in places.items():
        samples, figures = {r: s.sample for r, s in runs.items()}, {r: s.figures for r, s in runs.items()}
        for row in compare_with_best(samples, figures, draws, seed, fixed):
            yield {"split": name, "target": target, **row}


def _confusion(wholes: Sequence[_Scored]) -> Iterator[dict[str, Any]]:
    """Rows of confusion.csv: patients, or sides, by true class and class of the largest probability."""
    for one in wholes:
        if one.variant == "original" and isinstance(one.sample, ClassSample) and one.sample.n_units:
            counts, labels = one.sample.confusion(), list(one.sample.by_class)
            for true, predicted in product(range(len(labels)), repeat=2):
                yield {"run_id": one.run, "split": one.split, "target": one.target, "true": labels[true],
                       "predicted": labels[predicted], "n": counts[true, predicted]}  # fmt: skip


def _means(scored: Sequence[_Scored], draws: int, seed: int) -> Iterator[dict[str, Any]]:
    """Rows of metrics.csv over all targets of each run, split and variant that has several."""
    for (run, split, variant), found in _by_run(scored).items():
        of_classes = {q for name, s in found.items() if isinstance(s.sample, ClassSample)
                      for q in (f"{name}:{label}" for label in s.sample.by_class)}  # fmt: skip
        targets = {name: s for name, s in found.items() if name not in of_classes}
        if len(targets) < 2 or variant == SLICE_LEVEL:
            continue
        samples = {name: s.sample for name, s in targets.items()}
        base = {"run_id": run, "split": split, "variant": variant, "target": MEAN}
        base |= counted(samples, [s.numbers for s in targets.values()])
        for metric, figure in mean_over_targets(samples, draws, seed).items():
            yield {**base, "metric": metric, **vars(figure)}


def check_complete(predictions: pd.DataFrame, split: pd.DataFrame) -> None:
    """Refuse a table in which a patient of the split has no row, or a part differs from the split's.

    Raises:
        RunError: Naming the first ones.
    """
    keys = ["split", "repeat", "fold", "patient_id", "part"]
    wanted = set(split[keys].itertuples(index=False, name=None))
    tested = split.loc[split["part"] == "test", keys].assign(repeat=ALL, fold=ALL)
    predictions = predictions[(predictions["fold"] != ALL) | (predictions["part"] != EXTERNAL)]
    for (run, variant), table in predictions.groupby(["run_id", "variant"]):
        over_repeats = table["fold"] == ALL
        lacking = _differences(table.loc[~over_repeats, keys], wanted) if not over_repeats.all() else []
        for name, part in table[over_repeats].groupby("split"):
            lacking += _differences(part[keys], set(tested[tested["split"] == name].itertuples(index=False, name=None)))
        if lacking:
            raise RunError(
                f"predictions of run {run}{'' if variant == 'original' else f', {variant},'} do not cover the "
                f"split: {'; '.join(lacking)}. Run predict again."
            )


def check_scores(predictions: pd.DataFrame) -> None:
    """Refuse rows that count an exam twice, and scores that are no probabilities.

    Raises:
        RunError: Naming the first ones.
    """
    keys = [*FOLD, "part", "target", *PERSON, "exam_id", *(c for c in ("unit_id", "label") if c in predictions)]
    twice = predictions[predictions.duplicated(keys)]
    if len(twice):
        first = twice.iloc[0]
        raise RunError(
            f"predictions have {len(twice)} rows that repeat another one, such as run {first['run_id']}, fold "
            f"{first['fold']}, exam {first['exam_id']}. Run predict again."
        )
    wrong = predictions[(predictions["prob"] < 0) | (predictions["prob"] > 1)]
    if len(wrong):
        first = wrong.iloc[0]
        raise RunError(
            f"predictions have {len(wrong)} probabilities outside 0 to 1, such as {first['prob']:.3g} of run "
            f"{first['run_id']}. Give scores that are none to `scan2gene compare`."
        )


def _differences(table: pd.DataFrame, wanted: set[tuple[Any, ...]]) -> list[str]:
    have = set(table.itertuples(index=False, name=None))
    if have == wanted:
        return []
    return [f"missing {sorted(wanted - have)[:3]}, not in the split {sorted(have - wanted)[:3]}"]


def to_patients(predictions: pd.DataFrame) -> pd.DataFrame:
    """Exams to patients, or to their sides: mean probability over the exams that were predicted.

    A patient none of whose exams could be predicted keeps a row with status "failed".
    """
    keys = [*FOLD, "part", "target", *PERSON, "site"]
    grouped = predictions.groupby(keys, dropna=False, sort=True)
    table = grouped.agg(
        y_true=("y_true", "first"), prob=("prob", "mean"), exams=("exam_id", "nunique"), reason=("reason", "first")
    ).reset_index()
    table["status"] = np.where(table["prob"].notna(), "ok", "failed")
    return table.assign(unit_id="")


def _as_units(slices: pd.DataFrame) -> pd.DataFrame:
    """Rows of slices as a variant of their run: figures on single slices stand beside those of patients."""
    if not len(slices):
        return pd.DataFrame()
    columns = [*FOLD, "part", "target", *PERSON, "site", "y_true", "prob", "reason", "status", "unit_id"]
    return slices[columns].assign(variant=SLICE_LEVEL, exams=1)


def _thresholds(patients: pd.DataFrame) -> list[dict[str, Any]]:
    """One threshold per fold, variant and target, from the patients of its split and repeat that `fitting_rows` gives.

    Patients in the fold's own test part are left out: in k-fold they stand in the validation or test part
    of other folds too, and their labels must not choose the cut by which they are judged.
    """
    rows = []
    for key, table in patients.groupby(["run_id", "split", "variant", "repeat", "target"]):
        others, where = fitting_rows(table)
        others = others.dropna(subset=["y_true", "prob"])
        for fold, own in table.groupby("fold"):
            tested = own.loc[own["part"] == "test", "patient_id"]
            known = others[~others["patient_id"].isin(tested)]
            positives = int(known["y_true"].sum())
            reason = ""
            if 0 < positives < len(known):
                value = g_mean_threshold(known["y_true"].to_numpy(), known["prob"].to_numpy())
            else:
                value = DEFAULT_THRESHOLD
                reason = f"{where} {positives} positive of {len(known)} labelled patients; {value} is used"
            run, split, variant, repeat, target = key
            names = dict(zip([*FOLD, "target"], (run, split, variant, repeat, fold, target), strict=True))
            rows.append({**names, "threshold": value, "n": len(known), "n_positive": positives, "reason": reason})
    return rows


def fitting_rows(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Rows from which thresholds, calibration and prediction sets may be learned, and the begin of a reason.

    Those of the validation part; in a split without one, the test rows of all its folds, each scored by a network
    that did not learn from the patient. Whoever learns for a fold must leave out the patients whom it tests.

    Args:
        rows: Of one split, with part.
    """
    validation = rows[rows["part"] == "validation"]
    if len(validation):
        return validation, "validation has"
    return rows[rows["part"] == "test"], "there is no validation part, and the other folds test"


def with_decisions(tested: pd.DataFrame, thresholds: list[dict[str, Any]]) -> pd.DataFrame:
    """Test rows with the decision at their fold's threshold; the index stays.

    What stands for several repeats has no validation rows of its own that leave a patient's
    labels out, so each patient is judged at the mean logit of its members' thresholds.
    """
    cuts = pd.DataFrame(thresholds, columns=[*FOLD, "target", "threshold"])
    placed = tested.reset_index().merge(cuts, on=[*FOLD, "target"], how="left").set_index("index")
    person = ["run_id", "split", "target", *PERSON]
    members = placed[placed["variant"] == "original"]
    means = logit(members["threshold"]).groupby([members[c] for c in person]).mean().rename("mean").reset_index()
    joint = placed["fold"] == ALL
    shared = placed.loc[joint, person].merge(means, on=person, how="left")["mean"].to_numpy(float)
    placed.loc[joint, "threshold"] = sigmoid(shared)
    return placed.assign(decision=(placed["prob"] >= placed["threshold"]).astype(float))


def _score(sample: Sample, draws: int, seed: int) -> dict[str, Estimate]:
    """Every metric of one run, split, variant and target, with intervals over patients."""
    if sample.lacking:
        return {m: Estimate(None, reason=sample.lacking) for m in METRICS}
    sample.resampled(METRICS, draws, seed)
    return {m: sample.interval(m, draws, seed) for m in METRICS}


def _by_fold(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for (repeat, fold), part in table.groupby(["repeat", "fold"]):
        value = float(auroc(part["y_true"].to_numpy(), part["prob"].to_numpy()))
        rows.append(
            {
                "repeat": int(repeat),
                "fold": int(fold),
                "sites": sorted(part["site"].dropna().unique().tolist()),
                "n": part["patient_id"].nunique(),
                "n_units": len(part),
                "n_positive": int(part["y_true"].sum()),
                "auroc": None if np.isnan(value) else value,
            }
        )
    return rows

"""Means of standardised scores: several models as one, without choosing among them.

The score of each member is put in units of its spread over training patients who were left out by inner folds, or
over validation patients, or over those whom the other folds of the repeat test. The mean of such scores becomes log
odds by a logistic regression on the same patients. So a member that is sure of itself counts no more than another, and
the fold's own test part decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter

import numpy as np
import pandas as pd
from scipy.special import log_expit

from scan2gene.core.tables import PREDICTION_COLUMNS
from scan2gene.evaluate.ensemble import answers
from scan2gene.stats.linear import calibration_line, sigmoid
from scan2gene.tasks.multiclass import softmax_log_odds

SCALE_COLUMNS = (
    "run_id", "split", "repeat", "fold", "target", "side", "label", "member", "mean", "sd", "slope", "intercept", "n",
    "patients",
)  # fmt: skip
# whose scores place a member, the best first
KINDS = INNER, VALIDATION, OTHERS, TRAINING = "inner folds", "validation", "other folds", "training"
FEWEST = 10  # exams of these; below, the next kind is taken
_WORST = ("failed", "refused", "ok")
_FOLD = ["split", "repeat", "fold"]
_QUESTION = ["target", "side", "label"]
_UNIT = ["patient_id", "exam_id", *_QUESTION]


def ordered(members: Mapping[str, Sequence[str]]) -> list[str]:
    """Names of the means, each after those that are its members."""
    return [
        name for name in TopologicalSorter({n: list(m) for n, m in members.items()}).static_order() if name in members
    ]


def standardised_means(
    predictions: pd.DataFrame, inner: pd.DataFrame, members: Mapping[str, Sequence[str]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every mean, fold by fold.

    Args:
        predictions: Prediction table of the runs; see `answers`.
        inner: Rows of the same form, of training exams by inner folds without them; runs without have none.
        members: Name -> names of runs or of other means.

    Returns:
        Rows as of one run, of variant "original"; and what places the members, columns `SCALE_COLUMNS`.
    """
    rows_of_runs = answers(predictions)
    tested = rows_of_runs[rows_of_runs["part"] == "test"]
    answered, references = {}, {}
    for (run, *fold), rows in rows_of_runs.groupby(["run_id", *_FOLD], sort=False):
        answered[run, *fold] = rows
        of_fit = inner[(inner[["run_id", *_FOLD]] == [run, *fold]).all(axis=1)] if len(inner) else inner
        references[run, *fold] = _reference(rows, of_fit, _tested_elsewhere(tested, run, fold))
    tables, scales = [], []
    for name in ordered(members):
        for fold in [key[1:] for key in answered if key[0] == members[name][0]]:
            parts = [(member, *references[member, *fold]) for member in members[name]]
            questions = answered[members[name][0], *fold][_QUESTION].drop_duplicates()
            scale, reference = _scales(name, fold, parts, questions)
            rows = _answer(name, {member: answered[member, *fold] for member in members[name]}, scale)
            answered[name, *fold] = rows
            references[name, *fold] = reference, str(scale["patients"].iloc[0])
            tables.append(rows)
            scales.append(scale)
    if not tables:
        return pd.DataFrame(columns=list(PREDICTION_COLUMNS)), pd.DataFrame(columns=list(SCALE_COLUMNS))
    return _concat(tables), _concat(scales)


def _concat(tables: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True)


def _tested_elsewhere(tested: pd.DataFrame, run: str, fold: Sequence) -> pd.DataFrame:
    """Test rows of the other folds of a repeat, without the patients whom this one tests."""
    rows = tested[(tested[["run_id", *_FOLD[:2]]] == [run, *fold[:2]]).all(axis=1)]
    mine = rows.loc[rows["fold"] == fold[2], "patient_id"]
    return rows[~rows["patient_id"].isin(mine)]


def _reference(rows: pd.DataFrame, inner: pd.DataFrame, elsewhere: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Scores that say how a member does on patients whom it did not learn from, and whose they are."""
    validation = rows[rows["part"] == "validation"]
    if len(inner):
        return _concat([inner, validation]).dropna(subset=["logit"]), INNER
    if validation["exam_id"].nunique() >= FEWEST:
        return validation.dropna(subset=["logit"]), VALIDATION
    if validation.empty and elsewhere["exam_id"].nunique() >= FEWEST:
        return elsewhere.dropna(subset=["logit"]), OTHERS
    return rows[rows["part"].isin(["train", "validation"])].dropna(subset=["logit"]), TRAINING


def _scales(
    name: str, fold: Sequence, members: Sequence[tuple[str, pd.DataFrame, str]], questions: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """What places the members of a mean in one fold, question by question; and the mean's own reference.

    Args:
        name: Of the mean.
        fold: Split, repeat, fold.
        members: Name, reference rows and whose these are, of each.
        questions: Target, side and label of every answer.
    """
    wide = _wide({member: rows for member, rows, _ in members}).dropna()
    truth = pd.concat([rows for _, rows, _ in members]).drop_duplicates(_UNIT).set_index(_UNIT)["y_true"]
    weakest = max((kind for *_, kind in members), key=KINDS.index)
    scale, log_odds = [], pd.Series(np.nan, wide.index)
    of_question = dict(list(wide.groupby(level=_QUESTION, dropna=False)))
    for question in questions.itertuples(index=False, name=None):
        rows = of_question.get(question, wide.iloc[:0])
        middle, spread = rows.mean().fillna(0.0), rows.std(ddof=0)
        spread = spread.where(spread > 1e-9, 1.0)
        z = ((rows - middle) / spread).mean(axis=1)
        slope, intercept = calibration_line(z.to_numpy(float), truth.reindex(z.index).to_numpy(float))
        log_odds[z.index] = slope * z + intercept
        scale += [(name, *fold, *question, m, middle[m], spread[m], slope, intercept, len(rows), weakest) for m in wide]
    reference = log_odds.rename("logit").reset_index().assign(y_true=truth.reindex(wide.index).to_numpy(float))
    return pd.DataFrame(scale, columns=list(SCALE_COLUMNS)), reference


def _answer(name: str, members: Mapping[str, pd.DataFrame], scale: pd.DataFrame) -> pd.DataFrame:
    """Rows of a mean in one fold.

    Args:
        name: Of the mean.
        members: Name -> rows.
        scale: Rows of `SCALE_COLUMNS` of this mean and fold.
    """
    scores = _wide(members)
    of = pd.MultiIndex.from_frame(scores.index.to_frame()[_QUESTION])
    placed = scale.pivot_table(index=_QUESTION, columns="member", values=["mean", "sd", "slope", "intercept"])
    placed = placed.reindex(of)
    z = sum(
        (scores[m] - placed["mean", m].to_numpy()) / placed["sd", m].to_numpy() for m in scores
    ) / scores.shape[1]  # fmt: skip
    first = scores.columns[0]
    log_odds = placed["slope", first].to_numpy() * z + placed["intercept", first].to_numpy()
    return _rows(name, list(members.values()), _of_classes(log_odds))


def _wide(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row per unit and label, a column per member."""
    return pd.DataFrame(
        {m: t.drop_duplicates(_UNIT).set_index(_UNIT)["logit"].astype(float) for m, t in tables.items()}
    )


def _of_classes(log_odds: pd.Series) -> pd.Series:
    """Of several classes log odds whose probabilities add up to 1."""
    adjusted = log_odds.copy()
    for _, of_target in log_odds.groupby(level="target", sort=False):
        labels = of_target.index.get_level_values("label").unique()
        if len(labels) > 1:
            wide = of_target.unstack("label")[labels]
            wide.loc[:, :] = softmax_log_odds(log_expit(wide.to_numpy(float)))
            adjusted[of_target.index] = wide.stack(future_stack=True).reorder_levels(_UNIT).reindex(of_target.index)
    return adjusted


def _rows(name: str, members: Sequence[pd.DataFrame], log_odds: pd.Series) -> pd.DataFrame:
    """Rows as of one run; failed or refused, with the first reason, where a member is."""
    tables = [m.drop_duplicates(_UNIT).set_index(_UNIT) for m in members]
    z = log_odds.reindex(tables[0].index)
    table, lost = tables[0].assign(run_id=name, variant="original", logit=z, prob=sigmoid(z)), z.isna()
    notes = pd.concat([m[["status", "reason"]] for m in tables]).fillna("")
    notes = notes[(notes["status"] != "ok") | (notes["reason"] != "")]
    notes = notes.sort_values("status", key=lambda s: s.map(_WORST.index), kind="stable")
    notes = notes[~notes.index.duplicated()].reindex(table.index)
    table["status"] = notes["status"].where(notes["status"] != "ok").fillna("failed").where(lost, "ok")
    table["reason"] = notes["reason"].fillna("a member has no answer").where(lost | notes["reason"].notna(), "")
    return table.reset_index()[list(PREDICTION_COLUMNS)]


def applied_means(
    predictions: pd.DataFrame, members: Mapping[str, Sequence[str]], scales: pd.DataFrame
) -> pd.DataFrame:  # fmt: skip
    """The same of other exams, or altered copies: nothing is learned, `scales` places the members.

    Args:
        predictions: By the fits of the runs, of one variant; a mean whose members have no rows is left out.
        members: Name -> names of runs or of other means.
        scales: From `standardised_means`.
    """
    answered = dict(list(predictions.groupby(["run_id", *_FOLD], sort=False)))
    numbers = dict.fromkeys(("mean", "sd", "slope", "intercept"), float)
    scales = scales.assign(side=scales["side"].fillna("")).astype(numbers)
    of_fold = dict(list(scales.groupby(["run_id", *_FOLD], sort=False)))
    tables = []
    for name in ordered(members):
        for fold in [key[1:] for key in answered if key[0] == members[name][0]]:
            parts = {member: answered.get((member, *fold)) for member in members[name]}
            if any(part is None for part in parts.values()):
                continue
            rows = _answer(name, {m: part for m, part in parts.items() if part is not None}, of_fold[name, *fold])
            answered[name, *fold] = rows
            tables.append(rows)
    return _concat(tables) if tables else predictions[:0]

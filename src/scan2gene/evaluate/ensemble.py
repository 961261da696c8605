"""Ensembles as functions of the prediction table: the mean logit, or probability, of several networks.

Within one k-fold split a patient is tested by one network only, so the networks of its folds
are no ensemble for the patients of the study. They are one for exams that none of them has
seen, and the networks that tested a patient in each repeat of a split are one for that patient.

Of several classes the logarithms of probabilities are averaged, and a softmax makes them add up to 1 again. Averaged
probabilities do so by themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import log_expit

from scan2gene.core.tables import EXTERNAL, PREDICTION_COLUMNS, without_slices
from scan2gene.stats.linear import logit, sigmoid
from scan2gene.tasks.multiclass import softmax_log_odds

ALL = -1  # repeat and fold of a row that stands for several
ENSEMBLE = "ensemble"
FORCED = "forced: "  # begins the reason of an exam that would have been refused
_UNIT = ["patient_id", "exam_id", "unit_id", "side", "target", "label"]


def ensemble(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean logit over all networks of a run, for exams that none of them has learned from.

    Args:
        rows: Prediction table of one variant; every row of a run, exam, side and target is a member.

    Returns:
        Columns `PREDICTION_COLUMNS`, variant "ensemble", repeat and fold -1; split is empty where
        members come from several. Failed, with the first reason, where one member failed.
    """
    return _mean(rows, ["run_id"])


def repeat_ensembles(predictions: pd.DataFrame) -> pd.DataFrame:
    """Mean logit over the repeats of a split, each by the network that had the patient in its test part.

    Args:
        predictions: Prediction table; its "original" test rows are the members.

    Returns:
        As `ensemble`, part "test"; no rows for splits with one repeat, or in which some
        patients were not tested in every repeat.
    """
    own = without_slices(predictions[predictions["variant"] == "original"])
    tested = own[own["part"] == "test"]
    found = []
    for _, rows in tested.groupby(["run_id", "split"], sort=False):
        repeats = rows["repeat"].nunique()
        times = rows.groupby(_UNIT)["repeat"].agg(["size", "nunique"])
        if repeats > 1 and (times == repeats).all(axis=None):
            found.append(_mean(rows, ["run_id", "split"]))
    return _joined(found)


def external_ensembles(predictions: pd.DataFrame) -> pd.DataFrame:
    """Mean logit over all networks of a split, for the patients of its external sites.

    Args:
        predictions: Prediction table; its "original" rows of part "external" are the members.

    Returns:
        As `ensemble`, part "external"; no rows for a split without such patients.
    """
    own = without_slices(predictions[predictions["variant"] == "original"])
    outside = own[own["part"] == EXTERNAL]
    return _joined(_mean(rows, ["run_id", "split"]) for _, rows in outside.groupby(["run_id", "split"], sort=False))


def answers(predictions: pd.DataFrame) -> pd.DataFrame:
    """Rows by which runs count in an ensemble, as "original": the means over mirrored copies where a run has these."""
    own = without_slices(predictions)
    mirrored = own.loc[own["variant"] == "tta", "run_id"].unique()
    wanted = np.where(own["run_id"].isin(mirrored), "tta", "original")
    return own[own["variant"] == wanted].assign(variant="original")


def run_ensembles(
    predictions: pd.DataFrame, members: Mapping[str, Sequence[str]], of_probabilities: Collection[str] = ()
) -> pd.DataFrame:
    """Mean logit, or mean probability, over several runs, fold by fold.

    Args:
        predictions: Prediction table; see `answers`.
        members: Name of the ensemble -> names of its runs.
        of_probabilities: Ensembles whose probabilities are averaged; their logit is that of the mean.

    Returns:
        Rows as of one run, with the ensemble's name as run_id and variant "ensemble".
    """
    own = answers(predictions)
    fold = ["split", "repeat", "fold"]
    found = [
        _mean(own[own["run_id"].isin(runs)].assign(run_id=name), ["run_id", *fold], name in of_probabilities)
        for name, runs in members.items()
    ]
    return _joined(found)


def _mean(rows: pd.DataFrame, by: list[str], of_probabilities: bool = False) -> pd.DataFrame:
    """One row for all members that agree in `by` and the unit; what differs between members is -1 or empty."""
    several = rows.groupby("target")["label"].transform("nunique") > 1
    rows = rows.assign(score=rows["logit"].where(~several, log_expit(rows["logit"].to_numpy(float))))
    grouped = rows.sort_values(["run_id", "split", "repeat", "fold"], kind="stable").groupby([*by, *_UNIT], sort=True)
    table = grouped.first().drop(columns=["reason"])
    whole = grouped["logit"].count() == grouped.size()
    if of_probabilities:
        table["prob"] = grouped["prob"].mean().where(whole)
        table["logit"] = logit(table["prob"])
    else:
        table["logit"] = _softmax(grouped["score"].mean().where(whole))
        table["prob"] = sigmoid(table["logit"])
    lost = rows[rows["logit"].isna()].groupby([*by, *_UNIT])[["status", "reason"]].first().reindex(table.index)
    table["status"] = lost["status"].replace("ok", "failed").fillna("ok")
    forced = rows[rows["reason"].fillna("").str.startswith(FORCED)].groupby([*by, *_UNIT])["reason"].first()
    table["reason"] = lost["reason"].fillna(forced.reindex(table.index)).fillna("")
    table["variant"] = ENSEMBLE
    for column, several in (("split", ""), ("repeat", ALL), ("fold", ALL)):
        if column not in by:
            table[column] = table[column].where(grouped[column].nunique() == 1, several) if column == "split" else ALL
    return table.reset_index()[list(PREDICTION_COLUMNS)]


def _softmax(scores: pd.Series) -> pd.Series:
    """Log odds of classes from their mean log probabilities; the index ends with target and label."""
    made, target = scores.copy(), scores.index.get_level_values("target")
    for name in target.unique():
        own = target == name
        labels = scores.index.get_level_values("label")[own].nunique()
        if labels > 1:
            made[own] = softmax_log_odds(scores[own].to_numpy(float).reshape(-1, labels)).ravel()
    return made


def _joined(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    tables = list(tables)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(PREDICTION_COLUMNS))

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
from scan2gene.stats.linear import ridge_logistic, sigmoid
from scan2gene.tasks.multiclass import softmax_log_odds

SCALE_COLUMNS = (
    "run_id", "split", "repeat", "fold", "target", "side", "label", "member", "mean", "sd", "slope", "intercept", "n",
    "patients",
)  # fmt: skip
# whose scores place a member, the best first
KINDS = INNER, VALIDATION, OTHERS, TRAINING = "inner folds", "validation", "other folds", "training"
FEWEST = 10  # exams of these; below, the next kind is taken
SLOPE = 0.05  # at least: what fails within the training part is not turned round
PULL = 10.0  # inverse of the ridge penalty on that slope
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
    own = answers(predictions)
    tested = own[own["part"] == "test"]
    known, references = {}, {}
    for (run, *fold), rows in own.groupby(["run_id", *_FOLD], sort=False):
        known[run, *fold] = rows
        mine = inner[(inner[["run_id", *_FOLD]] == [run, *fold]).all(axis=1)] if len(inner) else inner
        references[run, *fold] = _reference(rows, mine, _tested_elsewhere(tested, run, fold))
    tables, scales = [], []
    for name in ordered(members):
        for fold in [key[1:] for key in known if key[0] == members[name][0]]:
            parts = [(m, known[m, *fold], *references[m, *fold]) for m in members[name]]
            rows, scale, reference = _mean(name, fold, parts)
            known[name, *fold], references[name, *fold] = rows, reference
            tables.append(rows)
            scales.append(scale)
    empty = pd.DataFrame(columns=list(PREDICTION_COLUMNS)), pd.DataFrame(columns=list(SCALE_COLUMNS))
    return (_concat(tables), _concat(scales)) if tables else empty


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


def _mean(
    name: str, fold: Sequence, members: Sequence[tuple[str, pd.DataFrame, pd.DataFrame, str]]
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[pd.DataFrame, str]]:  # fmt: skip
    """Rows of one fold, what places the members, and the mean's own reference."""
    scores = _wide({m: rows for m, rows, _, _ in members})
    reference = _wide({m: rows for m, _, rows, _ in members}).dropna()
    truth = pd.concat([r for _, _, r, _ in members]).drop_duplicates(_UNIT).set_index(_UNIT)["y_true"]
    weakest = max((kind for *_, kind in members), key=KINDS.index)
    log_odds, back = pd.Series(np.nan, scores.index), pd.Series(np.nan, reference.index)
    scale = []
    for question in scores.index.droplevel(["patient_id", "exam_id"]).unique():
        here, there = (t.xs(question, level=_QUESTION, drop_level=False) if len(t) else t for t in (scores, reference))
        at, width = there.mean(), there.std(ddof=0)
        width = width.where(width > 1e-9, 1.0).fillna(1.0)
        z, z_there = ((t - at.fillna(0)) / width for t in (here, there))
        z, z_there = z.mean(axis=1, skipna=False), z_there.mean(axis=1)
        y = truth.reindex(z_there.index).to_numpy(float)
        slope, intercept = _line(z_there.to_numpy(float), y)
        log_odds[z.index], back[z_there.index] = slope * z + intercept, slope * z_there + intercept
        scale += [
            (name, *fold, *question, m, at[m], width[m], slope, intercept, len(there), weakest) for m in scores.columns
        ]
    rows = _rows(name, [rows for _, rows, _, _ in members], _of_classes(log_odds))
    own = back.rename("logit").reset_index().assign(y_true=truth.reindex(back.index).to_numpy(float))
    return rows, pd.DataFrame(scale, columns=list(SCALE_COLUMNS)), (own, weakest)


def _wide(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row per unit and label, a column per member."""
    return pd.DataFrame(
        {m: t.drop_duplicates(_UNIT).set_index(_UNIT)["logit"].astype(float) for m, t in tables.items()}
    )


def _line(z: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and intercept from a mean of standardised scores to log odds."""
    told = ~np.isnan(y) & ~np.isnan(z)
    if len(np.unique(y[told])) < 2:
        return 1.0, 0.0
    slope, intercept = ridge_logistic(z[told, None], y[told], PULL)
    return max(float(slope[0]), SLOPE), float(intercept)


def _of_classes(log_odds: pd.Series) -> pd.Series:
    """Of several classes log odds whose probabilities add up to 1."""
    made = log_odds.copy()
    for _, own in log_odds.groupby(level="target", sort=False):
        labels = own.index.get_level_values("label").unique()
        if len(labels) > 1:
            wide = own.unstack("label")[labels]
            wide.loc[:, :] = softmax_log_odds(log_expit(wide.to_numpy(float)))
            made[own.index] = wide.stack(future_stack=True).reorder_levels(_UNIT).reindex(own.index)
    return made


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
    known = dict(list(predictions.groupby(["run_id", *_FOLD], sort=False)))
    numbers = dict.fromkeys(("mean", "sd", "slope", "intercept"), float)
    keyed = scales.assign(side=scales["side"].fillna("")).astype(numbers).set_index(["run_id", *_FOLD])
    tables = []
    for name in ordered(members):
        for key in [k for k in list(known) if k[0] == members[name][0]]:
            parts = [known.get((m, *key[1:])) for m in members[name]]
            if any(part is None for part in parts):
                continue
            own = keyed.loc[[(name, *key[1:])]].set_index([*_QUESTION, "member"])
            scores = _wide(dict(zip(members[name], parts, strict=True)))
            of = scores.index.droplevel(["patient_id", "exam_id"])
            z = sum(
                (scores[m] - own.xs(m, level="member")["mean"].reindex(of).to_numpy())
                / own.xs(m, level="member")["sd"].reindex(of).to_numpy()
                for m in scores.columns
            ) / scores.shape[1]  # fmt: skip
            line = own.xs(members[name][0], level="member")[["slope", "intercept"]].reindex(of)
            log_odds = pd.Series(line["slope"].to_numpy() * z + line["intercept"].to_numpy(), scores.index)
            rows = _rows(name, parts, _of_classes(log_odds))
            known[name, *key[1:]] = rows
            tables.append(rows)
    return _concat(tables) if tables else predictions[:0]

"""Late fusion: several answers about one exam, by sequence, plane or run, weighed by what validation says.

A target of several classes has one weight for each member, not one for each class: the logarithms of the members'
probabilities are weighed, and a softmax makes the fused ones add up to 1 again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import log_expit, logsumexp

from scan2gene.core.tables import PREDICTION_COLUMNS, WEIGHT_COLUMNS, without_slices
from scan2gene.stats.linear import sigmoid
from scan2gene.tasks.multiclass import softmax_log_odds

PULL = 2.0  # exams that ask for equal weights
LATE = "late fusion"  # variant of what is fused from several runs
_UNIT = ["patient_id", "exam_id", "unit_id", "part", "label"]
_FOLD = ["split", "repeat", "fold", "target", "side"]


def late_weights(logits: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, str]:
    """Weights of members, none negative and 1 in sum, that fit the labels of validation exams best.

    The log loss of the weighted mean logit, drawn towards equal weights as if `PULL` more exams
    asked for them: with few exams the weights stay near each other.

    Args:
        logits: (N, M) of validation exams, NaN where a member has no answer; of K classes log probabilities (N, K, M).
        y: (N,) 0, 1 or NaN; of K classes (N, K).

    Returns:
        (M,) weights, and why they are equal; empty where they were learned.
    """
    members, several = logits.shape[-1], y.ndim > 1
    equal = np.full(members, 1 / members)
    known = ~np.isnan(y[:, 0] if several else y) & ~np.isnan(logits[:, 0] if several else logits).all(axis=1)
    logits, y = logits[known], y[known]
    if several and (members == 1 or (y.sum(axis=0) > 0).sum() < 2):
        return equal, f"validation has {len(y)} labelled exams, not of two classes; all weigh the same"
    if not several and (members == 1 or not 0 < y.sum() < len(y)):
        return equal, f"validation has {int(y.sum())} positive of {len(y)} labelled exams; all weigh the same"
    from scipy.optimize import minimize

    def cost(raw: np.ndarray) -> float:
        weights = _shares(raw)
        z = weighted(logits, weights)
        loss = logsumexp(z, axis=1) - (y * z).sum(axis=1) if several else np.logaddexp(0, z) - y * z
        return float(loss.sum() + PULL * members * ((weights - equal) ** 2).sum())

    return _shares(minimize(cost, np.zeros(members), method="BFGS").x), ""


def weighted(logits: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(...) weighted mean of the members (..., M) that have an answer; NaN where none has."""
    have = ~np.isnan(logits)
    total = (have * np.maximum(weights, 1e-12)).sum(axis=-1)  # the only answer counts, however small its weight
    with np.errstate(invalid="ignore"):
        return np.where(have, logits * np.maximum(weights, 1e-12), 0).sum(axis=-1) / np.where(total > 0, total, np.nan)


def _shares(raw: np.ndarray) -> np.ndarray:
    risen = np.exp(raw - raw.max())
    return risen / risen.sum()


def late_ensembles(
    predictions: pd.DataFrame, members: Mapping[str, Sequence[str]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Weighted mean logit of several runs, fold by fold and target by target; weights from each fold's validation.

    Args:
        predictions: Prediction table; its "original" rows of exams and sides are the members.
        members: Name of the fusion -> names of its runs.

    Returns:
        Rows as of one run, with the fusion's name as run_id and variant "late fusion", failed where
        no member answered; and the weights, columns `WEIGHT_COLUMNS`.
    """
    own = without_slices(predictions[predictions["variant"] == "original"])
    tables, kept = [], []
    for name, runs in members.items():
        for fold, rows in own[own["run_id"].isin(runs)].groupby(_FOLD, sort=False, dropna=False):
            table, logits = _of_members(rows, runs)
            part, y = table.index.get_level_values("part"), table["y_true"].to_numpy(float)
            labels = table.index.get_level_values("label").nunique()
            of_exams = logits
            if labels > 1:
                part, y, of_exams = part[::labels], y.reshape(-1, labels), logits.reshape(-1, labels, len(runs))
            of_validation = (part == "validation").nonzero()[0]
            weights, reason = late_weights(of_exams[of_validation], y[of_validation])
            tables.append(_fused(table, name, weighted(logits, weights)))
            kept += [(name, *fold, m, w, len(of_validation), reason) for m, w in zip(runs, weights, strict=True)]
    empty = pd.DataFrame(columns=list(PREDICTION_COLUMNS))
    return (pd.concat(tables, ignore_index=True) if tables else empty), pd.DataFrame(kept, columns=list(WEIGHT_COLUMNS))


def late_applied(predictions: pd.DataFrame, members: Mapping[str, Sequence[str]], kept: pd.DataFrame) -> pd.DataFrame:
    """As `late_ensembles`, of new exams: nothing is learned, the weights are those of each fold's validation.

    Args:
        predictions: Of new exams by the fold networks of some runs.
        members: Name of the fusion -> names of its runs; those with a run that has no rows are left out.
        kept: fusion_weights.csv of the run directory.

    Returns:
        Rows as of one run; refused where a member was refused.
    """
    own = predictions[predictions["variant"] == "original"]
    here, tables = set(own["run_id"]), []
    keys = kept.assign(side=kept["side"].fillna("")).astype({"repeat": int, "fold": int, "weight": float})
    for name, runs in members.items():
        if not set(runs) <= here:
            continue
        weights = keys[keys["run_id"] == name].set_index([*_FOLD, "member"])["weight"]
        for fold, rows in own[own["run_id"].isin(runs)].groupby(_FOLD, sort=False, dropna=False):
            table, logits = _of_members(rows, runs)
            wanted = np.array([weights[(*fold, run)] for run in runs])
            refused = rows[rows["status"] == "refused"].drop_duplicates(_UNIT).set_index(_UNIT)["reason"]
            mine = table.index.isin(refused.index)
            fused = _fused(table, name, np.where(mine, np.nan, weighted(logits, wanted))).set_index(_UNIT)
            fused.loc[mine, "status"] = "refused"
            fused.loc[mine, "reason"] = refused.reindex(fused.index[mine])
            tables.append(fused.reset_index()[list(PREDICTION_COLUMNS)])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(PREDICTION_COLUMNS))


def _of_members(rows: pd.DataFrame, runs: Sequence[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """One row per unit and label, those of a unit together, and the logits (N, M) of the members.

    Of several classes these are log probabilities.
    """
    table = rows.drop_duplicates(_UNIT).set_index(_UNIT)
    wide = rows.pivot(index=_UNIT, columns="run_id", values="logit")
    if table.index.get_level_values("label").nunique() > 1:
        table, wide = table.sort_index(), log_expit(wide)
    wide = wide.reindex(index=table.index, columns=list(runs))
    return table, wide.to_numpy(float)


def _fused(table: pd.DataFrame, name: str, z: np.ndarray) -> pd.DataFrame:
    labels = table.index.get_level_values("label").nunique()
    z = softmax_log_odds(z.reshape(-1, labels)).ravel() if labels > 1 else z
    lost = np.isnan(z)
    table = table.assign(run_id=name, variant=LATE, logit=z, prob=sigmoid(z))
    table["status"] = np.where(lost, "failed", "ok")
    table["reason"] = np.where(lost, table["reason"], "")
    return table.reset_index()[list(PREDICTION_COLUMNS)]

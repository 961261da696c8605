"""`make bench`: patient-bootstrap draws of every metric, beside scikit-learn in a loop.

scikit-learn's functions take one weighting at a time, and take no NumPy pass over draws; their loop is timed for
a few draws of one model and target and multiplied, which the table says.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import sklearn.metrics as sk
from timing import once

from scan2gene.stats.metrics import METRICS
from scan2gene.stats.resampling import Sample, drawn_counts

PATIENTS, TARGETS, MODELS, DRAWS, LOOPED = 1_000, 4, 6, 10_000, 20


def samples() -> list[Sample]:
    """A table of scores for every model and target, in one fold."""
    rng = np.random.default_rng(0)
    found = []
    for target in range(TARGETS):
        y = (rng.random(PATIENTS) < (0.2, 0.3, 0.4, 0.5)[target]).astype(float)
        for _ in range(MODELS):
            prob = 1 / (1 + np.exp(-rng.normal(1.2 * y - 0.6)))
            table = {"repeat": 0, "fold": 0, "patient_id": [f"P{n:04d}" for n in range(PATIENTS)], "side": ""}
            found.append(Sample(pd.DataFrame(table | {"y_true": y, "prob": prob, "decision": 1.0 * (prob >= 0.5)})))
    return found


def ours() -> None:
    """All models and targets, with their intervals."""
    drawn_counts.cache_clear()
    for sample in samples():
        sample.resampled(METRICS, DRAWS, 1)
        for metric in METRICS:
            sample.interval(metric, DRAWS, 1)


def theirs() -> None:
    """`LOOPED` draws of one model and target by scikit-learn; no intervals."""
    table = samples()[0].table
    y, prob, decision = (table[c].to_numpy() for c in ("y_true", "prob", "decision"))
    rng = np.random.default_rng(1)
    for _ in range(LOOPED):
        rows = np.concatenate([rng.choice(np.flatnonzero(y == c), int((y == c).sum())) for c in (0, 1)])
        t, p, d = y[rows], prob[rows], decision[rows]
        fpr, tpr, _ = sk.roc_curve(t, p)
        np.interp(0.1, fpr, tpr)
        sk.roc_auc_score(t, p)
        sk.average_precision_score(t, p)
        sk.brier_score_loss(t, p)
        sk.accuracy_score(t, d)
        sk.balanced_accuracy_score(t, d)
        sk.precision_score(t, d)
        sk.precision_score(1 - t, 1 - d)
        sk.recall_score(t, d)
        sk.recall_score(1 - t, 1 - d)
        sk.f1_score(t, d)
        sk.matthews_corrcoef(t, d)


def lines() -> list[str]:
    """The table for RESULTS.md."""
    theirs()
    mine = float(np.median([once(ours) for _ in range(3)]))
    loop = float(np.median([once(theirs) for _ in range(3)])) * DRAWS / LOOPED * TARGETS * MODELS
    return [
        f"| {DRAWS:,} draws of {len(METRICS)} metrics, {PATIENTS:,} patients x {TARGETS} targets x {MODELS} models "
        "| seconds | ratio |",
        "|---|---|---|",
        f"| scan2gene, with BCa intervals | {mine:.1f} | 1 |",
        f"| scikit-learn in a loop, draws only | {loop:,.0f} | {loop / mine:,.0f} |",
        "",
        f"scikit-learn's seconds are extrapolated from {LOOPED} draws of one model and target. Sensitivity at 90 % "
        "specificity is read off its ROC curve.",
    ]


if __name__ == "__main__":
    print("\n".join(lines()))

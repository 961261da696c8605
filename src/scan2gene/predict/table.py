"""The prediction table: every exam of a split, one row per target, failures too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from scan2gene.core.tables import PREDICTION_COLUMNS


def prediction_rows(
    run_id: str,
    fold: Mapping[str, object],
    parts: Mapping[str, str],
    cohort: pd.DataFrame,
    labels: pd.DataFrame,
    targets: Sequence[str],
    logits: Mapping[str, np.ndarray],
    failed: Mapping[str, str],
) -> pd.DataFrame:
    """Rows of one run and fold.

    Args:
        run_id: Name of the run.
        fold: split, repeat, fold.
        parts: patient_id -> train, validation or test.
        cohort: Rows of cohort.csv; every exam of a patient in `parts` gets rows.
        labels: Long label table.
        targets: Names, in the order of the logits.
        logits: exam_id -> (T,).
        failed: exam_id -> reason, where there are no logits.

    Returns:
        Columns `PREDICTION_COLUMNS`; unknown labels and failed predictions are null.
    """
    known = labels.set_index(["patient_id", "target"])["value"].to_dict()
    rows = []
    for exam in cohort.to_dict("records"):
        patient, exam_id = exam["patient_id"], exam["exam_id"]
        values = logits.get(exam_id)
        for number, target in enumerate(targets):
            logit = None if values is None else float(values[number])
            rows.append(
                {
                    "run_id": run_id,
                    **fold,
                    "part": parts[patient],
                    "variant": "original",
                    "site": exam["site"],
                    "patient_id": patient,
                    "exam_id": exam_id,
                    "side": "",
                    "unit": "exam",
                    "unit_id": exam_id,
                    "target": target,
                    "label": "positive",
                    "y_true": known.get((patient, target)),
                    "logit": logit,
                    "prob": None if logit is None else _sigmoid(logit),
                    "status": "ok" if values is not None else "failed",
                    "reason": "" if values is not None else failed.get(exam_id, "not predicted"),
                }
            )
    table = pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS))
    for column in ("y_true", "logit", "prob"):
        table[column] = table[column].astype(float)
    return table


def _sigmoid(logit: float) -> float:
    return float(0.5 * (1 + np.tanh(logit / 2)))  # never overflows

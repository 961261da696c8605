"""Rows of the prediction table for exams that were predicted slice by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scan2gene.core.tables import PARTS, PREDICTION_COLUMNS
from scan2gene.predict.table import prediction_rows
from scan2gene.stats.linear import sigmoid
from scan2gene.tasks.outputs import Output, output_log_odds


@dataclass(frozen=True)
class Bags:
    """Which slices belong together: those of one exam that are in one part.

    Args:
        table: One row per bag: patient_id, exam_id, part.
        number: (S,) row of `table` for each slice.
    """

    table: pd.DataFrame
    number: np.ndarray


def bags_of(exams: pd.DataFrame, part: np.ndarray) -> Bags:
    """Bags of slices.

    Args:
        exams: A row per slice, with patient_id and exam_id.
        part: (S,) train, validation or test.
    """
    keyed = pd.DataFrame({"patient_id": exams["patient_id"].to_numpy(), "exam_id": exams["exam_id"].to_numpy()})
    keyed["part"] = part
    number = keyed.groupby(["exam_id", "part"], sort=False).ngroup().to_numpy(copy=True)
    return Bags(keyed.drop_duplicates(["exam_id", "part"]).reset_index(drop=True), number)


def slice_rows(
    run_id: str, fold: Mapping[str, object], exams: pd.DataFrame, part: np.ndarray, answers: Sequence[Output],
    labels: pd.DataFrame, logits: np.ndarray,
) -> pd.DataFrame:  # fmt: skip
    """A row per slice and label, unit "slice"; figures of patients never come from them directly.

    Args:
        run_id: Name of the run.
        fold: split, repeat, fold.
        exams: A row per slice: site, patient_id, exam_id, role, slice.
        part: (S,) of each slice.
        answers: What the logits are of.
        labels: Long label table.
        logits: (S, T).

    Returns:
        Columns `PREDICTION_COLUMNS`; unit_id is exam:role:slice.
    """
    base = exams[["site", "patient_id", "exam_id"]].reset_index(drop=True)
    named = [exams[c].astype(str).to_numpy() for c in ("exam_id", "role", "slice")]
    unit_id = [":".join(parts) for parts in zip(*named, strict=True)]
    told = {"variant": "original", "unit": "slice", "status": "ok", "reason": ""}
    base = base.assign(run_id=run_id, **fold, part=part, unit_id=unit_id, **told)
    known = labels.assign(side=labels["side"].fillna("")).set_index(["target", "side", "patient_id"])["value"].to_dict()
    tables = []
    for answer, log_odds in zip(answers, output_log_odds(logits, answers), strict=True):
        values = [known.get((answer.target, answer.side, patient)) for patient in base["patient_id"]]
        for place, label in enumerate(answer.labels):
            truth = np.array([answer.truth_of(value, place) for value in values], float)
            odds = log_odds[:, place].astype(float)
            of = {"target": answer.target, "side": answer.side, "label": label}
            tables.append(base.assign(**of, y_true=truth, logit=odds, prob=sigmoid(odds)))
    return pd.concat(tables, ignore_index=True)[list(PREDICTION_COLUMNS)]


def fused_rows(
    run_id: str, fold: Mapping[str, object], parts: Mapping[str, str] | None, cohort: pd.DataFrame,
    labels: pd.DataFrame, answers: Sequence[Output], bags: Bags, logits: np.ndarray, failed: Mapping[str, str],
    variant: str = "original",
) -> pd.DataFrame:  # fmt: skip
    """A row per exam and label, as if a network had seen whole exams.

    Args:
        run_id: As in `prediction_rows`; so are `fold`, `parts`, `cohort`, `labels`, `answers`, `failed`, `variant`.
        fold: See there.
        parts: See there; None where slices of one exam are in several parts, which gives a row for each.
        cohort: See there.
        labels: See there.
        answers: See there.
        bags: Of the slices.
        logits: (B, T), one row per bag.
        failed: See there.
        variant: See there.
    """
    if parts is not None:
        of_exam = dict(zip(bags.table["exam_id"], logits, strict=True))
        return prediction_rows(run_id, fold, parts, cohort, labels, answers, of_exam, failed, variant)
    lost = dict.fromkeys(bags.table["exam_id"], "no slice in this part") | dict(failed)
    tables = []
    for part in PARTS:
        mine = (bags.table["part"] == part).to_numpy()
        of_part = dict(zip(bags.table["exam_id"][mine], logits[mine], strict=True))
        everyone = dict.fromkeys(cohort["patient_id"], part)
        tables.append(prediction_rows(run_id, fold, everyone, cohort, labels, answers, of_part, lost, variant))
    return pd.concat(tables, ignore_index=True)


def mean_embeddings(embeddings: np.ndarray, exams: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Exams in order of appearance, and the mean over the slices of each, (E, F) float32."""
    number, _ = pd.factorize(exams["exam_id"])
    total = np.zeros((number.max() + 1, embeddings.shape[1]))
    np.add.at(total, number, embeddings)
    first = exams.drop_duplicates("exam_id").reset_index(drop=True)
    return first, (total / np.bincount(number)[:, None]).astype(np.float32)

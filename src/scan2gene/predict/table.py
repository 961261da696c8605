"""The prediction table: every exam of a split, one row per target and side, failures too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from scan2gene.core.files import atomic_path
from scan2gene.core.tables import EMBEDDING_COLUMNS, PARTS, PREDICTION_COLUMNS
from scan2gene.predict.aggregate import Bags
from scan2gene.stats.linear import sigmoid
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.outputs import Output, output_log_odds


def prediction_rows(
    fit: Fit, cohort: pd.DataFrame, labels: pd.DataFrame, logits: Mapping[str, np.ndarray],
    failed: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:  # fmt: skip
    """Rows of one fit, of variant "original".

    Args:
        fit: The part of each patient is in it.
        cohort: Rows of cohort.csv, which all get rows.
        labels: Long label table.
        logits: exam_id -> (T,).
        failed: exam_id -> reason, where there are no logits.

    Returns:
        Columns `PREDICTION_COLUMNS`, a row for each label; unknown labels and failed predictions are null.
    """
    answers = fit.config.outputs
    known = labels.assign(side=labels["side"].fillna("")).set_index(["patient_id", "target", "side"])["value"].to_dict()
    of_exam = dict(zip(logits, _by_output(list(logits.values()), answers), strict=True))
    rows = []
    for exam in cohort.to_dict("records"):
        patient, exam_id = exam["patient_id"], exam["exam_id"]
        values = of_exam.get(exam_id)
        for number, answer in enumerate(answers):
            truth = known.get((patient, answer.target, answer.side))
            for place, label in enumerate(answer.labels):
                log_odds = None if values is None else float(values[number][place])
                rows.append(
                    {
                        "run_id": fit.config.name,
                        **fit.place,
                        "part": fit.parts[patient],
                        "variant": "original",
                        "site": exam["site"],
                        "patient_id": patient,
                        "exam_id": exam_id,
                        "side": answer.side,
                        "unit": "side" if answer.side else "exam",
                        "unit_id": f"{exam_id}:{answer.side}" if answer.side else exam_id,
                        "target": answer.target,
                        "label": label,
                        "y_true": answer.truth_of(truth, place),
                        "logit": log_odds,
                        "prob": None if log_odds is None else float(sigmoid(log_odds)),
                        "status": "ok" if values is not None else "failed",
                        "reason": "" if values is not None else failed.get(exam_id, "not predicted"),
                    }
                )
    table = pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS))
    for column in ("y_true", "logit", "prob"):
        table[column] = table[column].astype(float)
    return table


def inner_rows(fit: Fit, cohort: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Rows of labelled training exams by inner folds without them; none where a run has no such."""
    if not fit.folder.inner.exists():
        return pd.DataFrame(columns=list(PREDICTION_COLUMNS))
    scores = fit.folder.inner.read().set_index("exam_id")
    exams = cohort[cohort["exam_id"].isin(scores.index)]
    logits = dict(zip(scores.index, scores[fit.config.output_names].to_numpy(float), strict=True))
    return prediction_rows(fit, exams, labels, logits).dropna(subset=["logit", "y_true"])


def _by_output(logits: Sequence[np.ndarray], answers: Sequence[Output]) -> list[list[np.ndarray]]:
    """For each exam and output the log odds of its labels (L,)."""
    if not logits:
        return []
    return [list(each) for each in zip(*output_log_odds(np.stack(logits), answers), strict=True)]


def instance_rows(
    fit: Fit, table: pd.DataFrame, part: np.ndarray, labels: pd.DataFrame, logits: np.ndarray
) -> pd.DataFrame:
    """A row per slice and label, unit "slice"; figures of patients never come from them directly.

    Args:
        fit: The fit.
        table: A row per slice: site, patient_id, exam_id, role, slice.
        part: (S,) of each slice.
        labels: Long label table.
        logits: (S, T).

    Returns:
        Columns `PREDICTION_COLUMNS`; unit_id is exam:role:slice.
    """
    base = table[["site", "patient_id", "exam_id"]].reset_index(drop=True)
    named = [table[c].astype(str).to_numpy() for c in ("exam_id", "role", "slice")]
    unit_id = [":".join(parts) for parts in zip(*named, strict=True)]
    same = {"variant": "original", "unit": "slice", "status": "ok", "reason": ""}
    base = base.assign(run_id=fit.config.name, **fit.place, part=part, unit_id=unit_id, **same)
    known = labels.assign(side=labels["side"].fillna("")).set_index(["target", "side", "patient_id"])["value"].to_dict()
    tables, answers = [], fit.config.outputs
    for answer, log_odds in zip(answers, output_log_odds(logits, answers), strict=True):
        values = [known.get((answer.target, answer.side, patient)) for patient in base["patient_id"]]
        for place, label in enumerate(answer.labels):
            truth = np.array([answer.truth_of(value, place) for value in values], float)
            odds = log_odds[:, place].astype(float)
            of = {"target": answer.target, "side": answer.side, "label": label}
            tables.append(base.assign(**of, y_true=truth, logit=odds, prob=sigmoid(odds)))
    return pd.concat(tables, ignore_index=True)[list(PREDICTION_COLUMNS)]


def exam_rows(
    fit: Fit, cohort: pd.DataFrame, labels: pd.DataFrame, bags: Bags, logits: np.ndarray, failed: Mapping[str, str]
) -> pd.DataFrame:
    """A row per exam and label, of variant "original"; where a split divides slices, one for each part.

    Args:
        fit: As in `prediction_rows`; so are `cohort`, `labels` and `failed`.
        cohort: See there.
        labels: See there.
        bags: Of the instances.
        logits: (B, T), one row per bag.
        failed: See there.
    """
    if fit.rules.unit == "patient":
        return prediction_rows(fit, cohort, labels, dict(zip(bags.table["exam_id"], logits, strict=True)), failed)
    lost = dict.fromkeys(bags.table["exam_id"], "no slice in this part") | dict(failed)
    tables = []
    for part in PARTS:
        mine = (bags.table["part"] == part).to_numpy()
        of_part = dict(zip(bags.table["exam_id"][mine], logits[mine], strict=True))
        everyone = replace(fit, parts=dict.fromkeys(cohort["patient_id"], part))
        tables.append(prediction_rows(everyone, cohort, labels, of_part, lost))
    return pd.concat(tables, ignore_index=True)


def embedding_rows(fit: Fit, exams: pd.DataFrame, embeddings: np.ndarray) -> pd.DataFrame:
    """Embeddings of one fit, columns `EMBEDDING_COLUMNS`.

    Args:
        fit: The part of each patient is in it.
        exams: N rows with patient_id and exam_id.
        embeddings: (N, F) float32.
    """
    table = exams[["patient_id", "exam_id"]].reset_index(drop=True)
    part = table["patient_id"].map(fit.parts)
    table = table.assign(run_id=fit.config.name, **fit.place, part=part, embedding=list(embeddings))
    return table[list(EMBEDDING_COLUMNS)]


def write_embeddings(path: Path, tables: Iterable[pd.DataFrame]) -> None:
    """Write tables of embeddings as one parquet file, a row group each; one is in memory at a time.

    Args:
        path: Replaced whole.
        tables: Columns `EMBEDDING_COLUMNS`; lengths of embeddings may differ between tables.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"repeat": pa.int64(), "fold": pa.int64(), "embedding": pa.list_(pa.float32())}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in EMBEDDING_COLUMNS])
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for table in tables:
            writer.write_table(pa.Table.from_pandas(table, schema=schema, preserve_index=False))

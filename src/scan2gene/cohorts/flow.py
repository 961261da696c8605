"""What curation leaves out, with reasons, and the boxes of the flow diagram."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from scan2gene.core.tables import EXCLUSION_COLUMNS


@dataclass
class Flow:
    """Grows while a cohort is curated.

    Args:
        exclusions: Rows of exclusions.csv.
        steps: The diagram's boxes, top to bottom: step, kept, unit, left_out.
    """

    exclusions: list[dict[str, str]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)

    def leave_out(self, stage: str, reason: str, patient: str = "", exam: str = "", series: str = "") -> None:
        """One row of exclusions.csv."""
        self.exclusions.append(dict(zip(EXCLUSION_COLUMNS, (stage, patient, exam, series, reason), strict=True)))

    def step(self, name: str, kept: int, unit: str, reasons: pd.Series | None = None) -> None:
        """One box; `reasons` are those of what left before it, empty ones do not count."""
        left = {} if reasons is None else counts(reasons[reasons != ""])
        self.steps.append({"step": name, "kept": kept, "unit": unit, "left_out": left})

    def narrow(self, table: pd.DataFrame, reasons: pd.Series, name: str, unit: str) -> pd.DataFrame:
        """Keep the rows without a reason; record the others and the box.

        Args:
            table: One row per series or exam.
            reasons: Of each row; empty: it stays.
            name: Of the step.
            unit: "series" or "exams".
        """
        for row, reason in zip(table.itertuples(), reasons, strict=True):
            if reason:
                series = row.series_id if unit == "series" else ""
                self.leave_out(name, reason, row.patient_id, row.exam_id, series)
        kept = table[reasons == ""]
        self.step(name, len(kept), unit, reasons)
        return kept


def counts(reasons: pd.Series) -> dict[str, int]:
    """Reason -> how often, most frequent first."""
    return {str(k): int(v) for k, v in reasons.value_counts().items()}

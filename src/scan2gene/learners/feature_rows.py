"""Rows of a table of features."""

from __future__ import annotations

import pandas as pd


def numbers_of(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers by exam_id, of the exams that have them."""
    good = table[table["status"] == "ok"]
    return good.set_index("exam_id").drop(columns=["patient_id", "status", "reason"])

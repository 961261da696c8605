"""Tables between stages: ids stay text, unknown stays null."""

from __future__ import annotations

import pandas as pd
import pytest

from scan2gene.core.errors import RunError
from scan2gene.core.tables import LABEL_COLUMNS, read_csv, write_csv, write_parquet


def test_an_id_of_digits_stays_text(tmp_path):
    write_csv(tmp_path / "labels.csv", pd.DataFrame({"patient_id": ["007", "1e5", "NA"], "value": [1.0, None, 0.0]}))
    table = read_csv(tmp_path / "labels.csv")
    assert table["patient_id"].tolist() == ["007", "1e5", "NA"]
    assert table["value"].isna().tolist() == [False, True, False]
    assert table["value"].sum() == 1


def test_commas_quotes_and_line_breaks_survive(tmp_path):
    reasons = ['two series, "T1" and "T2"', "first line\nsecond line", "Größe"]
    write_csv(tmp_path / "exclusions.csv", pd.DataFrame({"reason": reasons}))
    assert read_csv(tmp_path / "exclusions.csv")["reason"].tolist() == reasons


def test_a_missing_table_names_itself(tmp_path):
    with pytest.raises(RunError, match=r"cohort\.csv is missing"):
        read_csv(tmp_path / "cohort.csv")


def test_a_missing_column_is_named(tmp_path):
    write_csv(tmp_path / "labels.csv", pd.DataFrame({"patient_id": ["a"], "target": ["IDH"]}))
    with pytest.raises(RunError, match="'side', 'value', 'source'"):
        read_csv(tmp_path / "labels.csv", LABEL_COLUMNS)


@pytest.mark.parametrize(("write", "name"), [(write_csv, "t.csv"), (write_parquet, "t.parquet")])
def test_a_table_that_cannot_be_written_leaves_no_file(tmp_path, write, name):
    class Unwritable:
        def __str__(self):
            raise OSError("disk full")

    with pytest.raises(Exception):  # noqa: B017, each writer has its own
        write(tmp_path / name, pd.DataFrame({"a": [1, Unwritable()]}))
    assert list(tmp_path.iterdir()) == []


def test_parquet_keeps_text_numbers_and_nulls(tmp_path):
    table = pd.DataFrame({"patient_id": ["007", "8"], "prob": [0.25, None], "fold": [0, 1]})
    write_parquet(tmp_path / "p.parquet", table)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "p.parquet"), table)

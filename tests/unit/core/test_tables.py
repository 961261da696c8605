"""Tables between stages: ids stay text, unknown stays null."""

from __future__ import annotations

import csv
import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scan2gene.core.errors import RunError
from scan2gene.core.tables import LABEL_COLUMNS, as_meant, harmless, read_csv, write_csv, write_parquet


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
    with pytest.raises(RunError, match="'side', 'value', 'label', 'source'"):
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


NASTY = ["=1+1", "+A", "-P1", "@x", "\tx", "\rx", "'=x", "''-y", "-", '=HYPERLINK("http://x","y")', "\uff1dx", "-1 mm"]
PLAIN = ["-1.5", "+2", "-1e-3", "1=2", "a@b", "'quoted'", "x\n=y", "-.5"]


def test_no_spreadsheet_computes_a_cell_and_reading_gives_it_back(tmp_path):
    table = pd.DataFrame({"patient_id": NASTY, "=site": NASTY[::-1], "value": range(len(NASTY))})
    write_csv(tmp_path / "a.csv", table)
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert all(cell[:1] == "'" for row in rows[1:] for cell in row[:2])
    assert rows[0] == ["patient_id", "'=site", "value"]
    pd.testing.assert_frame_equal(read_csv(tmp_path / "a.csv"), table, check_dtype=False)


def test_numbers_and_harmless_text_stand_in_the_file_as_they_are(tmp_path):
    write_csv(tmp_path / "a.csv", pd.DataFrame({"text": PLAIN, "number": -1.5}))
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as stream:
        assert [row[0] for row in csv.reader(stream)][1:] == PLAIN
    assert read_csv(tmp_path / "a.csv")["text"].tolist() == PLAIN


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5), min_size=1))
def test_any_text_survives_being_made_harmless(texts):
    shown = [harmless(text) for text in texts]
    assert [as_meant(text) for text in shown] == texts
    dangerous = ("=", "+", "-", "@", "\t", "\r")
    assert not [
        t for t in shown if t.startswith(dangerous) and not re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?|[-+]inf", t, re.I)
    ]

"""The index of every folder of real data against counts made by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from scan2gene.core.errors import Scan2GeneError
from scan2gene.imaging.index import index, read_volume

BY_HAND = pd.read_csv(Path(__file__).resolve().parents[3] / "studies" / "index_by_hand.csv").set_index("folder")


@pytest.mark.parametrize("folder", BY_HAND.index)
def test_the_rows_are_those_counted_by_hand(shared_data, folder):
    table = index(shared_data / folder)
    assert (table["status"] == "ok").sum() == BY_HAND.loc[folder, "ok"]
    assert (table["status"] == "rejected").sum() == BY_HAND.loc[folder, "rejected"]
    assert table["series_id"].is_unique
    assert (table["reason"] != "").eq(table["status"] == "rejected").all()


@pytest.mark.parametrize("folder", [f for f in BY_HAND.index if f.startswith("dicom")])
def test_every_file_of_the_odd_folders_opens_or_says_why_not(shared_data, folder):
    for path in sorted(p for p in (shared_data / folder).rglob("*") if p.is_file()):
        try:
            volume = read_volume(path)
        except Scan2GeneError as error:
            assert str(error)
        else:
            assert volume.array.size

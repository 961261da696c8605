"""Files of several series under one SeriesInstanceUID: each volume has its own slices and its own header."""

from __future__ import annotations

import random

import numpy as np
import pytest

from scan2gene.core.errors import ScanError
from scan2gene.imaging.index import index, read_volume

PLACES = {
    "at the same places": lambda v, k: 3.0 * k,
    "one behind the other": lambda v, k: 3.0 * k + 15.0 * v,
    "one between the other": lambda v, k: 3.0 * k + 1.5 * v,
    "partly at the same places": lambda v, k: 3.0 * k + 6.0 * v,
}
DIFFERENT = {
    "SeriesNumber": ("3", "5"),
    "SeriesDescription": ("T1 axial", "FLAIR axial"),
    "ProtocolName": ("T1 axial", "FLAIR axial"),
    "EchoTime": ("10.0", "120.0"),
    "InversionTime": ("900.0", "2500.0"),
    "FlipAngle": ("15.0", "90.0"),
    "RepetitionTime": ("500.0", "9000.0"),
    "ContrastBolusAgent": ("", "Gadavist"),
    "ScanningSequence": ("SE", "IR"),
}


def two(write_series, keyword, where, names=None, sizes=(5, 5)):
    """Two series of some slices under one SeriesInstanceUID; the pixels of the second are 5000 brighter."""
    of = [0] * sizes[0] + [1] * sizes[1]

    def change(n, data):
        setattr(data, keyword, DIFFERENT[keyword][of[n]])
        data.PixelData = (np.full((6, 4), 5000 * of[n]) + np.arange(24).reshape(6, 4)).astype("<u2").tobytes()
        data.InstanceNumber = n - sizes[0] * of[n] + 1

    where = [(0, 0, PLACES[where](v, n - sizes[0] * v)) for n, v in enumerate(of)]
    folder = write_series(n=len(of), positions=where, change=change)
    for path in sorted(folder.iterdir()) if names else []:
        path.rename(folder / f"{names.pop()}.dcm")
    return folder


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("keyword", DIFFERENT)
def test_series_that_share_an_identifier_come_apart(write_series, keyword, where):
    table = index(two(write_series, keyword, where))
    assert table["status"].tolist() == ["ok", "ok"]
    assert set(table["shape"]) == {"4x6x5"}
    bright = [bool(read_volume(path).array.min() == 5000) for path in table["path"]]
    assert sorted(bright) == [False, True]
    if keyword in table:
        assert [DIFFERENT[keyword][second] for second in bright] == table[keyword].tolist()


def test_the_answer_does_not_hang_on_file_names(write_series):
    tables = []
    for seed in (1, 2):
        names = [f"{n:02d}" for n in range(10)]
        random.Random(seed).shuffle(names)
        folder = two(write_series, "SeriesDescription", "at the same places", names)
        table = index(folder)
        bright = [read_volume(path).array.min() for path in table["path"]]
        tables.append((table["SeriesDescription"].tolist(), table["sequence"].tolist(), bright))
        for path in folder.iterdir():
            path.unlink()
    assert tables[0] == tables[1]


@pytest.mark.parametrize("keyword", ["SeriesDescription", "EchoTime", "ContrastBolusAgent"])
def test_a_few_slices_that_may_belong_to_either_are_rejected_with_that_reason(write_series, keyword):
    folder = two(write_series, keyword, "one behind the other", sizes=(5, 2))
    (row,) = index(folder).to_dict("records")
    assert row["status"] == "rejected"
    assert keyword in row["reason"]
    with pytest.raises(ScanError, match=keyword):
        read_volume(row["path"])


def test_a_repetition_time_that_a_trigger_moves_divides_nothing(write_series):
    times = [812, 1040, 955, 1121, 870]
    (row,) = index(write_series(change=lambda k, d: setattr(d, "RepetitionTime", times[k]))).to_dict("records")
    assert (row["status"], row["shape"]) == ("ok", "4x6x5")


def test_free_text_of_a_header_is_named_but_not_quoted(write_series):
    table = index(two(write_series, "SeriesDescription", "at the same places"))
    assert table["told_apart_by"].tolist() == ["SeriesDescription"] * 2

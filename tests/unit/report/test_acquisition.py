"""Studies found, voxel sizes and orientations, as the BRCA study showed them."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fake_run import EVIL, write_run

from scan2gene.report import figures
from scan2gene.report.acquisition import acquisition
from scan2gene.report.cohort import scans
from scan2gene.report.inputs import read_inputs

SAGITTAL, AXIAL = "-0.0\\1.0\\0.0\\-0.0\\-0.0\\-1.0", "1.0\\4.897e-12\\0.0\\-4.897e-12\\1.0\\0.0"


@pytest.fixture
def inputs(tmp_path):
    """The fake run's cohort, its series as DICOM, and nine exams that are not in it."""
    study, out, stores = write_run(tmp_path)
    found = read_inputs(study, out, stores)
    series = found.series.assign(
        format="dicom", exam_id=found.cohort["exam_id"], StudyDescription="MR BREAST BILATERAL",
        ImageOrientationPatient=[SAGITTAL] * 10 + [AXIAL] * 20 + ["1\\0\\0\\0\\1\\0"] * 9 + ["what"],
        plane=["sagittal"] * 10 + ["axial"] * 30, SliceThickness=[2.0] * 30 + [np.nan] * 10,
    )  # fmt: skip
    more = series.head(9).assign(exam_id=[f"x{n}" for n in range(9)], series_id=[f"x{n}" for n in range(9)])
    alone = ["MR of Jane Roe", "MR of John Roe", "MR BREAST BIOPSY LEFT", "MRI breast 1976"]
    more["StudyDescription"] = [EVIL] * 3 + [None, None, *alone]
    return replace(found, series=pd.concat([series, more], ignore_index=True))


def test_exams_are_counted_before_and_after_selection(inputs):
    rows = {row["text"]: (row["found"], row["kept"]) for row in acquisition(inputs)["studies"]}
    assert rows == {
        "MR BREAST BILATERAL": (40, 40),
        EVIL: (3, 0),
        "not given": (2, 0),
        "MR BREAST BIOPSY LEFT": (1, 0),
        "descriptions of one exam each, which may hold a name": (3, 0),  # a year may be one of birth
    }


def test_orientations_that_differ_by_rounding_are_one(inputs):
    rows = acquisition(inputs)["orientations"]
    assert [(row["cosines"], row["view"], row["n"]) for row in rows] == [
        ("1, 0, 0, 0, 1, 0", "axial", 29),
        ("0, 1, 0, 0, 0, -1", "sagittal", 10),
        ("not readable", "axial", 1),
    ]


def test_histograms_tell_number_range_and_median(inputs):
    told = [re.search(r'aria-label="([^"]*)"', str(svg))[1] for svg in acquisition(inputs)["histograms"]]
    assert told == [
        "Pixel spacing. 80 values, two of each series, from 0.5 to 1.5, median 1 mm",
        "Slice thickness in the header. 30 series, from 2 to 2, median 2 mm",
        "Spacing between slices. 40 series, from 3 to 3, median 3 mm",
    ]


@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0, 5.0], list(np.linspace(0, 3, 500))])
def test_the_heights_of_a_histogram_are_its_counts(values):
    svg = str(figures.histogram(np.array(values), "x", "mm", "series"))
    heights = [float(h) for h in re.findall(r'<rect [^>]*height="([\d.]+)"', svg)]
    counts, _ = np.histogram(values, bins=len(heights))
    np.testing.assert_allclose(np.array(heights) / 128, counts / counts.max(), atol=1e-3)


def test_nifti_without_headers_shows_no_studies(tmp_path):
    study, out, stores = write_run(tmp_path)
    found = acquisition(read_inputs(study, out, stores))
    assert found["studies"] == []
    assert len(found["histograms"]) == 2  # spacings; the headers' slice thickness is not there


@pytest.mark.parametrize(
    ("column", "common", "rare"),
    [("Manufacturer", "Maker", "GE MEDICAL SYSTEMS"), ("StudyDescription", "MR HEAD", "MR BRAIN")],
)
def test_header_texts_of_one_patient_are_shown_only_where_they_name_nobody(inputs, column, common, rare):
    """The first patient has two series with one text, so that no text stands in one series alone."""
    role = next(c for c in inputs.cohort if c.startswith("role:"))
    series, cohort = inputs.series.assign(**{column: common}), inputs.cohort.copy()
    second = series[series["series_id"] == cohort.loc[0, role]].assign(series_id="second", **{column: "of Jane Roe"})
    series = pd.concat([series, second], ignore_index=True)
    cohort = pd.concat([cohort, cohort.head(1).assign(**{role: "second"})], ignore_index=True)
    series.loc[series["series_id"] == cohort.loc[0, role], column] = "of Jane Roe"
    series.loc[series["series_id"] == cohort.loc[1, role], column] = rare
    lists = scans(replace(inputs, series=series, cohort=cohort))["lists"]
    texts = {row["value"] for found in lists for row in found["rows"]}
    assert {common, rare, "of one patient only"} <= texts
    assert not [text for text in texts if "Roe" in text]

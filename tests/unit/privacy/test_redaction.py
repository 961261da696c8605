"""Nothing that names a patient or a machine is printed."""

from __future__ import annotations

import pytest

from scan2gene.privacy.redaction import Redaction, grouped, last_part
from scan2gene.privacy.scrub import telling

HIDE = Redaction(frozenset({"P-0042", "DOE^JANE", "1.2.840.1", "007"}), ("Jane Doe",), ("/data/mri scans",))


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("there is no scan at /home/jane/x/P-0042.nii", "there is no scan at [path]"),
        ("there is no scan at /data/mri scans/P-0042/t1.nii.gz: gone", "there is no scan at [path]: gone"),
        (r"cannot open C:\study\P-0042\t1.nii", "cannot open [path]"),
        ("P-0042_t1c_14ccfa01.nii is cut short", "[id]_t1c_14ccfa01.nii is cut short"),
        ("series 1.2.840.1 of DOE^JANE.", "series [id] of [id]"),
        ("patient Jane Doe", "patient [id]"),
        ("exam 007", "exam [id]"),
        ("a gap of 5.60 mm among slices 2.80 mm apart", "a gap of 5.60 mm among slices 2.80 mm apart"),
        ("StudyDescription lacks /T1/POST/x/", "StudyDescription lacks /T1/POST/x/"),  # the study's own pattern
        ("1/2 and mm/s", "1/2 and mm/s"),
    ],
)
def test_ids_and_paths_are_removed_and_the_rest_is_kept(text, clean):
    assert HIDE(text) == clean


@pytest.mark.parametrize(
    ("identity", "tells"), [("12", False), ("123", False), ("007", True), ("P1", True), ("1234", True), ("", False)]
)
def test_short_plain_numbers_are_taken_for_measures(identity, tells):
    assert telling(identity) == tells


def test_reasons_that_differ_in_numbers_become_one():
    reasons = [("gap of 5.6 mm", 1), ("gap of 2.8 mm", 2), ("lacks T1", 4), ("lacks T2", 1)]
    reasons += [("no scan at /a/b/P-0042", 1), ("no scan at /a/c/other", 1)]
    assert grouped(reasons, HIDE) == [("lacks T1", 4), ("gap of … mm", 3), ("no scan at [path]", 2), ("lacks T2", 1)]


def test_a_reason_met_once_keeps_its_numbers():
    assert grouped([("gap of 5.6 mm", 3)], HIDE) == [("gap of 5.6 mm", 3)]


@pytest.mark.parametrize(
    ("path", "name"), [("/a/b.csv", "b.csv"), (r"D:\x\b.csv", "b.csv"), ("b.csv", "b.csv"), (None, None)]
)
def test_last_part(path, name):
    assert last_part(path) == name

"""What a message, a reason or a description may say when pseudonyms are asked for."""

from __future__ import annotations

import pytest

from scan2gene.privacy.scrub import Scrub, name_words, path_parts

ROOT = "/data/mri scans"
PATHS = {
    f"{ROOT}/DOE JANE/t1 post.nii.gz": "S-222222",
    f"{ROOT}/DOE JANE": "E-333333",
    f"{ROOT}/R17": "[path]",
}
SCRUB = Scrub(
    phrases={"Jane Doe 1": "P-444444", "/home/me/patients.csv": "[cohort.labels]", "patients.csv": "[cohort.labels]"},
    roots=(ROOT,),
    paths=PATHS,
    tokens={"p-0042": "P-555555", "7": "P-666666", "1.2.840.1": "E-777777", "19700203": "[id]", "1500": "P-888888"},
    parts=path_parts(PATHS, [ROOT]),
    names=name_words(["DOE^JANE^von", "Müller-Lüdenscheidt^K", "Li"]),
)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"there is no scan at {ROOT}/DOE JANE/t1 post.nii.gz", "there is no scan at S-222222"),
        (f"there is no scan at {ROOT}/DOE JANE/other.nii: gone", "there is no scan at [path]: gone"),
        (f"cannot read '{ROOT}/R17/s01/IM7.dcm'", "cannot read '[path]'"),
        (f"there is no folder or file {ROOT}", "there is no folder or file [cohort.scans]"),
        ("no label table /home/me/patients.csv", "no label table [cohort.labels]"),
        (
            "patient 7 has IDH=1 at patients.csv:7 and IDH=0",
            "patient P-666666 has IDH=1 at [cohort.labels]:7 and IDH=0",
        ),
        ("patients 7 and 'P-0042.'", "patients 7 and 'P-555555.'"),
        ("p-0042_flair.nii is cut short; 7 slices", "P-555555_flair.nii is cut short; 7 slices"),
        ("exam 1.2.840.1/0 of Jane Doe 1", "exam E-777777/0 of P-444444"),
        ("R17_left of doe", "[path]_left of [name]"),
        ("slices 2.80 mm apart, a scan of 2014", "slices 2.80 mm apart, a scan of 2014"),
    ],
)
def test_messages(text, clean):
    assert SCRUB(text) == clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("T1 POST DOE_Jane", "T1 POST [name]_[name]"),
        ("MR of MÜLLER2014", "MR of [name]2014"),
        ("LI head left", "LI head left"),  # too short for a name: it would blank words everywhere
        ("T2 DOESN'T", "T2 DOESN'T"),
        ("born 19700203, seen 2014-05-17 and 20140518", "born [id], seen 2014 and 2014"),
        ("1.2.276.0.7230010.3.1.4 copy", "[uid] copy"),
        ("R17 t1 post", "R17 t1 post"),  # a folder's name; in a description it is a word
        ("B=1500", "B=P-888888"),  # better a pseudonym too many than an id
    ],
)
def test_descriptions(text, clean):
    assert SCRUB.description(text) == clean

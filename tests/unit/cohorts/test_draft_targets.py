"""What a draft predicts: never what describes the patient, never classes turned round, names that YAML reads back."""

from __future__ import annotations

import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scan2gene.cohorts.curate import Curated, curate
from scan2gene.cohorts.draft import draft
from scan2gene.cohorts.draft_targets import _line
from scan2gene.cohorts.draft_text import scalar, slug, unique
from scan2gene.cohorts.guess_classes import NEGATIVE, POSITIVE, sign
from scan2gene.cohorts.guess_columns import TargetGuess, guess_target, guess_targets, side_pairs
from scan2gene.core.errors import CohortError
from scan2gene.core.study import Study
from scan2gene.core.study_cohort import Target
from scan2gene.core.study_file import load_study
from scan2gene.imaging.index import index

PATIENTS = [f"P{n:02d}" for n in range(24)]


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort") / "scans"
    for patient in PATIENTS:
        (folder / patient).mkdir(parents=True)
        array = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / patient / "t1.nii.gz")
    return folder


def table(**columns) -> pd.DataFrame:
    """Every column repeats its values over the patients."""
    rows = {name: [cells[n % len(cells)] for n in range(len(PATIENTS))] for name, cells in columns.items()}
    return pd.DataFrame({"id": PATIENTS, **rows})


def drafted(scans, folder, labels: pd.DataFrame, *targets: str) -> tuple[Study, Curated, str, list[str]]:
    """Draft, load and curate."""
    labels.to_csv(folder / "labels.csv", index=False)
    text, warnings = draft(scans, folder / "labels.csv", folder / "study.yaml", targets)
    (folder / "study.yaml").write_text(text, encoding="utf-8")
    study = load_study(folder / "study.yaml")
    return study, curate(study, index(study.cohort.scans)), text, warnings


# -- what describes the patient or the scan ------------------------------------------------


DESCRIBING = {
    "sex": "MF", "Geschlecht": "wm", "sexe": "FH", "x1": ["female", "male"], "AgeGroup": "01", "age>50": ["yes", "no"],
    "Alter 60": "01", "hospital": "AB", "Zentrum": "01", "scanner": "AB", "Hersteller": ["GE", "Siemens"],
    "B0": ["1.5", "3.0"], "x2": ["GE", "SIEMENS"], "性别": "男女", "edad_alta": ["sí", "no"],
}  # fmt: skip


def test_sex_age_site_and_scanner_are_never_drafted_by_themselves(scans, tmp_path):
    labels = table(**{c: list(cells) for c, cells in DESCRIBING.items()}, centre=["A", "B", "C", "D"])
    with pytest.raises(CohortError, match=r"centre \(.*A 6.*--target 'centre="):
        drafted(scans, tmp_path, labels)
    labels = labels.assign(subtype=["LumA", "LumB", "HER2", "TN"] * 6)
    study, *_ = drafted(scans, tmp_path, labels)
    assert list(study.targets) == ["subtype"]
    study, *_ = drafted(scans, tmp_path, labels.assign(idh=["1", "0", "0"] * 8))
    assert list(study.targets) == ["idh"]
    study, *_ = drafted(scans, tmp_path, labels, *DESCRIBING)  # whoever asks for them, gets them
    assert [t.column or name for name, t in study.targets.items()] == list(DESCRIBING)


def test_columns_of_several_classes_are_comments_that_load_as_they_stand(scans, tmp_path):
    numbers = list(map(str, range(24)))
    labels = table(subtype=["LumA", "LumB", "HER2", "TN"], grade=["1", "2", "3"], HR=["0", "1"], n=numbers)
    _, _, text, warnings = drafted(scans, tmp_path, labels)
    assert any("subtype (4)" in w and "grade (3)" in w for w in warnings)
    assert all(f"{name} 6" in text for name in ("LumA", "LumB", "HER2", "TN"))
    lines = re.findall(r"^  # ((?:subtype|grade)-.*)$", text, re.MULTILINE)
    assert len(lines) == 2
    (tmp_path / "more.yaml").write_text(text.replace(f"  # {lines[0]}", f"  {lines[0]}"))
    study = load_study(tmp_path / "more.yaml")
    found = curate(study, index(study.cohort.scans)).labels
    assert found[found["target"].str.startswith(lines[0].split("-")[0])]["value"].value_counts().sum() == 24
    assert "n-" not in text  # a number of its own for each patient is no class


def test_one_class_against_the_others_can_be_asked_for(scans, tmp_path):
    labels = table(subtype=["LumA", "LumB", "HER2", "TN"], age=list(map(str, range(40, 64))))
    _, found, _, _ = drafted(scans, tmp_path, labels, "subtype=TN")
    assert found.labels["value"].value_counts().to_dict() == {0.0: 18, 1.0: 6}
    with pytest.raises(CohortError, match="not a class of subtype"):
        drafted(scans, tmp_path, labels, "subtype=T")
    study, _, _, _ = drafted(scans, tmp_path, labels, "subtype")
    assert list(study.targets["subtype"].classes) == ["her2", "luma", "lumb", "tn"]
    notes = labels.assign(note=[f"note {n // 2 * 2}" for n in range(24)], more=[f"text {n}" for n in range(24)])
    with pytest.raises(CohortError, match=r"has neither 2 to 20 classes nor numbers.*'more="):
        drafted(scans, tmp_path, notes, "more")
    with pytest.raises(CohortError, match="empty for all 24"):
        drafted(scans, tmp_path, labels.assign(HR=""), "HR")


# -- which class is positive ---------------------------------------------------------------

WORDS = """
ja nein|yes no|oui non|sí no|si no|sim não|ja nee|ja nej|tak nie|evet hayır|да нет|是 否|有 無|はい いいえ|あり なし
Y N|J N|+ -|＋ −|T F|V F|1 0|2 0|1 -1|true false|pos neg|positiv negativ|positif négatif|positivo negativo
positief negatief|阳性 阴性|陽性 陰性|positive Negative|ER+ ER-|mutiert Wildtyp|mutated wild type|muté sauvage|mutant WT
mutado salvaje|IDH-mutant IDH-wildtype|突变型 野生型|mut wt|p.R132H wildtype|codeleted non-codeleted
methylated unmethylated|amplified not amplified|mutation no mutation|detected not detected|loss intact
vorhanden nicht vorhanden|présent absent|presente ausente|bösartig gutartig|malignant benign|maligne bénin
maligno benigno|恶性 良性|high low|high-grade low-grade|HGG LGG|hoch niedrig|case control|krank gesund
abnormal normal|responder non-responder|dead alive"""
PAIRS = [tuple(pair.split(" ", 1)) for pair in re.split(r"[|\n]", WORDS.strip())]


@pytest.mark.parametrize(("yes", "no"), PAIRS)
@pytest.mark.parametrize("frequent", ["yes", "no", "neither"])
def test_the_positive_class_is_told_by_its_word(yes, no, frequent):
    cells = {"yes": [yes, yes, no], "no": [yes, no, no], "neither": [yes, no]}[frequent]
    for order in (cells, cells[::-1]):
        found = guess_target(table(idh=order), "id", "idh")
        assert (found.positive, found.negative, found.by_meaning) == ((yes,), (no,), True)


def test_no_word_means_both():
    assert not NEGATIVE & POSITIVE
    assert {sign(word) for word in NEGATIVE} == {-1}
    assert {sign(word) for word in POSITIVE} == {1}


@pytest.mark.parametrize(
    ("column", "low", "high"), [("grade", "2", "3"), ("WHO_Grad", "II", "III"), ("Stage", "IIa", "IV")]
)
def test_of_grades_the_higher_is_positive(column, low, high):
    for cells in ([low, high], [high, low], [low, high, high]):
        assert guess_target(table(**{column: cells}), "id", column).positive == (high,)


def test_words_that_mean_nothing_leave_it_open_or_say_that_rarity_decided(scans, tmp_path):
    study, _, text, warnings = drafted(scans, tmp_path, table(marker=["rot", "blau", "rot"]))
    assert study.targets["marker"].positive == ["blau"]
    assert "rarer" in text and any("rarer" in w and "marker" in w for w in warnings)
    _, _, text, warnings = drafted(scans, tmp_path, table(marker=["rot", "blau"]))
    assert re.search(r"^  marker: .*EDIT", text, re.MULTILINE)
    assert any("EDIT" in w for w in warnings)
    for cells in (["1", "2"], ["nein", "negativ"], ["hoch", "ja"]):
        assert not guess_target(table(marker=cells), "id", "marker").by_meaning


# -- left and right ------------------------------------------------------------------------


SIDES = [
    ("Benign (L)", "Benign (R)", "Benign"), ("left_malignant", "right_malignant", "malignant"),
    ("Malignant Left", "Malignant Right", "Malignant"), ("cancerL", "cancerR", "cancer"),
    ("Karzinom links", "Karzinom rechts", "Karzinom"), ("cancer sein gauche", "cancer sein droit", "cancer sein"),
    ("tumore sx", "tumore dx", "tumore"), ("Left", "Right", "finding"), ("L_breast_ca", "R_breast_ca", "breast ca"),
    ("恶性 左", "恶性 右", "恶性"),
]  # fmt: skip


@pytest.mark.parametrize(("left", "right", "name"), SIDES)
def test_two_columns_of_sides_are_one_target(left, right, name):
    labels = table(**{right: ["0", "0", "1", "0"], left: ["1", "0", "0"]})
    (found,) = guess_targets(labels, "id", PATIENTS)
    assert (found.column, found.sides, found.counts) == (name, (left, right), (14, 34))
    assert not found.doubts


def test_targets_of_sides_are_drafted_and_curated_by_side(scans, tmp_path):
    labels = table(**{"Benign (R)": ["0", "0", "1", "0"], "Benign (L)": ["1", "0", "0"], "Benign": ["1", "0"]})
    study, found, text, _ = drafted(scans, tmp_path, labels)
    assert set(study.targets) == {"Benign", "Benign-2"}
    sided = next(name for name, t in study.targets.items() if t.left)
    counts = found.labels[found.labels["target"] == sided].groupby("side")["value"].agg(["sum", "size"])
    assert counts.to_numpy().tolist() == [[8, 24], [6, 24]]
    assert "14 / 34 sides" in text


def test_what_is_no_pair_of_sides_is_none():
    columns = [
        "ER",
        "PR",
        "HER2",
        "left",
        "CD4",
        "vitamin D",
        "vitamin E",
        "HLA-A",
        "HLA-B",
        "right lung",
        "P53",
        "IDH1",
    ]
    assert side_pairs(columns) == {}


# -- names and values that YAML would read otherwise -----------------------------------------

ODD = ["on", "NO", "null", "2020", "~", "yes", "1e3", "0x10", "12:30", "a: b", "it's", '"q"', "#x", "x #y", "-lead",
       "- x", "é", "МУТ", "突变", "a, b", "{x}", "[y]", "*z", "&w", "!t", "%p", "@m", "`b", "?", "? q", "a|b", "=1",
       "---", "IDH (R132)", "true", ".5", "1_0", "007", "<<", "No", "y" * 150, "a\\b", "x-1", "x.1"]  # fmt: skip


def test_columns_of_any_name_load_and_curate(scans, tmp_path):
    labels = table(**{column: ["1", "0"] for column in ODD})
    study, found, _, _ = drafted(scans, tmp_path, labels, *ODD)
    assert [t.column or name for name, t in study.targets.items()] == ODD
    assert found.labels["target"].nunique() == len(ODD)
    assert len(found.cohort) == 24


@given(st.text(min_size=1, max_size=30), st.sampled_from([False, True]))
def test_any_text_is_read_back_as_key_and_in_a_list(text, spaced):
    text = text.encode("utf-8", "ignore").decode() or "x"
    text = f" {text}" if spaced else text
    assert yaml.safe_load(f"{{{scalar(text)}: [{scalar(text)}, {scalar(text)}]}}   # x") == {text: [text, text]}


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=6, unique=True), st.text(min_size=1, max_size=9))
def test_any_column_and_cells_are_read_back(columns, cell):
    columns = [c.encode("utf-8", "ignore").decode() or "x" for c in columns]
    guesses = [TargetGuess(c, (cell.encode("utf-8", "ignore").decode(),), ("0",), (), (5, 5), ()) for c in columns]
    names = unique(slug(c, "target") for c in columns)
    text = "\n".join(_line(g, n, mutations=False) for g, n in zip(guesses, names, strict=True))
    found = {name: Target.model_validate(values) for name, values in yaml.safe_load(text).items()}
    assert [t.column or name for name, t in found.items()] == columns
    assert {t.positive[0] if isinstance(t.positive[0], str) else str(t.positive[0]) for t in found.values()} == {
        guesses[0].positive[0]
    }

"""A draft of a table with several classes or numbers: which column it takes, and what it writes."""

from __future__ import annotations

import re

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_draft_targets import PATIENTS, drafted, scans, table

from scan2gene.cohorts.curate import curate
from scan2gene.cohorts.draft import draft
from scan2gene.cohorts.draft_targets import _lines
from scan2gene.cohorts.guess_columns import TargetGuess
from scan2gene.cohorts.guess_several import class_columns, class_names, number_columns
from scan2gene.core.errors import CohortError
from scan2gene.core.study_cohort import Target
from scan2gene.core.study_file import load_study
from scan2gene.imaging.index import index

__all__ = ["scans"]  # a fixture
SUBTYPES = ["luminal A", "luminal B", "HER2", "TNBC"]
NEVER = {
    "sex": ["M", "F", "other"], "x": ["female", "male", "divers"], "site": "ABC",
    "scanner": ["Skyra", "Trio", "Prisma"],
    "age group": ["40-50", "50-60", "60-70"], "visit date": ["2020-01-01", "2020-01-02", "2020-02-01"],
    "case id": ["1", "2", "3"], "laterality": ["left", "right", "both"], "where": ["links", "left", "right"],
    "dataset": ["one", "two", "three"], "menopause": ["pre", "peri", "post"], "bmi_group": ["low", "mid", "high"],
    "n_lesions": ["1", "2", "3"], "KPS": ["70", "80", "90"],
    "report": [f"{word} mass with irregular margins and rim enhancement" for word in ("Large", "Small", "Round")],
}  # fmt: skip


def test_four_subtypes_are_one_target_of_four_classes(scans, tmp_path):
    study, found, text, warnings = drafted(scans, tmp_path, table(Subtype=SUBTYPES, grade=["1", "2", "3"]))
    assert list(study.targets) == ["Subtype"]
    target = study.targets["Subtype"]
    assert target.task == "multiclass"
    assert target.classes == {
        "her2": ["HER2"],
        "luminal_a": ["luminal A"],
        "luminal_b": ["luminal B"],
        "tnbc": ["TNBC"],
    }
    assert found.labels["label"].value_counts().to_dict() == dict.fromkeys(target.classes, 6)
    assert "luminal_a: [luminal A]   # 6\n" in text
    assert re.search(r"^  # grade-\d: ", text, re.MULTILINE)  # the other column stays a comment
    assert warnings == ["columns with more than two classes stand in the draft as comments only: grade (3)"]


def test_codes_are_classes_in_their_order(scans, tmp_path):
    study, found, _, _ = drafted(scans, tmp_path, table(y=["2", "0", "1", "0"]))
    assert study.targets["y"].classes == {"0": [0], "1": [1], "2": [2]}
    assert found.labels.groupby("label")["value"].unique().map(list).to_dict() == {"0": [0], "1": [1], "2": [2]}


def test_a_clean_column_of_two_classes_goes_first_and_an_outcome_last(scans, tmp_path):
    labels = table(subtype=SUBTYPES, recurrence=["yes", "no"])
    study, *_ = drafted(scans, tmp_path, labels)
    assert list(study.targets) == ["subtype"]
    study, *_ = drafted(scans, tmp_path, labels.assign(idh=["1", "0"] * 12))
    assert list(study.targets) == ["idh"]
    study, *_ = drafted(scans, tmp_path, labels, "subtype", "recurrence")
    assert [len(t.classes) for t in study.targets.values()] == [4, 0]


@pytest.mark.parametrize(
    ("best", "other"),
    [("molecular subtype", "grade"), ("Diagnose", "type"), ("histology", "WHO grade"), ("grade", "cluster"),
     ("tumour type", "letter")],
)  # fmt: skip
def test_the_most_meaningful_column_is_taken(best, other):
    labels = table(**{other: ["g1", "g2", "g3"], best: ["q1", "q2", "q3"]})
    assert [t.column for t in class_columns(labels, "id", PATIENTS)] == [best, other]
    named_by_cells = table(**{best: ["q1", "q2", "q3"], "letter2": ["Luminal A", "TNBC", "other"]})
    assert class_columns(named_by_cells, "id", PATIENTS)[0].column == ("letter2" if "subtype" not in best else best)


@pytest.mark.parametrize("column", NEVER)
def test_what_describes_the_patient_is_never_drafted_by_itself(scans, tmp_path, column):
    labels = table(**{column: list(NEVER[column])})
    assert all(t.doubts for t in class_columns(labels, "id", PATIENTS))
    with pytest.raises(CohortError, match="no column is drafted as a target by itself"):
        drafted(scans, tmp_path, labels)
    study, *_ = drafted(scans, tmp_path, labels, column)  # whoever asks for it, gets it
    assert len(next(iter(study.targets.values())).classes) == 3


def test_small_classes_are_drafted_with_a_word_of_warning(scans, tmp_path):
    cells = ["A"] * 11 + ["B"] * 11 + ["C"] * 2
    study, found, text, warnings = drafted(scans, tmp_path, table(kind=cells))
    assert found.labels["label"].value_counts().to_dict() == {"a": 11, "b": 11, "c": 2}
    assert "c: [C]   # 2, fewer than the 6 that figures of a class need" in text
    assert any("C (2 patients)" in w for w in warnings)
    assert list(study.targets) == ["kind"]


def test_cells_of_patients_without_scans_do_not_stop_curation(scans, tmp_path):
    labels = pd.concat([table(subtype=SUBTYPES), pd.DataFrame({"id": ["X1", "X2"], "subtype": ["claudin", "NOS"]})])
    study, found, text, _ = drafted(scans, tmp_path, labels)
    assert study.targets["subtype"].unknown == ["NOS", "claudin"]
    assert "# of patients without scans: claudin" in text
    assert len(found.labels) == 24


@pytest.mark.parametrize("wanted", [(), ("subtype",)])
@pytest.mark.parametrize("cell", ["--", "NP"])
def test_cells_that_mean_nothing_are_no_class(scans, tmp_path, cell, wanted):
    labels = table(subtype=[*SUBTYPES, cell, "equivocal"], age=[*map(str, range(40, 63)), cell])
    study, found, _, _ = drafted(scans, tmp_path, labels, *wanted)
    assert len(study.targets["subtype"].classes) == 4
    assert (study.cohort.unknown, study.targets["subtype"].unknown) == ([cell], ["equivocal"])
    assert len(found.labels) == 16


# -- numbers -----------------------------------------------------------------------------------

VOLUMES = [f"{n},25" for n in range(24)]


def test_numbers_are_a_comment_with_the_median_as_the_limit(scans, tmp_path):
    ids = [str(800000 + 7 * n) for n in range(24)]
    more = {
        "weight": VOLUMES,
        "survival": VOLUMES,
        "Fall": ids,
        "age": [str(40 + n) for n in range(24)],
        "date": VOLUMES,
    }
    _, _, text, _ = drafted(scans, tmp_path, table(idh=["1", "0"], **{"Tumor volume": VOLUMES}, **more))
    (line,) = re.findall(r"^  # (Tumor-volume: .*)$", text, re.MULTILINE)
    assert line == "Tumor-volume: {column: Tumor volume, above: 11.75}   # 12 above, 12 not"
    assert re.search(r"^  # survival: .*above: 11.75.*known only after", text, re.MULTILINE)
    assert not re.search("(weight|Fall|age|date): {", text)
    (tmp_path / "more.yaml").write_text(text.replace(f"# {line}", line))
    assert yaml.safe_load((tmp_path / "more.yaml").read_text())["targets"]["Tumor-volume"]["above"] == 11.75


def test_numbers_that_are_asked_for_are_cut_and_the_limit_is_to_be_chosen(scans, tmp_path):
    labels = table(volume=VOLUMES)
    with pytest.raises(CohortError, match="no column is drafted"):
        drafted(scans, tmp_path, labels)
    _, found, text, warnings = drafted(scans, tmp_path, labels, "volume")
    assert found.labels["label"].value_counts().to_dict() == {"positive": 12, "negative": 12}
    assert re.search(r"^  volume: .*EDIT", text, re.MULTILINE)
    assert any("limit 11.75 is only the median" in w for w in warnings)


def test_numbers_that_can_be_read_in_two_ways_are_left_alone():
    assert not list(number_columns(table(x=[f"1,{n:03d}" for n in range(100, 124)]), "id", PATIENTS))


# -- names ---------------------------------------------------------------------------------------


def test_an_excel_table_with_classes_that_are_hard_to_name(scans, tmp_path):
    """German cells, two that become one name, one called positive, and one of two patients."""
    cells = (
        ["Luminal-B-ähnlich", "luminal B (ähnlich)", "positive", "dreifach negativ"] * 5
        + ["große Zellen"] * 2
        + [""] * 2
    )
    table(**{"Subtyp (Mamma-Ca.)": cells}).to_excel(tmp_path / "labels.xlsx", index=False)
    text, _ = draft(scans, tmp_path / "labels.xlsx", tmp_path / "study.yaml")
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    study = load_study(tmp_path / "study.yaml")
    found = curate(study, index(study.cohort.scans))
    ((name, target),) = study.targets.items()
    assert (name, target.column) == ("Subtyp-Mamma-Ca", "Subtyp (Mamma-Ca.)")
    assert list(target.classes) == [
        "dreifach_negativ",
        "luminal_b_ahnlich",
        "luminal_b_ahnlich_2",
        "positive_class",
        "grosse_zellen",
    ]
    assert found.labels["label"].value_counts().to_dict() == {
        "dreifach_negativ": 5, "luminal_b_ahnlich": 5, "luminal_b_ahnlich_2": 5, "positive_class": 5,
        "grosse_zellen": 2,
    }  # fmt: skip
    assert "# 2, fewer than the 6" in text


@pytest.mark.parametrize(
    ("cells", "names"),
    [(["HR+ / HER2-", "HR+ / HER2+", "HR-/HER2+", "TN"], ["hrpos_her2neg", "hrpos_her2pos", "hrneg_her2pos", "tn"]),
     (["+", "++", "-"], ["class", "class_2", "class_3"]), (["-1", "0", "1.5"], ["minus_1", "0", "1_5"]),
     (["突变", "野生型", "unknown"], ["class", "class_2", "unknown_class"]),
     (["a" * 50, "a" * 60], ["a" * 40, "a" * 40 + "_2"])],
)  # fmt: skip
def test_names_of_classes_say_what_their_cells_do(cells, names):
    assert class_names(cells) == names


@given(st.lists(st.text(min_size=1, max_size=12), min_size=3, max_size=9, unique=True))
def test_any_cells_give_a_target_that_loads(cells):
    cells = [c.encode("utf-8", "ignore").decode() or "x" for c in cells]
    classes = tuple(zip(class_names(cells), cells, strict=True))
    guess = TargetGuess("kind", (), (), (), (7,) * len(cells), (), classes=classes)
    target = Target.model_validate(yaml.safe_load("\n".join(_lines(guess, "kind", mutations=False)))["kind"])
    assert [str(c[0]) for c in target.classes.values()] == cells

"""Altered copies of exams: the mask stays, what is to go goes, and each copy is measured once for all tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lesion_exams import ball, exam

from scan2gene.core.errors import ScanError
from scan2gene.core.study_cohort import Role
from scan2gene.core.study_features import Features
from scan2gene.features import compute as computing
from scan2gene.features.altered import VARIANTS, Alterations, without_lesion
from scan2gene.features.compute import Wanted, compute
from scan2gene.stages.altered_features import evenly

LESION = ball((50, 50, 46), 14)
OTHER = ball((40, 46, 46), 10)
EXAM = exam(LESION)
GIVEN = Alterations("tumour", 1, lambda: without_lesion(Alterations("", 1, lambda: None), exam(OTHER), "other"))


def _copy(variant: str):
    made = GIVEN.of(variant)(EXAM, "one")
    assert all(made.masks[role] is EXAM.masks[role] for role in EXAM.masks)
    assert {i.array.dtype for i in made.images.values()} == {np.dtype(np.float32)}
    return made.images["t1c"].array, EXAM.images["t1c"].array


def test_an_erased_lesion_looks_like_its_surroundings_and_all_else_stays():
    copy, original = _copy("erased")
    far = ball((50, 50, 46), 24)
    ring = far & ~ball((50, 50, 46), 19)
    assert original[LESION].mean() > original[ring].mean() + 30
    assert copy[LESION].mean() == pytest.approx(original[ring].mean(), abs=3)
    assert copy[LESION].std() == pytest.approx(original[ring].std(), rel=0.5)  # with noise
    np.testing.assert_array_equal(copy[~far], original[~far])
    np.testing.assert_array_equal(copy, _copy("erased")[0])
    assert (GIVEN.of("erased")(EXAM, "two").images["t1c"].array != copy).any()  # noise of its own


def test_background_loses_the_box_around_the_lesion():
    copy, original = _copy("background")
    changed = np.argwhere(copy != original)
    inside = np.argwhere(LESION)
    assert (changed.min(0) == inside.min(0) - 2).all() and (changed.max(0) == inside.max(0) + 2).all()


def test_only_the_lesion_is_set_into_the_same_other_exam_in_this_ones_grey_values():
    copy, original = _copy("only_lesion")
    np.testing.assert_array_equal(copy[LESION], original[LESION])
    bright = exam(LESION, t1c=EXAM.images["t1c"].array * 7 + 100)
    again = GIVEN.of("only_lesion")(bright, "one").images["t1c"].array
    np.testing.assert_allclose((again - 100) / 7, copy, atol=0.2)
    elsewhere = GIVEN.of("only_lesion")(exam(OTHER), "one").images["t1c"].array  # another lesion, the same surroundings
    outside = ~(LESION | OTHER)
    assert np.corrcoef(copy[outside], elsewhere[outside])[0, 1] > 0.999


def test_noise_is_a_tenth_of_the_spread():
    copy, original = _copy("noise")
    assert (copy - original).std() == pytest.approx(0.1 * original.std(), rel=0.02)


def test_an_exam_without_a_lesion_has_no_copy_without_it():
    empty = exam(np.zeros_like(LESION))
    for variant in set(VARIANTS) - {"noise"}:
        with pytest.raises(ScanError, match="no lesion is marked"):
            GIVEN.of(variant)(empty, "one")
    with pytest.raises(ScanError, match="no exam of the sample"):
        Alterations("", 1, lambda: None).of("only_lesion")(EXAM, "one")


def test_a_copy_is_made_once_for_all_tables_and_a_stopped_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(computing, "read_exam", lambda *_: EXAM)
    monkeypatch.setattr(computing, "fingerprint", lambda paths: list(paths))
    made = []

    def alter(given, exam_id):
        made.append(exam_id)
        if exam_id == "bad":
            raise ScanError("no lesion is marked")
        return GIVEN.of("erased")(given, exam_id)

    roles = {"t1c": Role(match={"path": "t1c"}), "tumour": Role(match={"path": "mask"}, kind="label")}
    blocks = [Features(name="lesion"), Features(name="lesion", options={"ring_mm": 5.0})]
    plain = Wanted("plain", blocks[0], roles)
    wanted = [Wanted(f"{n}/erased", block, roles, alter, "erased") for n, block in enumerate(blocks)]
    assert len({want.key for want in (plain, *wanted)}) == 3
    exams = pd.DataFrame({"patient_id": ["P", "Q"], "exam_id": ["good", "bad"], "role:t1c": "a", "role:tumour": "b"})
    file = tmp_path / "unfinished.jsonl"
    tables = compute([plain, *wanted], exams, {"a": "a", "b": "b"}, file)
    assert sorted(made) == ["bad", "good"]
    own = tables["0/erased"].set_index("exam_id")
    assert own.loc["bad", ["status", "reason"]].tolist() == ["failed", "no lesion is marked"]
    original = tables["plain"].set_index("exam_id").loc["good"]
    assert own.loc["good", "volume_cm3"] == original["volume_cm3"]
    compute([plain, *wanted], exams, {"a": "a", "b": "b"}, file)
    assert len(made) == 2


def test_patients_of_a_rare_class_are_taken_first():
    patients = [f"P{n}" for n in range(60)]
    labels = pd.DataFrame({"patient_id": patients * 2, "target": ["a"] * 60 + ["b"] * 60,
                           "value": [float(n < 8) for n in range(60)] + [float(n % 2) for n in range(60)]})  # fmt: skip
    chosen = evenly(patients[::-1], labels, 30)
    assert len(chosen) == len(set(chosen)) == 30 and set(patients[:8]) <= set(chosen)
    assert sum(int(p[1:]) % 2 for p in chosen) == pytest.approx(15, abs=4)
    assert len(evenly(patients[:12], labels, 30)) == 12

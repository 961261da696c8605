"""Key files: random, kept, private, and whole."""

from __future__ import annotations

import multiprocessing
import re
import stat

import pytest

from scan2gene.core.errors import CohortError
from scan2gene.privacy.keyfile import pseudonyms


@pytest.fixture
def key(tmp_path):
    return tmp_path / "private" / "key.csv"


def test_pseudonyms_are_kept_and_new_ones_added(key):
    first = pseudonyms(key, "patient_id", "P", ["A1", "B2", ""])
    assert set(first) == {"A1", "B2"}
    assert all(re.fullmatch("P-[2-9B-DF-HJ-NP-TV-Z]{6}", p) for p in first.values())
    second = pseudonyms(key, "patient_id", "P", ["C3", "A1"])
    assert second.items() >= first.items()
    assert len(set(second.values())) == 3
    assert pseudonyms(key, "patient_id", "P") == second


def test_nothing_leads_from_an_id_to_its_pseudonym(tmp_path):
    one, two = (pseudonyms(tmp_path / n, "patient_id", "P", ["A1", "B2"]) for n in ("one.csv", "two.csv"))
    assert not set(one.values()) & set(two.values())


def test_the_file_stays_private_whatever_the_umask(key):
    pseudonyms(key, "patient_id", "P", ["A1"])
    key.chmod(0o644)
    pseudonyms(key, "patient_id", "P", ["B2"])
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [p.name for p in key.parent.iterdir() if p.name.startswith(".tmp")] == []


def test_a_study_may_bring_its_own_and_other_columns_are_kept(key):
    key.parent.mkdir()
    key.write_text("pseudonym;patient_id;note\nT-01;007;first\n")
    found = pseudonyms(key, "patient_id", "P", ["007", "008"])
    assert found["007"] == "T-01"
    assert key.read_text().splitlines()[:2] == ["pseudonym,patient_id,note", "T-01,007,first"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patient,pseudonym\nA,P-1\n", "lacks the column patient_id"),
        ("patient_id,pseudonym\nA,P-1\nA,P-2\n", "key.csv:3: this patient_id stands"),
        ("patient_id,pseudonym\nA,P-1\nB,P-1\n", "key.csv:3: this pseudonym stands"),
        ("patient_id,pseudonym\nA,\n", "key.csv:2"),
        ("patient_id,pseudonym\nA,../x\n", "key.csv:2"),
        ("patient_id,pseudonym\nA,B\nB,C\n", "key.csv:2: this pseudonym is also a patient_id"),
    ],
)
def test_a_damaged_key_is_refused_without_naming_anybody(text, said, key):
    key.parent.mkdir()
    key.write_text(text)
    with pytest.raises(CohortError, match=re.escape(said)):
        pseudonyms(key, "patient_id", "P", ["Z"])
    assert key.read_text() == text


def _draw(job):
    path, ids = job
    return pseudonyms(path, "patient_id", "P", ids)


def test_processes_that_write_at_once_lose_nothing(key):
    ids = [[f"N{n % 40:03d}", f"M{n:03d}"] for n in range(80)]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        told = pool.map(_draw, [(key, some) for some in ids])
    kept = pseudonyms(key, "patient_id", "P")
    assert len(kept) == 120 == len(set(kept.values()))
    assert all(kept[i] == answer[i] for some, answer in zip(ids, told, strict=True) for i in some)

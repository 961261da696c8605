"""Features of a cohort: names of an exam that lacks a role, bad exams, and runs that were stopped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from lesion_exams import ball, exam

from scan2gene.core.errors import ScanError
from scan2gene.core.study_cohort import Role
from scan2gene.core.study_features import Features
from scan2gene.core.volume import Volume
from scan2gene.features.compute import Wanted, compute, numbers_of
from scan2gene.features.exam import Exam


@pytest.mark.parametrize("kind", ["lesion", "subregions"])
def test_an_exam_without_a_role_has_the_same_names(kind):
    roles = {name: Role(match={"sequence": name}) for name in ("flair", "t1", "t1c")}
    roles["tumour"] = Role(match={"sequence": "mask"}, kind="label")
    want = Wanted("a", Features(name=kind), roles)
    whole = exam(ball((66.0, 47.0, 46.0), 14))
    less = replace(whole, images={role: v for role, v in whole.images.items() if role != "flair"})
    found, complete = numbers_of(want, less), numbers_of(want, whole)
    assert list(found) == list(complete)
    assert all(np.isnan(found[name]) for name in found if "flair" in name)


@pytest.fixture
def tables(monkeypatch, tmp_path):
    """`tables(names)` computes two tables of five exams of which one fails; `calls` counts what was computed."""
    calls: list[str] = []

    def read_exam(sources, roles, recipe):
        calls.append(sources["t1"])
        if "bad" in sources["t1"]:
            raise ScanError("slices are missing")
        volume = Volume(np.full((2, 2, 2), float(sources["t1"][-1]), np.float32), np.eye(4), "intensity")
        return Exam({"t1": volume}, {})

    def level(exam: Exam, *, times: float = 1.0) -> dict[str, float]:
        return {"level": times * float(exam.images["t1"].array.mean()), "none": np.inf}

    level.__module__ = compute.__module__  # where its VERSION is
    monkeypatch.setattr("scan2gene.features.compute.read_exam", read_exam)
    monkeypatch.setattr("scan2gene.features.compute.KINDS", {"level": level})
    monkeypatch.setattr("scan2gene.features.compute.fingerprint", list)
    roles = {"t1": Role(match={"sequence": "t1"})}
    exams = pd.DataFrame({"patient_id": list("abcde"), "exam_id": list("ABCDE"), "role:t1": list("12345")})
    paths = {"1": "scan1", "2": "scan2", "3": "bad", "4": "scan4", "5": "scan5"}
    wanted = [Wanted(n, Features(name="level", options={"times": t}), roles) for n, t in (("one", 1.0), ("ten", 10.0))]
    return lambda: compute(wanted, exams, paths, tmp_path / "unfinished.jsonl"), calls, tmp_path / "unfinished.jsonl"


def test_each_exam_is_read_once_for_all_tables_and_a_bad_one_is_set_aside(tables):
    run, calls, _ = tables
    found = run()
    assert sorted(calls) == ["bad", "scan1", "scan2", "scan4", "scan5"]
    assert found["ten"]["level"].tolist()[::4] == [10.0, 50.0] and found["one"]["none"].isna().all()
    assert found["one"]["status"].tolist() == ["ok", "ok", "failed", "ok", "ok"]
    assert found["one"]["reason"].tolist()[2] == "slices are missing"


def test_a_stopped_run_goes_on_and_computes_no_exam_twice(tables, monkeypatch):
    run, calls, unfinished = tables
    whole = run()
    lines = unfinished.read_text().splitlines(keepends=True)
    assert len(lines) == 10
    calls.clear()
    unfinished.write_text("".join(lines[:4]) + lines[4][:20])  # two exams, and a line that was cut off
    again = run()
    assert sorted(calls) == ["bad", "scan4", "scan5"]
    for name in whole:
        pd.testing.assert_frame_equal(whole[name], again[name])
    calls.clear()
    run()
    assert calls == []


def test_a_kill_in_the_middle_keeps_what_is_done(tables, monkeypatch):
    run, calls, unfinished = tables
    monkeypatch.setattr("scan2gene.features.compute.cpus", lambda: 1)
    before = compute.__globals__["numbers_of"]

    def killed(want, exam):
        if exam.images["t1"].array.mean() == 4:
            raise KeyboardInterrupt
        return before(want, exam)

    monkeypatch.setattr("scan2gene.features.compute.numbers_of", killed)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert len(unfinished.read_text().splitlines()) == 6
    calls.clear()
    monkeypatch.setattr("scan2gene.features.compute.numbers_of", before)
    assert run()["one"]["level"].notna().sum() == 4
    assert sorted(calls) == ["scan4", "scan5"]

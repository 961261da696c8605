"""Exams that lack what a run sees are told so, and do not stop the others."""

from __future__ import annotations

import pandas as pd

from scan2gene.commands.predict_exams import _failed
from scan2gene.core.study import Study
from scan2gene.preprocess.recipe import roles_seen
from scan2gene.tasks.run_config import RunConfig, resolve

ROLES = {"flair": {}, "t1c": {}, "mask": {"kind": "label"}}


def _config(**changes) -> RunConfig:
    roles = {name: {"match": {"path": name}, "optional": True} | more for name, more in ROLES.items()}
    cohort = {"scans": ["scans"], "labels": "labels.csv", "roles": roles}
    runs = [{"name": "net", "model": {"name": "resnet10"}}]
    study = Study.model_validate({"name": "s", "cohort": cohort, "targets": {"gene": {}}, "runs": runs} | changes)
    return resolve(study, study.runs[0])


def test_an_exam_without_the_runs_roles_fails_with_that_reason():
    rows = [("E1", "flair", "ok", ""), ("E2", "t1c", "ok", ""), ("E3", "t1c", "failed", "cut short")]
    manifest = pd.DataFrame(rows, columns=["exam_id", "role", "status", "reason"])
    found = _failed(manifest, _config(data={"roles": ["t1c"]}), ["E1", "E2", "E3", "E4"])
    assert found == {"E1": "exam lacks t1c", "E3": "cut short", "E4": "exam lacks t1c"}


def test_a_run_is_judged_by_the_roles_that_it_sees_or_is_led_by():
    assert list(roles_seen(_config(data={"roles": ["t1c"]}))) == ["t1c"]
    led = _config(data={"roles": ["t1c"]}, preprocess=[{"name": "crop_to_mask", "options": {"mask": "mask"}}])
    assert list(roles_seen(led)) == ["t1c", "mask"]

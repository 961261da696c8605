"""Runs that start from the weights of another run: its head, its patients, and runs that do not fit."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

import scan2gene
from scan2gene.core.errors import CohortError, StudyError
from tests.integration.road import edit, nifti_study, shell
from tests.integration.starts import best_of, record_of, run_of

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    return scan2gene.run(nifti_study(folder, runs=[run_of("light", "light_cnn")]), folder / "run", until="predict")


def _second(folder: Path, first: Path, others: bool = True, **changes) -> Path:
    """A study whose patients have other ids than the first one's, unless told."""
    weights = {"run": str(first)} | changes.pop("weights", {})
    study = nifti_study(folder, runs=[run_of("next", changes.pop("model", "light_cnn"), weights=weights)], **changes)
    if others:
        for path in sorted((folder / "scans").iterdir()):
            path.rename(path.with_name(path.name.replace("P", "Q")))
        (folder / "labels.csv").write_text((folder / "labels.csv").read_text().replace("\nP", "\nQ"))
        values = yaml.safe_load(study.read_text())
        edit(study, cohort=values["cohort"] | {"patient_pattern": r"(Q\d+)"})
    return study


def test_another_cohort_starts_from_the_run_and_keeps_its_head_for_the_same_targets(first, tmp_path):
    study = _second(tmp_path, first, train={"epochs": 1, "learning_rate": 1e-9})
    out = scan2gene.run(study, tmp_path / "run", until="train")
    record = record_of(out, "next")
    assert record["head"] == "kept"
    assert record["weights"] == "light of tiny"
    one, two = best_of(first, "light"), best_of(out, "next")
    assert list(one) == list(two)
    assert two["head.norm.num_batches_tracked"] > one["head.norm.num_batches_tracked"]  # its statistics went on
    for name in (n for n in one if not n.startswith(("head.norm.running", "head.norm.num"))):
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-6)


def test_other_targets_get_a_new_head(first, tmp_path):
    study = _second(tmp_path, first, train={"epochs": 1, "learning_rate": 1e-9}, targets={"other": {"column": "gene"}})
    out = scan2gene.run(study, tmp_path / "run", until="train")
    assert record_of(out, "next")["head"] == "new"
    one, two = best_of(first, "light"), best_of(out, "next")
    assert not torch.equal(one["head.linear.weight"], two["head.linear.weight"])
    torch.testing.assert_close(one["blocks.0.0.weight"], two["blocks.0.0.weight"], rtol=0, atol=1e-6)


def test_patients_that_the_start_has_seen_are_not_tested_on(first, tmp_path):
    study = _second(tmp_path, first, others=False, seed=99)
    with pytest.raises(
        CohortError, match=r"(\d+) of 8 test patients were seen by the network that it starts from"
    ) as stop:
        scan2gene.run(study, tmp_path / "run")
    tested = pd.read_csv(tmp_path / "run" / "split.csv").query("part == 'test'")["patient_id"]
    seen = pd.read_csv(first / "split.csv").query("part != 'test'")["patient_id"]
    assert f"{len(set(tested) & set(seen))} of 8" in str(stop.value)
    edit(study, runs=[run_of("next", "light_cnn", weights={"run": str(first), "other_patients": True})])
    scan2gene.run(study, tmp_path / "run", until="train")


def test_the_same_split_may_start_from_itself(first, tmp_path):
    """Nobody who is tested was seen: the same seed gives the same parts."""
    study = _second(tmp_path, first, others=False, train={"epochs": 1})
    scan2gene.run(study, tmp_path / "run", until="train")


def test_what_a_start_saw_through_its_own_start_counts(first, tmp_path):
    second = scan2gene.run(_second(tmp_path / "b", first, train={"epochs": 1}), tmp_path / "b" / "run", until="train")
    study = _second(tmp_path / "c", second, others=False, seed=99)  # patients of the first study
    with pytest.raises(CohortError, match="test patients were seen"):
        scan2gene.run(study, tmp_path / "c" / "run")


def test_pseudonyms_make_it_unknowable_and_that_is_said(first, tmp_path, capsys):
    folder = tmp_path / "veiled"
    study = nifti_study(folder, runs=[run_of("light", "light_cnn")], train={"epochs": 1})
    cohort = yaml.safe_load(study.read_text())["cohort"]
    edit(study, cohort=cohort | {"pseudonyms": "../key/key.csv"})
    veiled = scan2gene.run(study, folder / "run", until="train")
    capsys.readouterr()
    scan2gene.run(
        _second(tmp_path / "open", veiled, others=False, train={"epochs": 1}), tmp_path / "open" / "run", until="train"
    )
    assert "cannot be known" in capsys.readouterr().out
    edit(study, runs=[run_of("light", "light_cnn", weights={"run": str(first)})], seed=99)
    with pytest.raises(CohortError, match="test patients were seen"):  # true ids there, and ours are known
        scan2gene.run(study, folder / "second")
    assert str(first) not in "".join(p.read_text() for p in (folder / "second").rglob("*.json"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "resnet10"}, "is a light_cnn, and this run's model is resnet10"),
        ({"weights": {"name": "light2"}}, "'light2' is not known; valid: light"),
        ({"weights": {"fold": "cv-r0-f0"}}, "choose one with fold:, out of ['holdout-r0-f0']"),
        ({"cohort": 2}, "was trained on 1 channel, ['t1'], and this run has 2"),
    ],
)
def test_a_run_that_does_not_fit_is_refused(changes, said, first, tmp_path, monkeypatch):
    two = changes.pop("cohort", None)
    study = _second(tmp_path, first, others=False, **changes)
    if two:
        cohort = yaml.safe_load(study.read_text())["cohort"]
        edit(study, cohort=cohort | {"roles": {"t1": {"match": {"path": "t1"}}, "t2": {"match": {"path": "t2"}}}})
    assert said in shell(monkeypatch, "run", study, "-o", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_whose_network_has_another_geometry_is_refused(tmp_path):
    study = nifti_study(tmp_path / "a", 12, runs=[run_of("net")], train={"epochs": 1})
    out = scan2gene.run(study, tmp_path / "a" / "run", until="train")
    runs = [
        {
            "name": "b",
            "model": {"name": "resnet10", "options": {"geometry": "medicalnet"}},
            "weights": {"run": str(out)},
        }
    ]
    with pytest.raises(StudyError, match="weights need geometry 'standard'"):
        scan2gene.run(nifti_study(tmp_path / "b", 12, runs=runs), tmp_path / "b" / "run")

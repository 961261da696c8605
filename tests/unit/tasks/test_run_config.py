"""A run with everything set: what it changes of its study, and what a search changes of it."""

from __future__ import annotations

import pickle

import pytest
from pydantic import ValidationError

from scan2gene.core.study import Study
from scan2gene.tasks.run_config import RunConfig, resolve, resolved

SEARCH = {"over": {"weights.freeze": ["none", ["conv1"]], "train.learning_rate": {"low": 1e-4, "high": 1e-2}}}


def _configs(**changes) -> list[RunConfig]:
    roles = {"t1": {"match": {"path": "t1"}}, "mask": {"match": {"path": "m"}, "kind": "label"},
             "flair": {"match": {"path": "f"}}}  # fmt: skip
    runs = [
        {"name": "plain", "model": {"name": "resnet10"}},
        {"name": "other", "model": {"name": "light_cnn2d"}, "preprocess": [], "seed": 7, "targets": ["IDH"],
         "data": {"roles": ["flair"], "slices": {"per_patient": 4}, "batch_size": 2}, "train": {"epochs": 90}},
    ]  # fmt: skip
    study = {
        "name": "toy", "targets": {"IDH": {}, "size": {"left": "l", "right": "r"}}, "preprocess": [{"name": "zscore"}],
        "train": {"epochs": 7, "target_weights": {"IDH": 2.0, "size": 3.0}}, "runs": runs,
        "cohort": {"scans": ["s"], "labels": "l.csv", "roles": roles},
    }  # fmt: skip
    return resolved(Study.model_validate(study | changes))


def test_a_run_changes_only_what_it_names():
    plain, other = _configs()
    assert (plain.train.epochs, other.train.epochs) == (7, 90)
    assert (plain.seed, other.seed, other.study_seed) == (2026, 7, 2026)
    assert ([s.name for s in plain.recipe], other.recipe) == (["zscore"], ())
    assert (plain.data.batch_size, other.data.batch_size) == (8, 2)
    assert other.train.patience == plain.train.patience
    assert (plain.roles, other.roles) == (["t1", "flair"], ["flair"])
    assert (plain.channels, other.channels) == (["t1", "flair"], ["slice"])
    assert (plain.is_slices, other.is_slices) == (False, True)
    assert (plain.targets, other.targets) == (["IDH", "size"], ["IDH"])
    assert (plain.output_names, plain.num_logits, plain.has_sides) == (["IDH", "size.L", "size.R"], 2, True)
    assert not other.has_sides
    assert other.train.target_weights == {"IDH": 2.0}
    assert pickle.loads(pickle.dumps(other)) == other


def test_a_candidate_has_the_values_and_no_search():
    run = {"name": "net", "model": {"name": "resnet10"}, "weights": {"file": "a.pth"}, "search": SEARCH}
    (config,) = _configs(runs=[run])
    tried = config.with_values({"train.learning_rate": 0.5, "model.options.dropout": 0.1, "weights.freeze": "all"})
    assert (tried.train.learning_rate, tried.model.options, tried.probes) == (0.5, {"dropout": 0.1}, True)
    assert tried.search is None and config.search is not None
    assert (tried.train.epochs, tried.recipe, config.probes) == (7, config.recipe, False)
    assert tried == config.with_values(dict(reversed([("train.learning_rate", 0.5), ("model.options.dropout", 0.1),
                                                      ("weights.freeze", "all")])))  # fmt: skip
    assert [c.weights.freeze for c in config.candidates("weights")] == ["none", "none", ["conv1"]]
    assert config.candidates("train") == [config]  # a range has no list of values


def test_a_value_that_a_run_cannot_have_is_refused():
    plain, _ = _configs()
    for values in ({"train.epochs": 0}, {"train.speed": 1}, {"weights.freeze": "all"}, {"colour": "red"}):
        with pytest.raises(ValidationError):
            plain.with_values(values)


def test_slices_of_a_patient_may_be_told_from_the_study_or_the_run():
    study = Study.model_validate({
        "name": "toy", "targets": {"IDH": {}}, "allow_leakage": True, "data": {"slices": {}},
        "cohort": {"scans": ["s"], "labels": "l.csv", "roles": {"t1": {"match": {"path": "t1"}}}},
        "splits": [{"name": "cv", "kind": "kfold"}, {"name": "cut", "kind": "kfold", "unit": "slice"}],
        "runs": [{"name": "net", "model": {"name": "light_cnn2d"}}],
    })  # fmt: skip
    config = resolve(study, study.runs[0])
    assert config.is_leaky and config.is_slices

"""The study file: mistakes are named with their line and their mend."""

from __future__ import annotations

import re

import pytest

from scan2gene.core.errors import StudyError
from scan2gene.core.section import unknown_name
from scan2gene.core.study import study_hash
from scan2gene.core.study_file import load_study

STUDY = """\
name: toy
question: Does it show?
cohort:
  scans: [scans]
  labels: labels.csv
  exclude_file: exclude.csv
  roles:
    t1: {match: {path: t1}}
    mask: {match: {path: mask}, kind: label}
    flair: {match: {path: flair}, optional: true}
targets:
  IDH: {}
preprocess:
  - {name: zscore}
train: {epochs: 7}
runs:
  - name: plain
    model: {name: light_cnn}
  - name: long
    model: {name: light_cnn}
    preprocess: [{name: reorient, options: {axes: RAS}}]
    data: {roles: [flair], batch_size: 2}
    train: {epochs: 90}
"""


@pytest.fixture
def load(tmp_path):
    def load_text(text: str):
        (tmp_path / "study.yaml").write_text(text)
        return load_study(tmp_path / "study.yaml")

    return load_text


def changed(old: str, new: str) -> str:
    assert STUDY.count(old) == 1
    return STUDY.replace(old, new)


def refused(load, text: str) -> str:
    with pytest.raises(StudyError) as caught:
        load(text)
    return str(caught.value)


def test_paths_are_taken_from_the_studys_folder(load, tmp_path):
    cohort = load(STUDY).cohort
    assert cohort.scans == [str(tmp_path / "scans")]
    assert cohort.labels == str(tmp_path / "labels.csv")
    assert cohort.exclude_file == str(tmp_path / "exclude.csv")


@pytest.mark.parametrize(
    ("old", "new", "line", "wrong", "meant"),
    [
        ("question:", "queston:", 2, "queston", "question"),
        ("  labels:", "  lables:", 5, "lables", "labels"),
        ("kind: label", "knd: label", 9, "knd", "kind"),
        ("train: {epochs: 7}", "train: {epoch: 7}", 15, "epoch", "epochs"),
        ("    train: {epochs: 90}", "    trian: {epochs: 90}", 23, "trian", "train"),
        ("  IDH: {}", "  IDH: {positve: [1]}", 12, "positve", "positive"),
        ("{name: zscore}", "{name: zscore, option: {}}", 14, "option", "options"),
    ],
)
def test_an_unknown_key_is_named_with_its_line_and_the_likely_word(load, old, new, line, wrong, meant):
    message = refused(load, changed(old, new))
    (one,) = [m for m in message.splitlines() if "unknown key" in m]
    assert f"study.yaml:{line}:" in one
    assert f"{wrong!r} is not known" in one
    assert f"Did you mean {meant!r}?" in one


def test_every_mistake_is_listed_at_once(load):
    text = changed("train: {epochs: 7}", "train: {epochs: -7}").replace("kind: label", "knd: label")
    said = refused(load, text).splitlines()
    assert [" | " in line for line in said] == [False, True, False, True]  # each with its line below


@pytest.mark.parametrize(("part", "right"), [("data", "batch_size"), ("train", "epochs")])
def test_an_unknown_key_of_a_runs_override_is_named_with_its_line(load, part, right):
    line = {"data": 22, "train": 23}[part]
    message = refused(load, re.sub(rf"(    {part}:.*){right}", rf"\1{right}z", STUDY))
    assert f"study.yaml:{line}:" in message
    assert f"Did you mean {right!r}?" in message


def test_a_bad_value_of_a_runs_override_is_named_with_its_line(load):
    message = refused(load, changed("train: {epochs: 90}", "train: {epochs: 0}"))
    assert "study.yaml:23: runs.1.train.epochs" in message
    assert "(got 0)" in message


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (STUDY + "name: again\n", 24),
        (changed("  IDH: {}", "  IDH: {}\n  IDH: {positive: [2]}"), 13),
        (changed("train: {epochs: 7}", "train: {epochs: 7, epochs: 8}"), 15),
    ],
)
def test_a_key_given_twice_is_refused_where_yaml_would_keep_the_last(load, text, line):
    message = refused(load, text)
    assert f"study.yaml:{line}:" in message
    assert "twice" in message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("epochs: 7", "epochs: 0", ("study.yaml:15", "train.epochs", "takes 1 or more", "(got 0)")),
        ("epochs: 7", "epochs: many", ("study.yaml:15", "train.epochs", "'many'")),
        ("path: t1}", "path: '[t1'}", ("study.yaml:8", "'[t1' is no regular expression")),
        ("kind: label", "kind: mask", ("study.yaml:9", "'intensity' or 'label'", "'mask'")),
        ("name: toy", "nam: toy", ("study.yaml:1: name is missing",)),
        ("name: plain", "name: my run/1", ("study.yaml:17", "my run/1")),
        ("name: long", "name: plain", ("'plain'", "twice")),
        ("roles: [flair]", "roles: [flare]", ("'long'", "Did you mean 'flair'?")),
        ("scans: [scans]", "scans: []", ("study.yaml:3", "cohort: scans is missing")),
        ("scans: [scans]", "scans: scans", ("study.yaml:4: cohort.scans: takes a list", "(got 'scans')")),
        ("labels: labels.csv", "labels:", ("cohort: labels is missing",)),
        ("labels: labels.csv", "labels: {}", ("study.yaml:5: cohort.labels: takes a text or a list",)),
        ("IDH: {}", "IDH:", ("study.yaml:12: targets.IDH: takes keys with values, {key: value}, or {}, and nothing",)),
        ("roles: [flair], batch_size: 2", "slices: {per_patient: 0}", ("slices.per_patient: takes 1 or more",)),
    ],
)
def test_a_bad_value_is_named_with_its_line(load, old, new, words):
    message = refused(load, changed(old, new))
    assert [w for w in words if w not in message] == []


def test_labels_only_leave_a_network_nothing_to_look_at(load):
    text = re.sub(r"    (t1|flair): .*\n", "", STUDY).replace("roles: [flair], ", "")
    assert "nothing to look at" in refused(load, text)


@pytest.mark.parametrize("word", ["yes", "No", "true", "off"])
def test_a_bare_yes_or_no_is_refused_because_yaml_reads_a_truth_value(load, word):
    message = refused(load, changed("IDH: {}", f"IDH: {{positive: [{word}]}}"))
    assert "study.yaml:12" in message
    assert "quote" in message.lower()
    assert load(changed("IDH: {}", f"IDH: {{positive: ['{word}']}}")).targets["IDH"].positive == [word]


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words\n"])
def test_a_file_that_holds_no_study_is_refused(load, text):
    assert "holds no study" in refused(load, text)


@pytest.mark.parametrize("text", ["name: [a\n", "name: 'a\n", "\tname: a\n", "a: *b\n", "a: !!python/name:os.system\n"])
def test_a_file_that_is_not_yaml_is_refused_in_one_line(load, text):
    message = refused(load, text)
    assert "not readable YAML" in message
    assert "\n" not in message


def test_a_missing_file_says_how_to_begin(tmp_path):
    with pytest.raises(StudyError, match="scan2gene new"):
        load_study(tmp_path / "none.yaml")


def test_the_hash_does_not_depend_on_the_folder(tmp_path):
    hashes = set()
    for folder in (tmp_path / "here", tmp_path / "there" / "deeper"):
        folder.mkdir(parents=True)
        (folder / "study.yaml").write_text(STUDY + "evaluate: {ledger: ledger.csv}\n")
        hashes.add(study_hash(load_study(folder / "study.yaml")))
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("epochs: 7", "epochs: 8"),
        ("scans: [scans]", "scans: [other]"),
        ("labels.csv", "labels2.csv"),
        ("exclude.csv", "exclude2.csv"),
        ("IDH: {}", "IDH: {positive: [2]}"),
        ("axes: RAS", "axes: LAS"),
    ],
)
def test_the_hash_depends_on_what_the_study_says(load, old, new):
    assert study_hash(load(STUDY)) != study_hash(load(changed(old, new)))


def test_an_unknown_name_lists_the_valid_ones():
    assert unknown_name("x", ["b", "a"]) == "'x' is not known; valid: a, b."


@pytest.fixture
def path(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path / "study.yaml"


def test_keys_are_set_from_the_command_line(path):
    study = load_study(path, ["train.epochs=3", "runs.long.train.epochs=5", "runs.0.model.name=resnet10", "seed=7"])
    assert (study.train.epochs, study.seed, study.runs[0].model.name) == (3, 7, "resnet10")
    assert study.runs[1].train["epochs"] == 5
    assert load_study(path, ["train.schedule={name: cosine}"]).train.schedule.name == "cosine"
    assert load_study(path, ["cohort.include.Modality=MR"]).cohort.include == {"Modality": "MR"}
    assert load_study(path, ["data.roles=[flair]"]).data.roles == ["flair"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("train.epoch=3", "--set train.epoch=3: train.epoch: unknown key. 'epoch' is not known"),
        ("train.epochs=none", "--set train.epochs=none: train.epochs"),
        ("runs.lng.train.epochs=3", "Did you mean 'long'?"),
        ("train", "takes KEY=VALUE"),
        ("name.x=3", "name holds a value, no keys"),
        ("train.epochs=[3", "not readable YAML"),
    ],
)
def test_a_wrong_change_is_named(path, change, words):
    with pytest.raises(StudyError) as caught:
        load_study(path, [change])
    assert words in str(caught.value)

"""Study files that would hang, overflow or mean another number than the one that stands there."""

from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scan2gene.core.errors import StudyError
from scan2gene.core.study import Study
from scan2gene.core.study_file import load_study
from scan2gene.core.yaml_text import MAX_DEPTH, read_yaml
from scan2gene.recipes import recipe_text, recipes

BASE = """name: toy
cohort: {scans: [s], labels: l.csv, roles: {t1: {match: {path: t1}}}}
targets: {y: {positive: [1], negative: [0]}}
"""
RUN = "runs: [{name: a, model: {name: light_cnn%s}%s}]\n"
BOMB = "x0: &x0 [a, a, a, a, a, a, a, a, a]\n" + "".join(
    f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
CHAIN = "licences: &c0 [a]\n" + "".join(f"c{i}: &c{i} [*c{i - 1}]\n" for i in range(1, 2000))


def load(folder, text, *changes):
    (folder / "study.yaml").write_text(BASE + text)
    return load_study(folder / "study.yaml", changes)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (BOMB, "values"),
        (BOMB.replace("x0: &x0", "licences: &x0", 1), "values"),
        (CHAIN, "deep"),
        ("licences: " + "[" * 20_000 + "]" * 20_000, "deep"),
        ("licences: " + "{a: " * 900 + "1" + "}" * 900, "deep"),
        ("licences:\n" + "".join(" " * (k + 1) + "-\n" for k in range(500)), "deep"),
        ("question: &a [*a]", "alias"),
        ("licences: [" + "a, " * 50_000 + "b]", "values"),
        ("question: " + "a" * 600_000, "letters"),
    ],
)
def test_what_would_hang_or_overflow_is_refused_at_once(tmp_path, text, word):
    begin = time.process_time()
    with pytest.raises(StudyError, match=rf"study\.yaml .*{word}"):
        load(tmp_path, text)
    assert time.process_time() - begin < 5


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("licences=" + "[" * 20_000 + "]" * 20_000, "deep"),
        ("train" + ".a" * 20_000 + "=1", "parts"),
        ("train={epochs: 1, epochs: 2}", "twice"),
        ("question=&a [*a]", "alias"),
        ("train.epochs=" + "9" * 6000, "whole number"),
    ],
)
def test_changes_have_the_same_bounds(tmp_path, change, word):
    with pytest.raises(StudyError, match=word) as caught:
        load(tmp_path, "", change)
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("train: {epochs: 1000000000000000000000000000}", "train.epochs"),
        ("train: {patience: 10000000000}", "train.patience"),
        ("train: {accumulate: 10000000000}", "train.accumulate"),
        ("train: {learning_rate: .inf}", "train.learning_rate"),
        ("train: {weight_decay: .nan}", "train.weight_decay"),
        ("train: {target_weights: {y: .inf}}", "train.target_weights.y"),
        ("data: {batch_size: 1000000000000}", "data.batch_size"),
        ("evaluate: {bootstrap: 10000000000}", "evaluate.bootstrap"),
        ("evaluate: {shuffles: 10000000000}", "evaluate.shuffles"),
        ("explain: {exams: 100000000000}", "explain.exams"),
        ("seed: 99999999999999999999", "seed"),
        ("splits: [{name: a, kind: kfold, folds: 1000000000000}]", "splits.0.folds"),
        ("preprocess: [{name: resample, options: {spacing: [.nan, 1, 1]}}]", "preprocess.0.options"),
        (RUN % (", options: {width: 100000000000000000000}", ""), "runs.0.model.options"),
        (RUN % ("", ", train: {epochs: 100000000000000000000}"), "runs.0.train"),
        (RUN % ("", ", search: {over: {train.epochs: [.nan]}}"), "runs.0.search.over.train.epochs"),
        (RUN % ("", ", search: {over: {train.learning_rate: {low: 1, high: .inf}}}"), "runs.0.search.over"),
    ],
)
def test_numbers_beyond_all_use_are_named_with_their_key(tmp_path, text, key):
    with pytest.raises(StudyError, match=rf"study\.yaml:4: {key}"):
        load(tmp_path, text)


def test_codes_of_a_study_file_are_what_stands_there(tmp_path):
    codes = "[010, 1_0, 0x1F, 1:30, 2020-01-01, 1149756007, 12E5, 1.50]"
    (tmp_path / "study.yaml").write_text(BASE.replace("[1]", codes))
    target = load_study(tmp_path / "study.yaml").targets["y"]
    assert target.positive == ["010", "1_0", "0x1F", "1:30", "2020-01-01", 1149756007, "12E5", 1.5]


def test_a_change_of_one_run_leaves_another_that_shares_its_lines(tmp_path):
    runs = """runs:
- {name: a, model: {name: light_cnn}, train: &shared {epochs: 3}}
- {name: b, model: {name: light_cnn}, train: *shared}
"""
    study = load(tmp_path, runs, "runs.a.train.epochs=9")
    assert [run.train["epochs"] for run in study.runs] == [9, 3]


def test_every_recipe_is_read_as_by_yaml_itself():
    for name in recipes():
        assert read_yaml(recipe_text(name))[0] == yaml.safe_load(recipe_text(name))


_LEAVES = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text(max_size=5)


@given(
    st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner), max_leaves=20)
)
def test_what_is_written_is_read_back_as_by_yaml_itself(values):
    text = yaml.safe_dump(values, allow_unicode=True)
    assert read_yaml(text)[0] == yaml.safe_load(text)


def test_levels_are_counted_exactly():
    read_yaml("[" * (MAX_DEPTH - 1) + "1" + "]" * (MAX_DEPTH - 1))
    with pytest.raises(ValueError, match="deep"):
        read_yaml("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


def test_every_whole_number_of_a_study_has_an_upper_bound():
    """Also those that are added later. Values of labels, options and ranges are checked elsewhere."""
    schema = Study.model_json_schema()
    sections = {"Study": schema} | schema["$defs"]
    open_ended = [
        f"{name}.{key}"
        for name, section in sections.items()
        for key, about in section.get("properties", {}).items()
        for kind in (about, *about.get("anyOf", ()))
        if kind.get("type") == "integer" and "maximum" not in kind and name != "Range"
    ]
    assert open_ended == []

"""What a stage's key depends on: its version and its inputs, by name and value."""

from __future__ import annotations

from scan2gene.stages import STAGES
from scan2gene.stages.job import VERSIONS, stage_key


def test_the_key_depends_on_stage_names_and_values():
    keys = {stage_key("split", a=1, b=2), stage_key("split", a=2, b=1), stage_key("split", a=1),
            stage_key("split", a=1, b=None), stage_key("curate", a=1, b=2)}  # fmt: skip
    assert len(keys) == 5
    assert stage_key("split", b=2, a=1) in keys


def test_the_key_depends_on_the_version_of_its_own_stage(monkeypatch):
    before = {name: stage_key(name) for name in VERSIONS}
    monkeypatch.setitem(VERSIONS, "train", 99)
    assert {name for name in VERSIONS if stage_key(name) != before[name]} == {"train"}


def test_every_stage_has_a_version():
    assert set(STAGES) <= set(VERSIONS)

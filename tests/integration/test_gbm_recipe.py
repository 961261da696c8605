"""The GBM recipe does its document's step, with the safer rule beside it, and prepares only what its runs read."""

from __future__ import annotations

import pandas as pd
import yaml

import scan2gene
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.study import Study
from scan2gene.preprocess.recipe import recipe_hash
from scan2gene.recipes import recipe_text
from scan2gene.stages.job import Job, stores
from scan2gene.tasks.run_config import resolved
from tests.integration.road import edit, nifti_study


def _recipe() -> Study:
    return Study.model_validate(yaml.safe_load(recipe_text("gbm-mutations")))


def test_the_study_s_rule_is_the_recipe_s_and_one_run_has_the_safer_one():
    study = _recipe()
    steps = {config.name: list(config.recipe) for config in resolved(study) if config.is_slices}
    rules = {name: next(s.options["rule"] for s in step if s.name == "edge_slices") for name, step in steps.items()}
    (safer,) = [name for name, rule in rules.items() if rule == "foreground"]
    like = [name for name in rules if name != safer and safer.startswith(name)]
    assert like and all(rules[name] == "middle" for name in rules if name != safer)
    assert [s for s in steps[safer] if s.name != "edge_slices"] == [
        s for s in steps[like[0]] if s.name != "edge_slices"
    ]


def test_volume_runs_prepare_the_roles_that_they_read(tmp_path):
    study = _recipe()
    by_store = {store.name: set(roles) for _, store, roles in stores(Job(study, RunDirectory(tmp_path)))}
    configs = {config.name: config for config in resolved(study)}
    assert by_store[recipe_hash(configs["ResNet10-3D"].recipe)] == {"flair_axial", "t1c_axial"}
    assert by_store[recipe_hash(configs["AlexNet2D"].recipe)] == set(study.cohort.roles)


def test_runs_that_share_a_store_prepare_the_roles_of_both(tmp_path):
    study = nifti_study(tmp_path, 12)
    for path in sorted((tmp_path / "scans").glob("*/t1.nii.gz")):
        for name in ("t2", "flair"):
            path.with_name(f"{name}.nii.gz").write_bytes(path.read_bytes())
    roles = {name: {"match": {"path": f"{name}.nii"}} for name in ("t1", "t2", "flair")}
    light = {"name": "light", "model": {"name": "light_cnn"}, "data": {"roles": ["t1"]}}
    other = [{"name": "crop_or_pad", "options": {"shape": [6, 6, 6]}}]
    edit(
        study,
        cohort=yaml.safe_load(study.read_text())["cohort"] | {"roles": roles},
        runs=[
            light,
            light | {"name": "both", "data": {"roles": ["flair"]}},
            light | {"name": "own", "preprocess": other},
        ],
    )
    out = scan2gene.run(study, tmp_path / "run", until="preprocess")
    prepared = {frozenset(pd.read_csv(p)["role"]) for p in (out / "store").glob("*/manifest.csv")}
    assert prepared == {frozenset({"t1", "flair"}), frozenset({"t1"})}

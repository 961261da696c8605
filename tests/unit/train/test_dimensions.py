"""Every network of the catalogue against studies of volumes and of slices, when the study is checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import torch
from tests.stand_in import accept, write_stand_in

from scan2gene.core.errors import StudyError
from scan2gene.core.study import Study
from scan2gene.core.study_runs import Weights
from scan2gene.data.samples import Samples
from scan2gene.forward.embed import embed
from scan2gene.models import MODELS
from scan2gene.models.probe import Probe, Probed
from scan2gene.models.start import check_start
from scan2gene.models.weights import WEIGHTS
from scan2gene.stages.pipeline import check
from scan2gene.tasks.run_config import resolved

OF_SLICES = {"light_cnn2d", "alexnet2d", "se_resnet50", "convnextv2", "convnextv2_plain", "vision_lstm", "vil", "vit2d"}


def _study(network: str, slices: bool, of_run: bool = False, **run: Any) -> Study:
    seen = {"slices": {} if slices else None}
    return Study.model_validate(
        {
            "name": "checked",
            "cohort": {"scans": ["scans"], "labels": "labels.csv", "roles": {"t1": {"match": {"path": "t1"}}}},
            "targets": {"gene": {}},
            "data": {"slices": None if slices else {}} if of_run else seen,
            "runs": [{"name": "one", "model": {"name": network}} | ({"data": seen} if of_run else {}) | run],
        }
    )


@pytest.mark.parametrize("of_run", [False, True], ids=["study", "run"])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_network_and_what_it_is_shown_must_fit(name, of_run):
    flat = name in OF_SLICES
    check(_study(name, slices=flat, of_run=of_run))
    wrong = "single slices; set data.slices, such as slices: {}" if flat else "whole volumes; set data.slices: null"
    with pytest.raises(StudyError, match=f"^run one: {name} sees {wrong}$"):
        check(_study(name, slices=not flat, of_run=of_run))


def test_options_that_a_network_refuses_are_told_when_the_study_is_checked():
    with pytest.raises(
        StudyError, match=r"run one: resnet25d cannot have these options: .*valid: attention, max, mean"
    ):
        check(_study("resnet25d", slices=False, model={"name": "resnet25d", "options": {"pooling": "attn"}}))


def test_a_frozen_2_5d_network_pools_by_a_rule_or_is_refused():
    frozen = {"weights": {"name": "imagenet-resnet18", "freeze": "all"}}
    with pytest.raises(StudyError, match=r"attention over slices.*as random as it begins; set model.options to"):
        check(_study("resnet25d", slices=False, **frozen))
    check(_study("resnet25d", slices=False, model={"name": "resnet25d", "options": {"pooling": "mean"}}, **frozen))
    check(_study("resnet25d", slices=False, weights={"name": "imagenet-resnet18", "freeze": ["conv1", "layer1"]}))


def test_a_file_that_lacks_attention_is_not_frozen_with_it(tmp_path, monkeypatch):
    file = write_stand_in("imagenet-resnet18", tmp_path / "own.pth", seed=1)
    monkeypatch.setitem(WEIGHTS, "imagenet-resnet18", WEIGHTS["imagenet-resnet18"])  # taken back afterwards
    accept("imagenet-resnet18", file)
    study = _study("resnet25d", slices=False, weights={"file": str(file), "freeze": "all"})
    check(study)  # no file is opened yet
    (config,) = resolved(study)
    with pytest.raises(StudyError, match=r"attention over slices.*as random as it begins"):
        check_start(config)
    check_start(replace(config, weights=Weights(file=str(file))))


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_head_on_stored_2_5d_embeddings_answers_as_the_whole_network(pooling):
    torch.manual_seed(0)
    encoder = MODELS["resnet25d"](1, 1, pooling=pooling)
    whole = Probed(encoder, Probe(512, 1, 1)).eval()
    x, present = torch.randn(3, 1, 4, 32, 32), torch.ones(3, 1)
    data = Samples(pd.DataFrame({"exam_id": [*"abc"]}), x, present, torch.zeros(3, 1), {}, ("gene",))
    stored = embed(encoder, data, batch_size=2)
    assert stored.shape == (3, 512) and stored.std(dim=0).max() > 0
    torch.testing.assert_close(whole.probe(stored, present), whole(x, present), rtol=1e-4, atol=1e-5)

"""Every kind of learning has what stages ask of it."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
from tests.bare_fit import STUDY

from scan2gene.core.study import Study
from scan2gene.core.study_runs import Weights
from scan2gene.learners import LEARNERS, learner, learner_of, reads_images
from scan2gene.learners.protocol import Learner
from scan2gene.tasks.run_config import RunConfig, resolve


def _config(model: str, weights: Weights | None = None) -> RunConfig:
    study = Study.model_validate(STUDY | {"runs": [{"name": "r", "model": {"name": model}, "weights": weights}]})
    return resolve(study, study.runs[0])


@pytest.mark.parametrize("name", LEARNERS)
def test_each_has_every_member_with_its_parameters(name):
    kind = learner(name)
    assert isinstance(kind.TRAINS_ON_IMAGES, bool)
    assert set(LEARNERS[name]) <= set(kind.MODELS)
    for member, wanted in inspect.getmembers(Learner, inspect.isfunction):
        if not member.startswith("_"):
            _, *parameters = inspect.signature(wanted).parameters
            assert list(inspect.signature(getattr(kind, member)).parameters) == parameters


def test_a_run_has_the_learner_of_its_model_and_weights():
    frozen = Weights(name="medicalnet-resnet10", freeze="all")
    cases = {"network": _config("resnet10"), "probe": _config("resnet10", frozen), "tabular": _config("clinical")}
    for name, config in cases.items():
        assert learner_of(config) is learner(name)
    assert [name for name, config in cases.items() if reads_images(config)] == ["network", "probe"]


def test_which_runs_read_images_is_known_without_torch():
    code = "import sys, scan2gene.learners; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"

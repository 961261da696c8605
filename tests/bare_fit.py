"""A fit of a network without a study, for tests of the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scan2gene.core.rundir import FitDirectory
from scan2gene.core.study import Study
from scan2gene.core.study_runs import Data, Train
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.outputs import Output
from scan2gene.tasks.run_config import resolve

STUDY = {
    "name": "bare", "targets": {"gene": {}}, "seed": 0, "runs": [{"name": "net", "model": {"name": "light_cnn"}}],
    "cohort": {"scans": ["scans"], "labels": "labels.csv", "roles": {"t1": {"match": {"path": "t1"}}}},
    "splits": [{"name": "cv", "kind": "kfold"}],
}  # fmt: skip


def bare_fit(
    folder: Path | None,
    data: Data | None = None,
    train: Train | None = None,
    seed: int = 5,
    outputs: Sequence[Output] = (),
) -> Fit:
    """A fit of the run "net" with these settings and seed; without outputs all are binary, however many there are."""
    study = Study.model_validate(STUDY)
    config = replace(resolve(study, study.runs[0]), data=data or Data(), train=train or Train(), outputs=tuple(outputs))
    return Fit(config, "cv", 0, seed, FitDirectory(folder or Path("nowhere")))  # the fold moves the seed

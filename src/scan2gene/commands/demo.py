"""The main job on synthetic patients."""

from __future__ import annotations

import shutil
from pathlib import Path

from scan2gene.core.console import say
from scan2gene.core.errors import RunError
from scan2gene.core.files import value_hash, write_text
from scan2gene.core.rundir import RunDirectory
from scan2gene.phantom.exams import write_cohort
from scan2gene.phantom.patients import best_auroc
from scan2gene.recipes import recipe_text
from scan2gene.stages.pipeline import run


def run_demo(out: Path, patients: int, effect: float, seed: int) -> tuple[Path, float]:
    """Write a synthetic breast cohort as DICOM and run the recipe `demo` on it.

    Args:
        out: Gets `cohort/`, `demo.yaml` and `run/`.
        patients: How many.
        effect: Planted effect, in standard deviations; 0 for none.
        seed: Of the cohort.

    Returns:
        The run directory, and the best AUROC that any classifier can reach.

    Raises:
        RunError: `out` holds another cohort.
    """
    key = value_hash([patients, effect, seed])
    cohort, unfinished = out / "cohort", out / ".cohort-unfinished"
    if not RunDirectory(out).is_done("cohort", key):
        if cohort.exists():
            raise RunError(f"{cohort} holds something else, and nothing is deleted. Name another folder with -o.")
        if unfinished.exists():  # of a demo that was stopped while it wrote scans
            shutil.rmtree(unfinished)
        write_cohort(unfinished, patients, effect, "breast", ("t1c",), seed, troubles=True)
        unfinished.rename(cohort)
        RunDirectory(out).mark_done("cohort", key, [cohort / "labels.csv"])
    say("cohort", f"{patients} synthetic patients with planted effect {effect:g} in {cohort}")
    study = out / "demo.yaml"
    write_text(study, recipe_text("demo"))
    return run(study, out / "run"), best_auroc(effect)

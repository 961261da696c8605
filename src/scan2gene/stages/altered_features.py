"""Features of altered copies of some tested exams, and what models on features say of them.

Features do not depend on a fit: each copy is measured once for all of them.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scan2gene.core.errors import Scan2GeneError
from scan2gene.core.rundir import FitDirectory
from scan2gene.core.stopwatch import Stopwatch
from scan2gene.core.tables import EXTERNAL
from scan2gene.stages.features import read_by_runs, wanted_tables
from scan2gene.stages.job import Job, stage_key
from scan2gene.stages.variants import lesion_role, variant_rows
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.outputs import one_vs_rest

if TYPE_CHECKING:
    from scan2gene.features.compute import Wanted
    from scan2gene.features.exam import Exam

MOST_PATIENTS = 30  # tested, of a split


def computed_by_runs(job: Job) -> list[str]:
    """Names of the features that a run reads and that are computed from the images."""
    return [name for name in read_by_runs(job) if job.study.features[name].name]


def alter_features(job: Job) -> None:
    """Write features/altered/<name>.parquet: numbers of each altered copy of the exams of some tested patients."""
    from scan2gene.features import altered
    from scan2gene.features.compute import compute

    wanted, mask = wanted_tables(job.study, computed_by_runs(job)), lesion_role(job.study)
    if not wanted:
        return
    exams, scans = _sample(job), (job.out.stamp("index") or {}).get("key")
    keys = {
        want.name: stage_key("altered_features", table=want.key, exams=list(exams["exam_id"]), scans=scans, mask=mask,
                             version=altered.VERSION, seed=job.study.seed) for want in wanted
    }  # fmt: skip
    left = [want for want in wanted if not job.out.is_done(f"altered_features/{want.name}", keys[want.name])]
    if not left:
        return
    watch = Stopwatch()
    variants = list(altered.VARIANTS) if mask else ["noise"]
    copies = [copy for variant in variants for copy in _copies(job, left, exams, variant)]
    unfinished = job.out.unfinished_features.path
    tables = compute(copies, exams, job.paths(), unfinished, job.pseudonymiser or str)
    for want in left:
        by_variant = {copy.name.partition("/")[2]: tables[copy.name] for copy in copies if copy.block is want.block}
        table = pd.concat(by_variant, names=["variant"]).reset_index("variant").reset_index(drop=True)
        file = job.out.altered_features(want.name)
        file.write(table)
        job.out.mark_done(f"altered_features/{want.name}", keys[want.name], [file], **watch.stamp())
    unfinished.unlink(missing_ok=True)


def _copies(job: Job, wanted: list[Wanted], exams: pd.DataFrame, variant: str) -> list[Wanted]:
    """The tables with one altered copy in place of each exam; those of one preparation adjoin."""
    from dataclasses import replace

    from scan2gene.features.altered import VERSION, Alterations

    mask, copies = lesion_role(job.study) or "", []
    for want in sorted(wanted, key=lambda w: w.recipe):
        how = Alterations(mask, job.study.seed, _lender(job, want, exams))
        alone = f"{VERSION} {variant} {mask} {job.study.seed} {'/'.join(exams['exam_id'])}"
        copies.append(replace(want, name=f"{want.name}/{variant}", alter=how.of(variant), altered=alone))
    return copies


def _lender(job: Job, want: Wanted, exams: pd.DataFrame):
    """Gives the exam, without its lesion, that lends its surroundings; read at the first call, and then kept."""
    from scan2gene.features.altered import Alterations, without_lesion
    from scan2gene.features.compute import read_exam, sources_of

    @cache
    def lender() -> Exam | None:
        how, paths = Alterations(lesion_role(job.study) or "", job.study.seed, lambda: None), job.paths()
        having = sorted(exams.to_dict("records"), key=lambda exam: -len(sources_of(exam, want.roles, paths)))
        for exam in having:  # of all roles first
            try:
                ready = read_exam(sources_of(exam, want.roles, paths), want.roles, want.block.preprocess)
                return without_lesion(how, ready, exam["exam_id"])
            except (Scan2GeneError, KeyError):
                continue
        return None

    return lender


def _sample(job: Job) -> pd.DataFrame:
    """Rows of cohort.csv of at most `MOST_PATIENTS` tested patients of each split, classes as even as can be."""
    cohort, split = job.out.cohort.read(), job.out.split.read()
    labels = one_vs_rest(job.out.labels.read(), job.study.targets).dropna(subset=["value"])
    order = np.random.default_rng(job.study.seed).permutation(sorted(cohort["patient_id"].unique()))
    chosen: set[str] = set()
    for _, rows in split[~split["part"].isin(["train", "validation", EXTERNAL])].groupby("split", sort=False):
        tested = [p for p in order if p in set(rows["patient_id"])]
        chosen |= set(evenly(tested, labels, MOST_PATIENTS))
    return cohort[cohort["patient_id"].isin(chosen)].reset_index(drop=True)


def evenly(patients: list[str], labels: pd.DataFrame, most: int) -> list[str]:
    """Some patients, taken in turns from the class of a target that has the fewest among them so far.

    Args:
        patients: In the order in which they are taken.
        labels: patient_id, target, value.
        most: How many are taken, if there are so many with a label.
    """
    classes = {
        place: [p for p in patients if p in set(rows["patient_id"])]
        for place, rows in labels.groupby(["target", "value"], sort=True)
    }
    chosen: list[str] = []
    while len(chosen) < most:
        left = {place: [p for p in own if p not in chosen] for place, own in classes.items()}
        places = [place for place in left if left[place]]
        if not places:
            break
        fewest = min(places, key=lambda place: len(classes[place]) - len(left[place]))
        chosen.append(left[fewest][0])
    return chosen


def altered_features_fit(job: Job, fit: Fit) -> FitDirectory | None:
    """Write what one fit on computed features says of altered copies; None for other fits."""
    from scan2gene.learners.fold import predict_fold
    from scan2gene.learners.tabular import samples_of

    blocks = fit.config.model.options.get("features", ())
    if not blocks or not set(blocks) <= set(computed_by_runs(job)):
        return None
    folder, stage = fit.folder, f"variants/{fit.folder.name}"
    files = {name: job.out.altered_features(name) for name in blocks}
    key = stage_key("variants", fit=fit.key, tables={name: file.hash() for name, file in files.items()})
    if job.out.is_done(stage, key):
        return folder
    tables = {name: _as_exams(file.read()) for name, file in files.items()}
    cohort = job.out.cohort.read()
    tested = cohort[cohort["patient_id"].map(fit.parts) == "test"]
    copies = tables[blocks[0]][["variant", "copy_of", "exam_id"]]
    some = tested.merge(copies, left_on="exam_id", right_on="copy_of", suffixes=("_of", "")).drop(columns="exam_id_of")
    unknown = np.full((len(some), len(fit.config.output_names)), np.nan)
    data = samples_of(fit.config, some, unknown, {n: t.drop(columns=["variant", "copy_of"]) for n, t in tables.items()})
    altered: dict[str, dict[str, np.ndarray]] = {}
    if len(data.table):  # all copies at once: loading a model takes longer than its answers
        logits = predict_fold(fit, data).logits["original"]
        for variant, exam, of_copy in zip(data.table["variant"], data.table["copy_of"], logits, strict=True):
            altered.setdefault(variant, {})[exam] = of_copy
    folder.variants.write(variant_rows(job, fit, altered))
    job.out.mark_done(stage, key, [folder.variants])
    return folder


def _as_exams(table: pd.DataFrame) -> pd.DataFrame:
    """Altered copies as if each were an exam; column copy_of has the exam that it was made from."""
    identity = table["variant"] + " of " + table["exam_id"]
    return pd.concat([table.drop(columns="exam_id"), table["exam_id"].rename("copy_of"), identity.rename("exam_id")],
                     axis=1)  # fmt: skip

"""Every fit of a study, and the searches."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd

from scan2gene.core.console import live, say
from scan2gene.core.errors import StudyError
from scan2gene.core.outputs import output_names
from scan2gene.core.rundir import FitDirectory, fold_name
from scan2gene.core.stopwatch import Stopwatch
from scan2gene.core.study import candidates, for_run, input_roles
from scan2gene.core.study_runs import Run
from scan2gene.core.text import duration, number_text
from scan2gene.stages.job import Job, folds, model_versions, run_data


def train_runs(job: Job) -> str:
    """Train every run in every fold that is not trained yet."""
    from scan2gene.train.fold import train_fold
    from scan2gene.train.search import search_fold

    made = total = 0
    work = list(folds(job))
    for note in dict.fromkeys(n for one, _, _, parts, _, _ in work for n in _forbid_seen(job, one, parts)):
        say("", f"  {note}")
    _forbid_one_site(job, work)
    if not job.dry:
        _tell_searches([one for one, _, _, _, folder, key in work if not job.out.is_done(_stage(folder), key)])
    for one, view, fold, parts, folder, key in work:
        total += 1
        stage = _stage(folder)
        if job.is_done(stage, key):
            if not job.dry:
                folder.last.path.unlink(missing_ok=True)  # of a run that was killed just here
            continue
        watch = Stopwatch()
        if one.search:
            search_fold(job.study, one, partial(run_data, job), parts, fold, folder.path, key)
        else:
            data, targets = run_data(job, one, view)
            train_fold(view, one, data, targets, parts, fold, folder.path, key)
        live("")
        _keep_record(job, one, folder)
        _draw_augmentation(job, one, parts, fold, folder)
        cost = watch.stamp()
        files = (folder.best, folder.model, folder.history, folder.search, folder.weights, folder.network,
                 folder.harmonise, folder.sampling)  # fmt: skip
        job.out.mark_done(stage, key, [f for f in files if f.exists()], models=model_versions(one), **cost)
        folder.last.path.unlink(missing_ok=True)
        made += 1
        job.worked = True
        say("", f"  {one.name} {fold['split']} fold {fold['fold']}: {_told(folder)}{duration(cost['seconds'])}")
    _join_histories(job, made > 0)
    return f"{total} fits, {made} new"


def _stage(folder: FitDirectory) -> str:
    return f"train/{folder.name}"


def _tell_searches(fits: list[Run]) -> None:
    """What a search will cost, before it begins."""
    for one in dict.fromkeys(run.name for run in fits if run.search):
        mine = [run for run in fits if run.name == one]
        trials = mine[0].search.trials if mine[0].search else 0
        say("", f"  {one}: a search of {trials} trials in each of {len(mine)} folds, {trials * len(mine)} fits in all; "
                "`scan2gene plan` says how long they take")  # fmt: skip


def _keep_record(job: Job, one: Run, folder: FitDirectory) -> None:
    """Say beside a model how large it is, and beside a head what its frozen encoder was."""
    from scan2gene.train.fold import is_classical
    from scan2gene.train.networks import probes, size
    from scan2gene.train.search import chosen_run

    one = chosen_run(one, folder.path)
    view = for_run(job.study, one)
    if is_classical(one):
        numbers = (len(one.model.options["columns"]) + 1) * len(output_names(view))
        folder.network.write({"parameters": numbers, "trained": numbers})
        return
    if probes(one):
        from scan2gene.train.embedded import keep_record

        keep_record(job.out.path / "embeddings", job.store(view).path, view, one, folder.path)
    folder.network.write(size(view, one, folder.path))


def _draw_augmentation(job: Job, one: Run, parts: dict[str, str], fold: dict[str, Any], folder: FitDirectory) -> None:
    """Beside the first run with a list of augmentation, in its first fold: a training exam as the network saw it."""
    from scan2gene.imaging.nifti import read_nifti
    from scan2gene.train.examples import draw_examples
    from scan2gene.train.fold import fold_seed, is_classical
    from scan2gene.train.networks import probes
    from scan2gene.train.search import chosen_run

    split = job.out.split.read().iloc[0]
    if folder.path.name != fold_name(split["split"], split["repeat"], split["fold"]):
        return
    path = job.out.experiment(one.name).augmentation.path
    path.unlink(missing_ok=True)
    before = job.study.runs[: [r.name for r in job.study.runs].index(one.name)]
    shown = [for_run(job.study, r).data.augment for r in before if not (is_classical(r) or probes(r) or r.search)]
    one = chosen_run(one, folder.path)
    view = for_run(job.study, one)
    if is_classical(one) or probes(one) or not view.data.augment or view.data.augment in shown or view.data.slices:
        return  # slices are drawn by the preprocessing already, and have no axial middle
    data, _ = run_data(job, one, view)
    row = next(n for n, patient in enumerate(data.exams["patient_id"]) if parts.get(patient) == "train")
    manifest = job.store(view).manifest.read()
    ready = (manifest["exam_id"] == data.exams["exam_id"].iloc[row]) & manifest["role"].isin(input_roles(view))
    file = manifest.loc[ready & (manifest["status"] == "ok"), "file"].iloc[0]
    draw_examples(
        path, data, row, view.data.augment, fold_seed(view, fold), read_nifti(job.store(view).path / file).affine
    )


def _forbid_seen(job: Job, one: Run, parts: dict[str, str]) -> list[str]:
    """Refuse to test on patients that a run of one's own has seen; what is worth a warning."""
    notes = []
    for tried in candidates(one, "weights"):
        if tried.weights and tried.weights.run:
            from scan2gene.train.source_run import forbid_seen, open_source

            source = open_source(tried.weights)
            notes += forbid_seen(source, tried.weights.other_patients, parts, one.name, job.veil)
    return notes


def _forbid_one_site(job: Job, work: list[Any]) -> None:
    """Refuse, before any fit, a run that is to learn less of sites where a fold's training has not two of them."""
    from scan2gene.train.sites import needs_sites

    site = job.out.cohort.read().drop_duplicates("patient_id").set_index("patient_id")["site"]
    for one, view, fold, parts, *_ in work:
        asked = needs_sites(view)
        sites = {str(site.get(p) or "") for p, part in parts.items() if part == "train" and p in site} - {"", "nan"}
        if asked and len(sites) < 2:
            raise StudyError(
                f"run {one.name}: {asked} needs two sites, and split {fold['split']}, fold {fold['fold']} trains on "
                f"{len(sites)}. Leave it out of this run, or leave fewer sites out of training."
            )


def search_trials(job: Job) -> int:
    """Do trials of every fold of every search, and nothing else; how many folds that were."""
    from scan2gene.train.search import begin, run_trials

    searched = 0
    for one, _, fold, parts, folder, key in folds(job):
        if one.search and not job.out.is_done(_stage(folder), key):
            begin(folder.path, key)
            run_trials(job.study, one, partial(run_data, job), parts, fold, folder.path, key)
            searched += 1
    return searched


def _join_histories(job: Job, new: bool) -> None:
    """One history.csv for each run: those of its folds, one below the other."""
    fits: dict[str, list[FitDirectory]] = {}
    for one, *_, folder, _ in folds(job):
        fits.setdefault(one.name, []).append(folder)
    for name, folders in fits.items():
        joined, tables = job.out.experiment(name).history, [f.history.read() for f in folders if f.history.exists()]
        if tables and (new or not joined.exists()) and not job.dry:
            joined.write(pd.concat(tables))


def _told(folder: FitDirectory) -> str:
    if not folder.history.exists():
        return ""
    history = pd.read_csv(folder.history.path)
    best = history[history["best"] == 1].iloc[-1]
    return f"best epoch {best['epoch']:.0f} of {len(history)}, validation loss {number_text(best['validation_loss'])}, "

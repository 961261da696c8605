"""Every fit of a study, and the searches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd

from scan2gene.core.console import live, say
from scan2gene.core.errors import StudyError
from scan2gene.core.rundir import FitDirectory, fold_name
from scan2gene.core.stopwatch import Stopwatch
from scan2gene.core.text import duration, number_text
from scan2gene.learners import learner_of, reads_images
from scan2gene.stages.fits import fits, model_versions
from scan2gene.stages.job import Job, run_data
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.run_config import RunConfig


def train_runs(job: Job) -> str:
    """Train every run in every fold that is not trained yet."""
    new = 0
    if not job.dry and (job.minutes is not None or job.out.budget.exists()):
        from scan2gene.stages.budget import keep_to_time

        new = sum(train_fit(job, fit) for fit in fits(job) if not reads_images(fit.config))
        keep_to_time(job)
    work = list(fits(job))
    check_fits(job, work)
    if not job.dry:
        _tell_searches([fit.config for fit in work if not job.out.is_done(fit.stage, fit.key)])
    new += sum(train_fit(job, fit) for fit in work)
    _join_histories(job, new > 0)
    return f"{len(work)} fits, {new} new"


def check_fits(job: Job, work: Sequence[Fit]) -> None:
    """Refuse fits that would test on patients whom their start has seen, or that lack sites; say what is doubtful."""
    for note in dict.fromkeys(note for fit in work for note in _forbid_seen(job, fit)):
        say("", f"  {note}")
    _forbid_one_site(job, work)


def train_fit(job: Job, fit: Fit) -> bool:
    """Train one fit unless it is done; whether it was to do."""
    from scan2gene.train.search import search_fold

    folder = fit.folder
    if job.is_done(fit.stage, fit.key):
        if not job.dry:
            folder.last.path.unlink(missing_ok=True)  # of a run that was killed just here
        return False
    watch = Stopwatch()
    if fit.config.search:
        search_fold(fit, partial(_train, job))
    else:
        _train(job, fit)
    live("")
    chosen = fit.as_chosen()
    folder.network.write(learner_of(chosen.config).describe(chosen, job.out))
    _draw_augmentation(job, chosen)
    cost = watch.stamp()
    files = (folder.best, folder.model, folder.estimators, folder.inner, folder.history, folder.search,
             folder.weights, folder.network, folder.harmonise, folder.sampling)  # fmt: skip
    written = [f for f in files if f.exists()]
    job.out.mark_done(fit.stage, fit.key, written, models=model_versions(fit.config), **cost)
    folder.last.path.unlink(missing_ok=True)
    job.worked = True
    say("", f"  {fit.title}: {_told(folder)}{duration(cost['seconds'])}")
    return True


def _train(job: Job, fit: Fit) -> None:
    from scan2gene.learners.fold import train_fold

    train_fold(fit, run_data(job, fit.config))


def _tell_searches(of_fits: Sequence[RunConfig]) -> None:
    """What a search will cost, before it begins."""
    for name, trials in {c.name: c.search.trials for c in of_fits if c.search}.items():
        folds = sum(config.name == name for config in of_fits)
        say("", f"  {name}: a search of {trials} trials in each of {folds} folds, {trials * folds} fits in all; "
                "`scan2gene plan` says how long they take")  # fmt: skip


def _draw_augmentation(job: Job, fit: Fit) -> None:
    """Beside the first run with a list of augmentation, in its first fold: a training exam as the network saw it."""
    from scan2gene.imaging.nifti import read_nifti
    from scan2gene.train.examples import draw_examples

    split = job.out.split.read().iloc[0]
    if fit.folder.path.name != fold_name(split["split"], split["repeat"], split["fold"]):
        return
    config, steps = fit.config, fit.config.data.augment
    path = job.out.experiment(config.name).augmentation.path
    path.unlink(missing_ok=True)
    before = job.configs[: [c.name for c in job.configs].index(config.name)]
    shown = [c.data.augment for c in before if learner_of(c).TRAINS_ON_IMAGES and not c.search]
    if not learner_of(config).TRAINS_ON_IMAGES or not steps or steps in shown or config.is_slices:
        return  # slices are drawn by the preprocessing already, and have no axial middle
    data = run_data(job, config)
    row = next(n for n, patient in enumerate(data.table["patient_id"]) if fit.parts.get(patient) == "train")
    manifest = job.store(config).manifest.read()
    ready = (manifest["exam_id"] == data.table["exam_id"].iloc[row]) & manifest["role"].isin(config.roles)
    file = manifest.loc[ready & (manifest["status"] == "ok"), "file"].iloc[0]
    affine = read_nifti(job.store(config).path / file).affine
    draw_examples(path, data, row, steps, fit.seed, affine)


def _forbid_seen(job: Job, fit: Fit) -> list[str]:
    """Refuse to test on patients that a run of one's own has seen; what is worth a warning."""
    notes = []
    for tried in fit.config.candidates("weights"):
        if tried.weights and tried.weights.run:
            from scan2gene.models.source_run import forbid_seen, open_source

            source = open_source(tried.weights)
            notes += forbid_seen(source, tried.weights.other_patients, fit, job.pseudonymiser)
    return notes


def _forbid_one_site(job: Job, work: Sequence[Fit]) -> None:
    """Refuse, before any fit, a run that is to learn less of sites where a fold's training has not two of them."""
    from scan2gene.train.sites import needs_sites

    site = job.out.cohort.read().drop_duplicates("patient_id").set_index("patient_id")["site"]
    for fit in work:
        option = needs_sites(fit.config)
        sites = {str(site.get(p) or "") for p, part in fit.parts.items() if part == "train" and p in site} - {"", "nan"}
        if option and len(sites) < 2:
            raise StudyError(
                f"run {fit.config.name}: {option} needs two sites, and split {fit.split}, fold {fit.fold} trains on "
                f"{len(sites)}. Leave it out of this run, or leave fewer sites out of training."
            )


def search_trials(job: Job) -> int:
    """Do trials of every fold of every search, and nothing else; how many folds that were."""
    from scan2gene.train.search import run_trials

    searched = 0
    for fit in fits(job):
        if fit.config.search and not job.out.is_done(fit.stage, fit.key):
            run_trials(fit, partial(_train, job))
            searched += 1
    return searched


def _join_histories(job: Job, new: bool) -> None:
    """One history.csv for each run: those of its folds, one below the other."""
    folders: dict[str, list[FitDirectory]] = {}
    for fit in fits(job):
        folders.setdefault(fit.config.name, []).append(fit.folder)
    for name, of_run in folders.items():
        joined, tables = job.out.experiment(name).history, [f.history.read() for f in of_run if f.history.exists()]
        if tables and (new or not joined.exists()) and not job.dry:
            joined.write(pd.concat(tables))


def _told(folder: FitDirectory) -> str:
    if not folder.history.exists():
        return ""
    history = pd.read_csv(folder.history.path)
    best = history[history["best"] == 1].iloc[-1]
    if pd.isna(best["validation_loss"]):
        learned = (
            "" if pd.isna(best["final_train_auroc"]) else f"training AUROC {number_text(best['final_train_auroc'])}, "
        )
        return f"{len(history)} epochs, {learned}"
    return f"best epoch {best['epoch']:.0f} of {len(history)}, validation loss {number_text(best['validation_loss'])}, "

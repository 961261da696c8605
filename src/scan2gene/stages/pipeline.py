"""A study's stages in order. Stages meet through files; each is skipped when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from scan2gene.cohorts.bids import Exported, export_bids
from scan2gene.cohorts.curate import Curated, curate
from scan2gene.cohorts.pseudonymised import curate_pseudonymised
from scan2gene.core.console import say
from scan2gene.core.errors import RunError, StudyError
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.section import check_plugin
from scan2gene.core.stopwatch import Stopwatch
from scan2gene.core.study import Study, members_by
from scan2gene.core.study_file import load_study
from scan2gene.core.text import duration
from scan2gene.privacy.pseudonyms import pseudonymiser, shown_study
from scan2gene.stages import STAGES
from scan2gene.stages.cohort import as_planned, index_scans, record_study
from scan2gene.stages.fits import fit_called
from scan2gene.stages.job import Job, ToDo, run_stores
from scan2gene.stages.train import check_fits, search_trials, train_fit
from scan2gene.tasks.run_config import RunConfig, resolved


def run(
    study: Study | str | Path,
    out: str | Path | None = None,
    until: str = "report",
    changes: Sequence[str] = (),
    resume: bool = False,
    minutes: float | None = None,
) -> Path:
    """Do every stage of a study that is not done yet.

    Args:
        study: A study, or the path of a study file.
        out: Run directory; default `runs/<study name>`.
        until: Last stage to do, a key of `STAGES`.
        changes: "key=value" each, for a study file; see `load_study`.
        resume: Go on with a run that was begun, and refuse to begin one.
        minutes: In which all stages are to end; see `stages.budget`. Default: as an earlier call for the directory
            had it; 0 for no limit.

    Returns:
        The run directory; the report is `report.html` in it.

    Raises:
        Scan2GeneError: What is wrong and how to mend it.
    """
    called = {} if isinstance(study, Study) else {"study": Path(study).name, "changes": list(changes)}
    study = study if isinstance(study, Study) else load_study(study, changes)
    networks = list(STAGES).index(until) >= list(STAGES).index("train")
    check(study, networks=networks)
    directory = _directory(study, out)
    if networks:
        _need_weights(study, directory)
    if resume and not directory.study_json.exists():
        raise RunError(
            f"{directory.path} holds no run to go on with. Name its directory with -o, or begin one by leaving out "
            "--resume."
        )
    with _opened(study, directory, record=True) as job:
        job.minutes = minutes or None
        if minutes == 0:
            directory.budget.path.unlink(missing_ok=True)
        # file names and changes may hold what pseudonyms are to hide; a run with nothing to do writes nothing
        if called and job.pseudonymiser is None and directory.called.read({}) != called:
            directory.called.write(called)
        for name, stage in STAGES.items():
            _do(job, name, stage)
            if name == until:
                break
    return directory.path


def _directory(study: Study, out: str | Path | None) -> RunDirectory:
    """The run directory of a study, by default `runs/<study name>`; an error where it has another format."""
    directory = RunDirectory(Path(out) if out is not None else Path("runs") / study.name)
    directory.check_format()
    return directory


def dry_run(study: Study | str | Path, out: str | Path | None = None, changes: Sequence[str] = ()) -> dict[str, str]:
    """What `run` would do, without doing or writing anything.

    Returns:
        Stage -> "done", "to do", or "to do after <stage>": what a stage needs is not known
        before the one ahead of it is done.

    Raises:
        Scan2GeneError: The study is wrong.
    """
    study = study if isinstance(study, Study) else load_study(study, changes)
    check(study)
    directory = _directory(study, out)
    told: dict[str, str] = {}
    first = ""
    job: Job | None = None
    for name, stage in STAGES.items():
        if first:
            told[name] = f"to do after {first}"
            continue
        try:
            if study.cohort.pseudonyms and not Path(study.cohort.pseudonyms).exists():
                raise ToDo  # opening the key would make it
            job = job or Job(study, directory, pseudonymiser=pseudonymiser(study, directory.path), dry=True)
            stage(job)
            told[name] = "done"
        except ToDo:
            told[name], first = "to do", name
    return told


@contextmanager
def _opened(study: Study, out: RunDirectory, record: bool = False) -> Iterator[Job]:
    """Hold the run directory of a study, with what it may show.

    Args:
        study: As its file says it.
        out: Run directory.
        record: Write the study into it also where one is kept; the plan stage completes that.
    """
    out.path.mkdir(parents=True, exist_ok=True)
    out.claim()
    hidden = pseudonymiser(study, out.path)
    with out.exclusive(), hidden.guarded() if hidden else nullcontext():
        shown = shown_study(study, hidden).model_dump(mode="json")
        _refuse_another_split(shown, out, "splits" in study.model_fields_set, looks=not record)
        out.sweep()
        if record or not out.study_json.exists():
            record_study(as_planned(study, out), out, hidden)
        yield Job(study, out, pseudonymiser=hidden)


def _do(job: Job, name: str, stage: Callable[[Job], str]) -> None:
    job.watch, job.worked, job.kept = Stopwatch(), False, False
    told = stage(job)
    spent = duration(job.watch.stamp()["seconds"])
    say(name, f"{told}  ({'as before' if job.kept and not job.worked else spent})")


def series_paths(study: Study, out: Path) -> dict[str, str]:
    """Series id, as the tables of a run directory show it -> what `read_volume` opens."""
    with _opened(study, RunDirectory(out)) as job:
        if job.pseudonymiser:
            index_scans(job)  # the true paths are not in the run directory
        return job.paths()


@dataclass(frozen=True)
class Exams:
    """Exams to look at, before anything is prepared.

    Args:
        curated: With the exams that the exclude file sets aside.
        series: series.csv.
        paths: series_id -> what `read_volume` opens.
        hide: Takes out of a message what must not be shown.
        shown_rows: An exclude file's rows as they may be shown; None: as they are.
    """

    curated: Curated
    series: pd.DataFrame
    paths: dict[str, str]
    hide: Callable[[str], str]
    shown_rows: Callable[[pd.DataFrame], pd.DataFrame] | None


def exams_to_look_at(study: Study, out: Path) -> Exams:
    """Index a study, and curate it as if no exclude file were there; curation writes nothing.

    Raises:
        Scan2GeneError: As `run` up to curation.
    """
    free = study.model_copy(update={"cohort": study.cohort.model_copy(update={"exclude_file": None})})
    with _opened(study, RunDirectory(out)) as job:
        _do(job, "index", index_scans)
        series, hidden = job.out.series.read(), job.pseudonymiser
        curated = curate_pseudonymised(replace(hidden, study=free)) if hidden else curate(free, series)
        return Exams(curated, series, job.paths(), hidden or str, hidden.rows if hidden else None)


def curated_as_bids(study: Path, folder: Path, out: Path | None = None) -> Exported:
    """Curate a study and write its chosen series as a BIDS dataset.

    Args:
        study: The study file.
        folder: New folder.
        out: Run directory; default `runs/<study name>`.

    Raises:
        Scan2GeneError: As `run` up to curation, and as `export_bids`.
    """
    loaded = load_study(study)
    out = run(loaded, out, until="curate")
    with _opened(loaded, RunDirectory(out)) as job:
        index_scans(job)  # with pseudonyms, only the index beside the key knows the paths
        return export_bids(out, folder, job.paths(), job.pseudonymiser or str)


def join_search(study: Study | str | Path, out: str | Path | None = None, changes: Sequence[str] = ()) -> int:
    """Work on the searches of a study beside another process that runs it.

    Trials go into the run directory's search files; choosing, predicting and all else is left
    to `run`.

    Args:
        study: A study, or the path of a study file.
        out: Run directory, prepared at least; default `runs/<study name>`.
        changes: "key=value" each; see `load_study`.

    Returns:
        Folds that were searched.

    Raises:
        RunError: The run directory is not prepared.
    """
    study = study if isinstance(study, Study) else load_study(study, changes)
    check(study)
    directory = _directory(study, out)
    job = Job(study, directory, pseudonymiser=pseudonymiser(study, directory.path), dry=True)
    for name in ("index", "curate", "plan", "split", "preprocess"):
        try:
            STAGES[name](job)
        except ToDo:
            message = f"{directory.path} is not prepared. First: scan2gene preprocess STUDY, or run it elsewhere."
            raise RunError(message) from None
    return search_trials(job)


def fit_once(run_dir: str | Path, run: str, fold: str) -> bool:
    """Do one fit of a prepared run directory, and nothing else; several processes may do others at the same time.

    Args:
        run_dir: Run directory, prepared at least.
        run: Name of a run.
        fold: Such as "cv/1", or "cv/0/1" and "cv-r0-f1" with the repeat.

    Returns:
        Whether it was to do.

    Raises:
        RunError: The directory is not prepared, or another process works in it or on this fit.
        StudyError: There is no such run or fold.
    """
    directory = RunDirectory(Path(run_dir))
    study = directory.study()
    check(study)
    with directory.exclusive(shared=True):
        job = Job(study, directory)
        if not all(file.exists() for file in (directory.split, *(store.manifest for _, store in run_stores(job)))):
            raise RunError(f"{directory.path} is not prepared. First: scan2gene preprocess STUDY -o {directory.path}.")
        fit = fit_called(job, run, fold)
        with directory.exclusive_fit(fit.folder):
            check_fits(job, [fit])
            return train_fit(job, fit)


def _refuse_another_split(now: dict[str, Any], out: RunDirectory, splits: bool, looks: bool) -> None:
    """Stop before anything is written when a run directory holds the split of another study.

    Args:
        now: The study that is to run.
        out: The run directory.
        splits: The study sets its splits; else they are planned, and the plan is kept.
        looks: Nothing is decided: the scans and how they are read must be the same, and no more.
    """
    if not out.study_json.exists():
        return
    before = out.study_json.read()
    if (before["cohort"]["pseudonyms"] is None) != (now["cohort"]["pseudonyms"] is None):
        begun = "without" if now["cohort"]["pseudonyms"] else "with"
        raise RunError(
            f"{out.path} was begun {begun} cohort.pseudonyms, and ids and pseudonyms do not share a directory. "
            "Give another one with -o."
        )
    keys = ("seed", "cohort", "targets", *(["splits"] if splits else []))
    if looks:
        keys = ("cohort",)
        before, now = ({"cohort": study["cohort"] | {"exclude_file": None}} for study in (before, now))
    changed = [k for k in keys if before[k] != now[k]]
    if changed and out.split.exists():
        raise RunError(
            f"{out.path} holds a split that was made with other settings ({', '.join(changed)}), and a split is never "
            "changed silently. Give another run directory with -o, or delete split.csv to split anew."
        )


def check(study: Study, networks: bool = True) -> None:
    """Check every plug-in name and option before any work starts.

    Args:
        study: The study.
        networks: Also check models, which needs torch; the stages before training do without.

    Raises:
        StudyError: With the valid names.
    """
    from scan2gene.preprocess.recipe import check_recipe

    for split in study.splits:
        if split.kind == "leave_one_site_out" and not study.cohort.site_column:
            raise StudyError(
                f"split {split.name} leaves one site out, so cohort.site_column must name the site's column"
            )
        if split.external and not study.cohort.site_column:
            raise StudyError(f"split {split.name} has external sites, so cohort.site_column must name their column")
        for name in () if split.has_validation else members_by(study, "late"):
            raise StudyError(
                f"ensembles.{name}: method late weighs its members on the validation part, and split {split.name} has "
                "none: set method: mean_logit, or give the split a validation_fraction above 0"
            )
    configs = resolved(study)
    for config in configs:
        if networks:
            from scan2gene.train.search import check_search

            _check_run(config)
            if config.search:
                check_search(config, _check_run)
        check_recipe(config.recipe, study.cohort.roles)
    for name, block in study.features.items():
        if not block.table:
            from scan2gene.features.compute import check_features

            check_features(name, block, study.cohort.roles)
    if networks and study.explain.exams:
        from scan2gene.explain import METHODS
        from scan2gene.explain.fit import check_layer

        for method in study.explain.methods:
            check_plugin(method, METHODS, "explain.methods")
        for config in configs:
            check_layer(config)


def _check_run(config: RunConfig) -> None:
    """Refuse a run, or one candidate of its search, that cannot be trained."""
    from scan2gene.learners.fold import check_run
    from scan2gene.preprocess.recipe import check_recipe

    check_run(config)
    check_recipe(config.recipe, config.cohort_roles)


def _need_weights(study: Study, out: RunDirectory) -> None:
    """Say before the long work, not after it, that a file of weights is missing or of another network."""
    for config in resolved(study):
        for tried in config.candidates("weights"):
            if tried.weights:
                from scan2gene.models.start import check_start, start_of

                start = start_of(tried)
                if start and not any(f.weights.read({}).get("sha256") == start.sha256 for f in out.fits(tried.name)):
                    check_start(tried)

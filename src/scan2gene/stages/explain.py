"""Maps of where each network looks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from scan2gene.core.console import say
from scan2gene.core.leakage import stamped
from scan2gene.core.stopwatch import Stopwatch
from scan2gene.core.text import duration
from scan2gene.stages.fits import FOLD, fits
from scan2gene.stages.job import Job, run_data, run_stores, stage_key
from scan2gene.stages.variants import kept_of
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.outputs import by_question, question_names


def explain_runs(job: Job) -> str:
    """Maps of where each network looks, a stamp per fit; which exams are shown follows from the predictions."""
    from scan2gene.explain.fit import read_maps, read_randomised
    from scan2gene.explain.score import summary

    settings = job.study.explain
    stores = run_stores(job)
    networks = [config.name for config, _ in stores if config.data.harmonise is None]
    if not settings.exams or not networks:
        lacking = "harmonised embeddings are not explained" if stores else "no run is a network"
        return f"no maps: {lacking if settings.exams else 'explain.exams is 0'}"
    masks = [n for n, r in job.study.cohort.roles.items() if r.kind == "label"]
    mask = settings.mask or (masks[0] if masks else None)
    rows = _exams_to_explain(job, networks, mask)
    made = []
    for fit in fits(job):
        mine = rows[(rows[["run_id", *FOLD]] == [fit.config.name, *fit.place.values()]).all(axis=1)]
        if len(mine):
            made.append(job.out.maps(fit.folder.name))
            _explain_fit(job, fit, mine, mask, made[-1].path)
    if not made:
        return "no labelled test exam to explain"
    hashes = {str(f.path.relative_to(job.out.path)): [f.maps.hash(), f.randomised.hash()] for f in made}
    key = stage_key("explain", fits=hashes, draws=job.study.evaluate.bootstrap, seed=job.study.seed)
    if not job.is_done("explain", key):
        maps = pd.concat([read_maps(f.maps.path) for f in made], ignore_index=True)
        randomised = pd.concat([read_randomised(f.randomised.path) for f in made], ignore_index=True)
        scores = summary(maps, randomised, job.study.evaluate.bootstrap, job.study.seed)
        joined = job.out.maps()
        joined.maps.write(stamped(maps, job.study))
        joined.randomised.write(stamped(randomised, job.study))
        joined.scores.write(stamped(scores, job.study))
        files = (joined.maps, joined.randomised, joined.scores)
        job.out.mark_done("explain", key, files)  # without seconds: each fit's stamp has its own
    return f"{len(rows)} predictions explained, {int(rows['picked'].sum())} of them to look at"


def _exams_to_explain(job: Job, networks: list[str], mask: str | None) -> pd.DataFrame:
    from scan2gene.explain.choose import chosen_exams

    settings = job.study.explain
    return chosen_exams(
        by_question(job.out.predictions.read()),
        job.out.thresholds.read(),
        networks,
        settings.splits or [job.study.splits[0].name],
        question_names({n: job.study.targets[n] for n in settings.targets or job.study.targets}),
        settings.exams,
        settings.scored if mask else 0,
        job.study.seed,
    )


def _explain_fit(job: Job, fit: Fit, rows: pd.DataFrame, mask: str | None, folder: Path) -> None:
    from scan2gene.explain.fit import explain_fit, load_fit

    fit = fit.as_chosen()
    config, name = fit.config, fit.folder.name
    settings, stage = job.study.explain, f"explain/{name}"
    slices = config.data.slices
    wanted = stage_key(
        "explain",
        fit=fit.key,
        rows=rows.to_csv(),
        explain=settings.model_dump(),
        mask=mask,
        slices=slices and slices.model_dump(),  # how they are fused decides maps, and no fit
    )
    if job.is_done(stage, wanted):
        return
    data = run_data(job, replace(config, weights=None))  # images, also for a head on embeddings
    watch = Stopwatch()
    cohort, paths = job.out.cohort.read(), job.paths()
    scans = {
        (exam["exam_id"], role): paths[exam[f"role:{role}"]]
        for exam in cohort.to_dict("records")
        for role in config.roles
        if exam[f"role:{role}"] in paths
    }
    loaded = load_fit(fit, data, job.store(config), scans, kept_of(job, config, cohort), mask)
    files = explain_fit(loaded, rows, settings.methods, job.out.path, folder)
    cost = watch.stamp()
    job.out.mark_done(stage, wanted, files, **cost)
    job.worked = True
    say("", f"  {name}: {len(rows)} maps a method, {duration(cost['seconds'])}")

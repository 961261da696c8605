"""Maps of where each network looks."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from scan2gene.core.console import say
from scan2gene.core.files import file_hash
from scan2gene.core.leakage import stamped
from scan2gene.core.rundir import mark_done
from scan2gene.core.stopwatch import Stopwatch
from scan2gene.core.study import for_run
from scan2gene.core.tables import write_csv
from scan2gene.core.text import duration
from scan2gene.stages.job import FOLD, Job, folds, run_data, run_stores, stage_key


def explain_runs(job: Job) -> str:
    """Maps of where each network looks, a stamp per fit; which exams are shown follows from the predictions."""
    from scan2gene.explain.fit import read_maps, read_randomised
    from scan2gene.explain.score import summary

    settings, folder = job.study.explain, job.out / "explain"
    stores = run_stores(job)
    networks = [one.name for one, (view, _) in stores if view.data.harmonise is None]
    if not settings.exams or not networks:
        lacking = "harmonised embeddings are not explained" if stores else "no run is a network"
        return f"no maps: {lacking if settings.exams else 'explain.exams is 0'}"
    masks = [n for n, r in job.study.cohort.roles.items() if r.kind == "label"]
    mask = settings.mask or (masks[0] if masks else None)
    rows = _exams_to_explain(job, networks, mask)
    made = []
    for work in folds(job):
        one, fold, trained = work[0], work[2], work[4]
        mine = rows[(rows[["run_id", *FOLD]] == [one.name, *fold.values()]).all(axis=1)]
        if len(mine):
            made.append(folder / trained.relative_to(job.out / "experiments"))
            _explain_fit(job, work, mine, mask, made[-1])
    if not made:
        return "no labelled test exam to explain"
    tables = [folder / n for n in ("maps.csv", "randomised.csv", "scores.csv")]
    fits = {str(f.relative_to(job.out)): [file_hash(f / t.name) for t in tables[:2]] for f in made}
    key = stage_key("explain", fits=fits, draws=job.study.evaluate.bootstrap, seed=job.study.seed)
    if not job.is_done("explain", key):
        maps = pd.concat([read_maps(f / "maps.csv") for f in made], ignore_index=True)
        randomised = pd.concat([read_randomised(f / "randomised.csv") for f in made], ignore_index=True)
        scores = summary(maps, randomised, job.study.evaluate.bootstrap, job.study.seed)
        for path, table in zip(tables, (maps, randomised, scores), strict=True):
            write_csv(path, stamped(table, job.study))
        mark_done(job.out, "explain", key, tables)  # without seconds: each fit's stamp has its own
    return f"{len(rows)} predictions explained, {int(rows['picked'].sum())} of them to look at"


def _exams_to_explain(job: Job, networks: list[str], mask: str | None) -> pd.DataFrame:
    from scan2gene.explain.choose import chosen_exams

    settings = job.study.explain
    return chosen_exams(
        pd.read_parquet(job.out / "predictions.parquet"),
        json.loads((job.out / "thresholds.json").read_text()),
        networks,
        settings.splits or [job.study.splits[0].name],
        settings.targets or list(job.study.targets),
        settings.exams,
        settings.scored if mask else 0,
        job.study.seed,
    )


def _explain_fit(job: Job, work: tuple, rows: pd.DataFrame, mask: str | None, folder: Path) -> None:
    from scan2gene.explain.fit import explain_fit, load_fit
    from scan2gene.preprocess.recipe import recipe_hash
    from scan2gene.train.search import chosen_run

    one, _, fold, parts, trained, key = work
    one = chosen_run(one, trained)
    view = for_run(job.study, one)
    settings, stage = job.study.explain, str(folder.relative_to(job.out))
    slices = view.data.slices
    wanted = stage_key(
        "explain",
        fit=key,
        rows=rows.to_csv(),
        explain=settings.model_dump(),
        mask=mask,
        slices=slices and slices.model_dump(),  # how they are fused decides maps, and no fit
    )
    if job.is_done(stage, wanted):
        return
    store = job.out / "store" / recipe_hash(view.preprocess)
    data, _ = run_data(job, one.model_copy(update={"weights": None}), view)  # images, also for a head on embeddings
    watch = Stopwatch()
    fit = load_fit(view, one, data, trained, store, job.table("cohort.csv"), job.paths(), parts, fold, mask)
    files = explain_fit(fit, rows, settings.methods, job.out, folder)
    cost = watch.stamp()
    mark_done(job.out, stage, wanted, files, **cost)
    job.worked = True
    say("", f"  {folder.relative_to(job.out / 'explain')}: {len(rows)} maps a method, {duration(cost['seconds'])}")

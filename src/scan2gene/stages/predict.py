"""The prediction table of every fit, and where exams lie in a network's space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from scan2gene import __version__
from scan2gene.core.outputs import outputs
from scan2gene.core.rundir import is_done, mark_done, stage_key
from scan2gene.core.study import Study, for_run
from scan2gene.core.study_runs import Run
from scan2gene.core.tables import LABEL_COLUMNS, write_csv, write_parquet
from scan2gene.evaluate.embedding_map import agreement_table, embedding_map
from scan2gene.evaluate.ensemble import repeat_ensembles, run_ensembles
from scan2gene.evaluate.fusion import fuse
from scan2gene.stages.job import Job, folds, run_data
from scan2gene.stages.variants import FORMAT, predict_variants


def predict_runs(job: Job) -> str:
    """Write predictions.parquet and embeddings.parquet, each fit beside its checkpoint first."""
    from scan2gene.predict.table import write_embeddings

    target, features = job.out / "predictions.parquet", job.out / "embeddings.parquet"
    work = list(folds(job))
    key = stage_key(
        version=__version__, fits=[k for *_, k in work], order=[str(f.relative_to(job.out)) for *_, f, _ in work],
        predict=job.study.predict.model_dump(mode="json"), altered=FORMAT,
        **_fusion_key(*(view for _, view, *_ in work)),
    )  # fmt: skip
    if not job.is_done("predict", key):
        folders = [_predicted_fold(job, *item) for item in work]
        table = pd.concat([pd.read_parquet(f / "predictions.parquet") for f in folders], ignore_index=True)
        averaged = [repeat_ensembles(table), run_ensembles(table, job.study.predict.ensembles)]
        write_parquet(target, pd.concat([table, *(t for t in averaged if len(t))], ignore_index=True))
        embedded = (f / "embeddings.parquet" for f in folders)
        write_embeddings(features, (pd.read_parquet(p) for p in embedded if p.exists()))
        job.done("predict", key, [target, features, *_mapped(job, features), predict_variants(job)])
    table = pd.read_parquet(target, columns=["status"])
    return f"{len(table)} rows, {(table['status'] != 'ok').sum()} failed"


def _mapped(job: Job, features: Path) -> list[Path]:
    """Write where exams lie in the space of a network, and whether neighbours share label, site or scanner."""
    seen, cohort, series = pd.read_parquet(features), job.table("cohort.csv"), job.table("series.csv")
    labels = job.table("labels.csv", LABEL_COLUMNS)
    files = [job.out / "embedding_map.csv", job.out / "embedding_agreement.csv"]
    write_csv(files[0], embedding_map(seen, cohort, series, job.study.seed))
    write_csv(files[1], agreement_table(seen, cohort, labels, series))
    return files


def _fusion_key(*views: Study) -> dict[str, Any]:
    """How slices are fused, nothing where all runs see volumes: it decides predictions, and no fit."""
    ways = [[f.model_dump() for f in v.data.slices.fusion] if v.data.slices else [] for v in views]
    return {"fusion": ways} if any(ways) else {}


def _predicted_fold(
    job: Job, one: Run, view: Study, fold: dict[str, Any], parts: dict[str, str], folder: Path, fit: str
) -> Path:
    """Write the predictions of one fold beside its checkpoint, so that a stop loses no fold; the folder."""
    from scan2gene.predict.slices import mean_embeddings
    from scan2gene.predict.table import embedding_rows, prediction_rows, write_embeddings
    from scan2gene.train.fold import predict_fold
    from scan2gene.train.search import chosen_run

    stage = f"predict/{folder.relative_to(job.out / 'experiments')}"
    slices = view.data.slices
    variants = view.predict.model_dump(mode="json", exclude={"ensembles"})
    key = stage_key(fit=fit, variants=variants, **_fusion_key(view))
    if is_done(job.out, stage, key):
        return folder
    one = chosen_run(one, folder)
    view = for_run(job.study, one)
    cohort, labels = job.table("cohort.csv"), job.table("labels.csv", LABEL_COLUMNS)
    data, _ = run_data(job, one, view)
    classical = isinstance(data, pd.DataFrame)
    exams, failed = (data, {}) if classical else (data.exams, data.failed)
    passed = predict_fold(view, one, data, folder)
    embeddings = passed.embeddings
    if slices:
        tables = _of_slices(one.name, view, fold, parts, cohort, labels, data, passed)
        if embeddings is not None:
            exams, embeddings = mean_embeddings(embeddings, exams)
    else:
        tables = [
            prediction_rows(one.name, fold, parts, cohort, labels, outputs(view), logits, failed, variant)
            for variant, values in passed.logits.items()
            for logits in [dict(zip(exams["exam_id"], values, strict=True))]
        ]
    files = [folder / "predictions.parquet", folder / "embeddings.parquet"]
    write_parquet(files[0], pd.concat(tables, ignore_index=True))
    files[1].unlink(missing_ok=True)
    if embeddings is not None:
        write_embeddings(files[1], [embedding_rows(one.name, fold, parts, exams, embeddings)])
    mark_done(job.out, stage, key, [f for f in files if f.exists()])
    return folder


def _of_slices(
    name: str, view: Study, fold: dict[str, Any], parts: dict[str, str], cohort: pd.DataFrame, labels: pd.DataFrame,
    data: Any, passed: Any,
) -> list[pd.DataFrame]:  # fmt: skip
    """Rows of slices, and of exams for every way to fuse them; the first way is the run's own answer."""
    from scan2gene.predict.slices import bags_of, fused_rows, slice_rows

    slices = view.data.slices
    assert slices is not None  # for the type checker
    part = data.exams["patient_id"].map(parts).to_numpy()
    bags = bags_of(data.exams, part)
    tables = [slice_rows(name, fold, data.exams, part, outputs(view), data.targets.numpy(), passed.logits["original"])]
    for variant, logits in passed.logits.items():
        for number, way in enumerate(slices.fusion):
            fused = fuse(way, logits, bags.number)
            shown = variant if number == 0 else f"{way.name}{'' if variant == 'original' else f', {variant}'}"
            tables.append(fused_rows(name, fold, parts, cohort, labels, outputs(view), bags, fused, data.failed, shown))
    return tables

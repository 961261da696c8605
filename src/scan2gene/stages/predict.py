"""The prediction table of every fit, and where exams lie in a network's space."""

from __future__ import annotations

import pandas as pd

from scan2gene.cohorts.split import parts_of
from scan2gene.core.console import say
from scan2gene.core.leakage import stamped
from scan2gene.core.rundir import FitDirectory, RunDirectory
from scan2gene.core.stopwatch import Stopwatch
from scan2gene.core.study import Study, members_by, standardised
from scan2gene.core.tables import WEIGHT_COLUMNS
from scan2gene.core.text import listed
from scan2gene.evaluate.blocks import standardised_means
from scan2gene.evaluate.embedding_map import agreement_table, embedding_map, preferred
from scan2gene.evaluate.ensemble import external_ensembles, repeat_ensembles, run_ensembles
from scan2gene.evaluate.stacking import late_ensembles
from scan2gene.stages.altered_features import alter_features, altered_features_fit, computed_by_runs
from scan2gene.stages.fits import FOLD, fits, fusion_key
from scan2gene.stages.job import VERSIONS, Job, run_data, stage_key
from scan2gene.stages.variants import altered_fit, write_variants
from scan2gene.tasks.fit import Fit

MAP_STAGE = "embedding-map"


def predict_runs(job: Job) -> str:
    """Write predictions.parquet and embeddings.parquet, each fit beside its checkpoint first."""
    from scan2gene.predict.table import inner_rows, write_embeddings

    work = list(fits(job))
    key = stage_key(
        "predict", fits=[fit.key for fit in work], order=[fit.folder.name for fit in work],
        predict=job.study.predict.model_dump(mode="json"),
        ensembles={n: e.model_dump() for n, e in job.study.ensembles.items()}, altered=VERSIONS["variants"],
        fusion=[fusion_key(fit.config) for fit in work],
        **({"means": standardised(job.study)} if standardised(job.study) else {}),
        **({"altered_features": VERSIONS["altered_features"]} if computed_by_runs(job) else {}),
    )  # fmt: skip
    if not job.is_done("predict", key):
        folders, altered = [], []
        alter_features(job)
        for fit in work:  # copies are altered while the fit's prepared cohort is at hand
            folders.append(_predict_fit(job, fit))
            altered += [altered_fit(job, fit), altered_features_fit(job, fit)]
        table = _of_every_fold(pd.concat([f.predictions.read() for f in folders], ignore_index=True))
        cohort, labels = job.out.cohort.read(), job.out.labels.read()
        inner = pd.concat([inner_rows(fit.as_chosen(), cohort, labels) for fit in work], ignore_index=True)
        means, scales = standardised_means(table, inner, standardised(job.study))
        table = pd.concat([t for t in (table, means) if len(t)], ignore_index=True)
        job.out.scales.write(scales)
        members = {method: members_by(job.study, method) for method in ("mean", "mean_logit", "late")}
        late, weights = late_ensembles(table, members["late"])
        of_runs = run_ensembles(table, members["mean"] | members["mean_logit"], list(members["mean"]))
        averaged = [repeat_ensembles(table), of_runs, late]
        averaged.append(external_ensembles(table))
        joined = pd.concat([table, *(t for t in averaged if len(t))], ignore_index=True)
        job.out.predictions.write(stamped(joined, job.study))
        _write_weights(job.out, folders, weights, job.study)
        write_embeddings(job.out.embeddings.path, (f.embeddings.read() for f in folders if f.embeddings.exists()))
        write_variants(job, altered, table)
        weighed = [job.out.fusion_weights] if job.out.fusion_weights.exists() else []
        job.done("predict", key, [job.out.predictions, job.out.embeddings, *weighed, job.out.variants, job.out.scales])
    _map_embeddings(job)
    table = job.out.predictions.read(["status"])
    return f"{len(table)} rows, {(table['status'] != 'ok').sum()} failed"


def _of_every_fold(table: pd.DataFrame) -> pd.DataFrame:
    """The prediction table without variants that only some folds of a run have.

    A search may choose a frozen encoder, which has no mirrored copies, in one fold and a network in another.
    """
    places = table[["run_id", "variant", *FOLD]].drop_duplicates()
    folds = places.groupby(["run_id", "variant"])["fold"].size()
    lacking = folds[folds < folds.groupby("run_id").transform("max")].index
    return table[~pd.MultiIndex.from_frame(table[["run_id", "variant"]]).isin(lacking)]


def _map_embeddings(job: Job) -> None:
    """Write where exams lie in the space of a network, and whether neighbours share label, site or scanner.

    A map by PCA is made anew when UMAP has come; one by UMAP stays where UMAP is gone.
    """
    out = job.out
    inputs = [file.hash() for file in (out.embeddings, out.cohort, out.series, out.labels)]

    def key(method: str) -> str:
        return stage_key(MAP_STAGE, method=method, seed=job.study.seed, inputs=inputs)

    if out.is_done(MAP_STAGE, key("UMAP")) or job.is_done(MAP_STAGE, key(preferred())):
        return
    seen, cohort, series, labels = out.embeddings.read(), out.cohort.read(), out.series.read(), out.labels.read()
    watch = Stopwatch()
    mapped = embedding_map(seen, cohort, series, job.study.seed)
    out.embedding_map.write(stamped(mapped, job.study))
    out.embedding_agreement.write(stamped(agreement_table(seen, cohort, labels, series), job.study))
    out.mark_done(MAP_STAGE, key(preferred()), [out.embedding_map, out.embedding_agreement], **watch.stamp())
    job.worked = True
    methods = listed(sorted(set(mapped["method"])))
    if methods:
        hint = "" if preferred() == "UMAP" else "; pip install umap-learn and run again for UMAP"
        say("", f"  embeddings mapped by {methods}{hint}")


def _predict_fit(job: Job, fit: Fit) -> FitDirectory:
    """Write the predictions of one fit beside its checkpoint, so that a stop loses no fit; the folder."""
    from scan2gene.learners.fold import predict_fold
    from scan2gene.predict.aggregate import IDENTITY, aggregation, bags_of, mean_embeddings, variant_name
    from scan2gene.predict.table import embedding_rows, exam_rows, instance_rows, write_embeddings
    from scan2gene.train.fusion import fit_aggregate

    folder, stage = fit.folder, f"predict/{fit.folder.name}"
    variants = fit.config.predict.model_dump(mode="json")
    key = stage_key("predict", fit=fit.key, variants=variants, fusion=fusion_key(fit.config))
    if job.out.is_done(stage, key):
        return folder
    fit = fit.as_chosen()
    config = fit.config
    data = run_data(job, config)
    table = data.table
    output = predict_fold(fit, data)
    part = parts_of(fit, table)
    ways, bags = aggregation(config) if "slice" in table else [IDENTITY], bags_of(table, part)
    learned = [fit_aggregate(fit, way, output, data, bags) for way in ways]
    cohort, labels = job.out.cohort.read(), job.out.labels.read()
    tables = []
    if ways != [IDENTITY]:
        logits = output.logits["original"]
        tables.append(instance_rows(fit, table, part, labels, logits))
    for variant in output.logits:
        for number, (aggregate, _) in enumerate(learned):
            of_bags = aggregate(output, table, bags.number, variant)
            if of_bags is not None:
                rows = exam_rows(fit, cohort, labels, bags, of_bags, data.failed)
                tables.append(rows.assign(variant=variant_name(number, aggregate.way, variant)))
    folder.predictions.write(pd.concat(tables, ignore_index=True))
    folder.fusion_weights.path.unlink(missing_ok=True)
    weights = [of_roles.assign(run_id=config.name, **fit.place) for _, of_roles in learned if len(of_roles)]
    if weights:
        folder.fusion_weights.write(pd.concat(weights, ignore_index=True)[list(WEIGHT_COLUMNS)])
    folder.embeddings.path.unlink(missing_ok=True)
    if output.embeddings is not None:
        rows = embedding_rows(fit, *mean_embeddings(output.embeddings, table))
        write_embeddings(folder.embeddings.path, [rows])
    files = (folder.predictions, folder.embeddings, folder.fusion_weights)
    job.out.mark_done(stage, key, [f for f in files if f.exists()])
    return folder


def _write_weights(out: RunDirectory, folders: list[FitDirectory], of_runs: pd.DataFrame, study: Study) -> None:
    """Keep how much each role or run counts in late fusion, in one table; none where there is no such fusion."""
    out.fusion_weights.path.unlink(missing_ok=True)
    found = [f.fusion_weights.read() for f in folders if f.fusion_weights.exists()]
    tables = [t for t in (*found, of_runs) if len(t)]
    if tables:
        out.fusion_weights.write(stamped(pd.concat(tables, ignore_index=True), study))

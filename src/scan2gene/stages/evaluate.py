"""Figures from the prediction table, and the ledger."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scan2gene import __version__
from scan2gene.cohorts.pseudonyms import shown_study
from scan2gene.core.files import file_hash, write_json
from scan2gene.core.rundir import stage_key
from scan2gene.core.started import started
from scan2gene.core.study import Study, study_hash
from scan2gene.core.tables import SPLIT_COLUMNS, write_csv
from scan2gene.stages.job import Job


def evaluate_runs(job: Job) -> str:
    """Write metrics.csv, thresholds.json, results.json and comparisons.csv."""
    from scan2gene.evaluate.evaluate import evaluate
    from scan2gene.evaluate.optimism import optimism

    settings = job.study.evaluate
    starts = {(r.name, s.name): started(job.out, r.name, s.name) for r in job.study.runs for s in job.study.splits}
    key = stage_key(
        version=__version__, predictions=file_hash(job.out / "predictions.parquet"), draws=settings.bootstrap,
        seed=job.study.seed, study=study_hash(shown_study(job.study, job.veil)),
        starts=[s.as_json() for s in starts.values()],
    )  # fmt: skip
    if not job.is_done("evaluate", key):
        predictions = pd.read_parquet(job.out / "predictions.parquet")
        split = job.table("split.csv", SPLIT_COLUMNS)
        found = evaluate(predictions, split, settings.bootstrap, job.study.seed)
        for place, begun in starts.items():
            for result in found.results.get(place[0], {}).get(place[1], {}).values():
                result["weights"] = begun.as_json()
        if any(one.search for one in job.study.runs):
            for row in optimism(predictions, settings.bootstrap, job.study.seed):
                run, name, target = (row.pop(k) for k in ("run_id", "split", "target"))
                found.results[run][name][target]["optimism"] = row
        files = [job.out / n for n in ("metrics.csv", "thresholds.json", "results.json", "comparisons.csv")]
        write_csv(files[0], found.metrics)
        write_json(files[1], found.thresholds)
        write_json(files[2], found.results)
        write_csv(files[3], found.comparisons)
        for one in job.study.runs:
            if one.name in found.results:
                write_json(job.out / "experiments" / one.name / "results.json", found.results[one.name])
        if settings.ledger:
            append_ledger(Path(settings.ledger), shown_study(job.study, job.veil), found.metrics)
        job.done("evaluate", key, files)
    metrics = job.table("metrics.csv")
    return f"{len(metrics)} figures, {metrics['low'].notna().sum()} with an interval"


def append_ledger(path: Path, study: Study, metrics: pd.DataFrame) -> None:
    """Append every AUROC of an evaluation; what stands in the ledger is never removed.

    An evaluation that stands last already is not repeated: the run was killed just after it was written.
    """
    kept = (metrics["metric"] == "auroc") & (metrics["variant"] == "original")
    rows = metrics[kept].drop(columns=["metric", "variant", "n_units"]).copy()  # columns as in older ledgers
    rows.insert(0, "study", study.name)
    rows.insert(1, "study_hash", study_hash(study))
    rows.insert(2, "seed", study.seed)
    rows.insert(3, "version", __version__)
    rows = rows.rename(columns={"value": "auroc"}).round({"auroc": 4, "low": 4, "high": 4})
    path.parent.mkdir(parents=True, exist_ok=True)
    text = rows.to_csv(index=False, header=False, lineterminator="\n")
    if path.exists() and path.read_text(encoding="utf-8").endswith("\n" + text):
        return
    with path.open("a", encoding="utf-8", newline="") as stream:
        stream.write((",".join(rows.columns) + "\n" if stream.tell() == 0 else "") + text)

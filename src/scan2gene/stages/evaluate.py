"""Figures from the prediction table, and the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from scan2gene import __version__
from scan2gene.core.leakage import LEAKY, stamped
from scan2gene.core.started import started
from scan2gene.core.study import Study, headline, is_leaky, study_hash
from scan2gene.core.tables import harmless_table, without_slices
from scan2gene.learners import learner_of
from scan2gene.privacy.pseudonyms import shown_study
from scan2gene.stages.job import Job, stage_key
from scan2gene.tasks.outputs import by_question

if TYPE_CHECKING:
    from scan2gene.evaluate.evaluate import Evaluation


def evaluate_runs(job: Job) -> str:
    """Write metrics.csv, thresholds.json, results.json, comparisons.csv, and the tables about probabilities."""
    from scan2gene.evaluate.evaluate import evaluate
    from scan2gene.evaluate.optimism import optimism
    from scan2gene.evaluate.probabilities import probability_tables

    settings = job.study.evaluate
    starts = {(r.name, s.name): started(job.out, r.name, s.name) for r in job.study.runs for s in job.study.splits}
    key = stage_key(
        "evaluate", predictions=job.out.predictions.hash(), draws=settings.bootstrap,
        seed=job.study.seed, study=study_hash(shown_study(job.study, job.pseudonymiser)),
        cohort=job.out.cohort.hash(), starts=[s.as_json() for s in starts.values()],
    )  # fmt: skip
    if not job.is_done("evaluate", key):
        predictions = by_question(job.out.predictions.read())
        split = job.out.split.read()
        found = evaluate(predictions, split, settings.bootstrap, job.study.seed, headline(job.study))
        for place, begun in starts.items():
            for result in found.results.get(place[0], {}).get(place[1], {}).values():
                result["weights"] = begun.as_json()
        exams = without_slices(predictions)
        if any(one.search for one in job.study.runs):
            for row in optimism(exams, settings.bootstrap, job.study.seed):
                run, name, target = (row.pop(k) for k in ("run_id", "split", "target"))
                found.results[run][name][target]["optimism"] = row
        tables = probability_tables(exams, found.thresholds, settings.prevalence, settings.bootstrap, job.study.seed)
        tables["evidence"] = _evidence(job, found.results, split, exams)
        _add_means(found, list(job.study.targets))
        if is_leaky(job.study):
            for row in found.thresholds:
                row["leaky"] = LEAKY
            for result in (r for run in found.results.values() for split in run.values() for r in split.values()):
                result["leaky"] = LEAKY
        out = job.out
        out.metrics.write(stamped(pd.concat([found.metrics, found.means], ignore_index=True), job.study))
        out.thresholds.write(found.thresholds)
        out.results.write(found.results)
        out.comparisons.write(stamped(found.comparisons, job.study))
        if len(found.confusion):
            out.confusion.write(stamped(found.confusion, job.study))
        for name, table in tables.items():
            getattr(out, name).write(stamped(table, job.study))
        for one in job.study.runs:
            if one.name in found.results:
                out.experiment(one.name).results.write(found.results[one.name])
        if settings.ledger and not is_leaky(job.study):  # the ledger is for figures that mean something
            append_ledger(Path(settings.ledger), shown_study(job.study, job.pseudonymiser), found.metrics)
        files = [out.metrics, out.thresholds, out.results, out.comparisons]
        files += [out.confusion] if len(found.confusion) else []
        job.done("evaluate", key, [*files, *(getattr(out, name) for name in tables)])
    metrics = job.out.metrics.read()
    return f"{len(metrics)} figures, {metrics['low'].notna().sum()} with an interval"


def _add_means(found: Evaluation, targets: list[str]) -> None:
    """Put the means over targets beside the targets in the results."""
    from scan2gene.core.tables import MEAN

    for (run, split, variant), rows in found.means.groupby(["run_id", "split", "variant"], sort=False):
        place = found.results[str(run)][str(split)]
        row = rows.iloc[0]
        figures = rows.set_index("metric")[["value", "low", "high", "reason"]]
        result: dict = {"targets": [t for t in place if t in targets], **{c: int(row[c]) for c in ("n", "n_failed")}}
        result["metrics"] = {
            m: {k: None if v is None or v != v else v for k, v in f.items()}
            for m, f in figures.to_dict("index").items()
        }
        mine = place.setdefault(MEAN, {})
        if variant == "original":
            mine.update(result)
        else:
            mine.setdefault("variants", {})[str(variant)] = result


def _evidence(job: Job, results: dict, split: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """Other fits, shuffled labels and numbers of patients, beside each run's AUROC."""
    from scan2gene.evaluate.stability import stability

    features = {config.name: learner_of(config).refit(config, job.out) for config in job.configs}
    return stability(
        results, split, predictions, features,
        nested={r.name: r.search is not None for r in job.study.runs},
        by_site=frozenset(s.name for s in job.study.splits if s.kind == "leave_one_site_out"),
        shuffles=job.study.evaluate.shuffles, seed=job.study.seed,
    )  # fmt: skip


def append_ledger(path: Path, study: Study, metrics: pd.DataFrame) -> None:
    """Append every AUROC of an evaluation, also macro ones; what stands in the ledger is never removed.

    An evaluation that stands last already is not repeated: the run was killed just after it was written.
    """
    kept = metrics["metric"].isin(["auroc", "auroc_macro"]) & (metrics["variant"] == "original")
    later = ["n_units", "n_rarer_patients"]
    rows = metrics[kept].drop(columns=["metric", "variant", *later]).copy()  # columns as in older ledgers
    rows.insert(0, "study", study.name)
    rows.insert(1, "study_hash", study_hash(study))
    rows.insert(2, "seed", study.seed)
    rows.insert(3, "version", __version__)
    rows = rows.rename(columns={"value": "auroc"}).round({"auroc": 4, "low": 4, "high": 4})
    path.parent.mkdir(parents=True, exist_ok=True)
    text = harmless_table(rows).to_csv(index=False, header=False, lineterminator="\n")
    if path.exists() and path.read_text(encoding="utf-8").endswith("\n" + text):
        return
    with path.open("a", encoding="utf-8", newline="") as stream:
        stream.write((",".join(rows.columns) + "\n" if stream.tell() == 0 else "") + text)

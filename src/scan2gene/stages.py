"""What each stage does: files of the run directory in, files out, and a stamp."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scan2gene import __version__
from scan2gene.cohorts.curate import curate
from scan2gene.cohorts.genomics import NO_LIST, mutation_files
from scan2gene.cohorts.pseudonyms import Veil, shown_study
from scan2gene.cohorts.split import class_table, make_splits
from scan2gene.core.console import live, say
from scan2gene.core.energy import Meter
from scan2gene.core.errors import RunError
from scan2gene.core.files import file_hash, value_hash, write_json, write_text
from scan2gene.core.outputs import output_names, output_values, outputs
from scan2gene.core.rundir import damaged, is_done, mark_done, read_stamp, stage_key
from scan2gene.core.started import started
from scan2gene.core.study import Run, Study, candidate, candidates, for_run, input_roles, label_files, study_hash
from scan2gene.core.study_file import study_text
from scan2gene.core.tables import (
    LABEL_COLUMNS,
    SPLIT_COLUMNS,
    read_csv,
    write_csv,
    write_parquet,
)
from scan2gene.defaults import choose, left_open, with_choices
from scan2gene.evaluate.embedding_map import agreement_table, embedding_map
from scan2gene.evaluate.ensemble import repeat_ensembles, run_ensembles
from scan2gene.evaluate.power import power_table
from scan2gene.imaging.index import fingerprint, index

FOLD = ["split", "repeat", "fold"]


class ToDo(Exception):
    """Raised in a dry run where work would begin."""


@dataclass
class Job:
    """One study in one run directory, and what its stages share while they run."""

    study: Study
    out: Path
    tensors: dict[tuple, Any] = field(default_factory=dict)  # prepared cohorts, by store and roles
    veil: Veil | None = None  # of a study with pseudonyms

    started: float = 0.0  # of the stage that is running
    meter: Meter | None = None  # of the same
    worked: bool = False  # it had something to do
    dry: bool = False  # do nothing, stop where work would begin

    def is_done(self, stage: str, key: str) -> bool:
        """True when a stage was finished for these inputs; in a dry run, work to do ends it."""
        done = is_done(self.out, stage, key)
        if self.dry and not done:
            raise ToDo
        return done

    def done(self, stage: str, key: str, files: list[Path]) -> None:
        """Stamp a stage with its inputs' hash, its files and what it cost."""
        self.worked = True
        mark_done(self.out, stage, key, files, **(self.meter.stamp() if self.meter else {}))

    def table(self, name: str, columns: tuple[str, ...] = ()) -> pd.DataFrame:
        """A CSV of the run directory."""
        return read_csv(self.out / name, columns)

    def paths(self) -> dict[str, str]:
        """Series id, as tables show it -> what `read_volume` opens."""
        if self.veil:
            return self.veil.paths()
        return self.table("series.csv").set_index("series_id")["path"].to_dict()


def index_scans(job: Job) -> str:
    """Write series.csv; what a terminal shows of it."""
    scans = job.study.cohort.scans
    key = stage_key(version=__version__, files=value_hash(fingerprint(scans)))
    table = None
    if job.veil:
        if job.dry and not job.veil.index_path(key).exists():
            raise ToDo
        unfinished = job.veil.key.with_suffix(".progress")
        job.veil.read_index(key, lambda: index(scans, unfinished))
        table = job.veil.series()
        key = stage_key(key=key, shown=value_hash(table.to_csv(index=False)))
    if not job.is_done("index", key):
        write_csv(job.out / "series.csv", index(scans, job.out / "series.progress") if table is None else table)
        job.done("index", key, [job.out / "series.csv"])
    status = job.table("series.csv")["status"].value_counts()
    return f"{status.sum()} series: {status.get('ok', 0)} ok, {status.get('rejected', 0)} rejected"


def _curate(job: Job) -> str:
    rules = job.study.cohort
    named = [*label_files(rules), rules.exclude_file, rules.sequenced]
    sources = [*(Path(p) for p in named if p and Path(p).is_file()), *mutation_files(rules)]
    key = stage_key(
        version=__version__,
        series=file_hash(job.out / "series.csv"),
        # behind a veil, series.csv does not show all that is curated
        scans=(read_stamp(job.out, "index") or {}).get("key") if job.veil else None,
        tables=[file_hash(p) for p in sources],
        cohort=rules.model_dump(mode="json"),
        targets={n: t.model_dump(mode="json") for n, t in job.study.targets.items()},
        masks=(read_stamp(job.out, "index") or {}).get("key") if rules.min_lesion else None,
    )
    files = [job.out / n for n in ("cohort.csv", "labels.csv", "exclusions.csv", "roles.csv", "flow.json")]
    if not job.is_done("curate", key):
        curated = job.veil.curate() if job.veil else curate(job.study, job.table("series.csv"))
        tables = (curated.cohort, curated.labels, curated.exclusions, curated.roles)
        for path, table in zip(files, tables, strict=False):
            write_csv(path, table)
        write_json(files[-1], curated.flow)
        job.done("curate", key, files)
    cohort, labels = job.table("cohort.csv"), job.table("labels.csv", LABEL_COLUMNS)
    counts = ", ".join(f"{t} {int((g == 1).sum())}/{int((g == 0).sum())}" for t, g in labels.groupby("target")["value"])
    left = len(job.table("exclusions.csv"))
    people = f"{cohort['patient_id'].nunique()} patients, {len(cohort)} exams"
    guess = f"; {NO_LIST}" if rules.mutations and not (rules.sequenced or rules.sequenced_column) else ""
    return f"{people}; positive/negative {counts}; {left} rows in exclusions.csv{guess}"


def record_study(study: Study, out: Path, veil: Veil | None) -> None:
    """Keep the study as it runs: study.json to read, and study.yaml to run again where nothing must be hidden."""
    shown = shown_study(study, veil).model_dump(mode="json")
    kept = out / "study.json"
    if kept.exists() and json.loads(kept.read_text(encoding="utf-8")) == shown:
        return
    write_json(kept, shown)
    if veil is None:  # with pseudonyms the paths are not shown, and this would not run
        write_text(out / "study.yaml", study_text(Study.model_validate(shown)))


def as_planned(study: Study, out: Path) -> Study:
    """The study with what an earlier plan chose; the plan stage sees to it that this still holds."""
    path = out / "plan.json"
    return with_choices(study, json.loads(path.read_text(encoding="utf-8"))["chosen"]) if path.exists() else study


def _plan(job: Job) -> str:
    """Choose what the study leaves open, once, and go on with the study as it is then."""
    path = job.out / "plan.json"
    study, cohort = job.study, job.out / "cohort.csv"
    key = stage_key(
        version=__version__, open=left_open(study), cohort=file_hash(cohort), labels=file_hash(job.out / "labels.csv"),
        roles={n: r.model_dump(mode="json") for n, r in study.cohort.roles.items()}, inputs=input_roles(study),
        preprocess=[s.model_dump() for s in study.preprocess],
    )  # fmt: skip
    if not job.is_done("plan", key):
        labels = job.table("labels.csv", LABEL_COLUMNS)
        write_json(path, choose(study, job.table("cohort.csv"), labels, job.paths(), job.veil or str))
        job.done("plan", key, [path])
    planned = json.loads(path.read_text(encoding="utf-8"))
    job.study = with_choices(study, planned["chosen"])
    if job.veil:
        job.veil.study = job.study
    if not job.dry:
        record_study(job.study, job.out, job.veil)
    return f"chosen from the cohort: {', '.join(planned['chosen'])}" if planned["chosen"] else "the study sets all"


def _preprocess(job: Job) -> str:
    from scan2gene.preprocess.preview import write_previews
    from scan2gene.preprocess.store import build_store

    cohort = job.table("cohort.csv")
    paths = job.paths()
    index_stamp = read_stamp(job.out, "index") or {}
    told = []
    for view, store in _stores(job):
        key = stage_key(
            cohort=file_hash(job.out / "cohort.csv"), scans=index_stamp.get("key"), recipe=store.name,
            roles={n: r.model_dump() for n, r in view.cohort.roles.items()},
        )  # fmt: skip
        stage = f"preprocess/{store.name}"
        if not job.is_done(stage, key):
            manifest = build_store(store, cohort, paths, view.cohort.roles, view.preprocess, job.veil or str)
            pictures = write_previews(store, manifest, cohort, paths, input_roles(view))
            volumes = [store / f for f in manifest["file"].dropna() if f]
            job.done(stage, key, [store / "manifest.csv", *pictures, *volumes])
        status = read_csv(store / "manifest.csv")["status"].value_counts()
        told.append(f"{store.name}: {status.get('ok', 0)} volumes, {status.get('failed', 0)} failed")
    return "; ".join(told) or "no network, nothing to prepare"


def _split(job: Job) -> str:
    key = stage_key(
        seed=job.study.seed,
        splits=[s.model_dump(mode="json") for s in job.study.splits],
        cohort=file_hash(job.out / "cohort.csv"),
        labels=file_hash(job.out / "labels.csv"),
    )
    path = job.out / "split.csv"
    stamp = read_stamp(job.out, "split")
    if stamp and path.exists() and damaged(job.out, stamp):
        raise RunError(f"{path} is not as it was written. Restore it, or delete it to split anew.")
    if stamp and path.exists() and stamp["key"] != key:
        raise RunError(
            f"{path} was made for another cohort, seed or list of splits, and a split is never changed silently. "
            "Give another run directory with -o, or delete split.csv to split anew."
        )
    if not job.is_done("split", key):
        cohort, labels = job.table("cohort.csv"), job.table("labels.csv", LABEL_COLUMNS)
        write_csv(path, make_splits(cohort, labels, job.study.splits, job.study.seed))
        job.done("split", key, [path])
    table = job.table("split.csv", SPLIT_COLUMNS)
    counts, power = job.out / "split_table.csv", job.out / "power.csv"
    told = stage_key(version=__version__, split=file_hash(path), labels=file_hash(job.out / "labels.csv"))
    if not job.is_done("split_table", told):  # its own stamp: counts can be made again, the split cannot
        targets = list(job.study.targets)
        made = class_table(table, job.table("labels.csv", LABEL_COLUMNS), targets)
        write_csv(counts, made)
        write_csv(power, power_table(made, targets))
        mark_done(job.out, "split_table", told, [counts, power])
    return ", ".join(
        f"{n}: {len(g.groupby(['repeat', 'fold']))} fold(s)" for n, g in table.groupby("split", sort=False)
    )


def _train(job: Job) -> str:
    from scan2gene.train.fold import train_fold
    from scan2gene.train.search import search_fold

    made = total = 0
    work = list(_folds(job))
    for note in dict.fromkeys(n for one, _, _, parts, _, _ in work for n in _forbid_seen(job, one, parts)):
        say("", f"  {note}")
    for one, view, fold, parts, folder, key in work:
        total += 1
        stage = f"train/{folder.relative_to(job.out / 'experiments')}"
        if job.is_done(stage, key):
            if not job.dry:
                (folder / "last.pt").unlink(missing_ok=True)  # of a run that was killed just here
            continue
        with Meter() as meter:
            if one.search:
                search_fold(job.study, one, partial(_data, job), parts, fold, folder, key)
            else:
                data, targets = _data(job, one, view)
                train_fold(view, one, data, targets, parts, fold, folder, key)
        live("")
        _keep_record(job, one, folder)
        _draw_augmentation(job, one, parts, fold, folder)
        cost = meter.stamp()
        names = ("best.pt", "model.json", "history.csv", "search.json", "weights.json", "network.json")
        files = [p for p in (folder / n for n in names) if p.exists()]
        mark_done(job.out, stage, key, files, **cost)
        (folder / "last.pt").unlink(missing_ok=True)
        made += 1
        job.worked = True
        say("", f"  {one.name} {fold['split']} fold {fold['fold']}: {_told(folder)}{cost['seconds']:.0f} s")
    _join_histories(job, made > 0)
    return f"{total} fits, {made} new"


def _keep_record(job: Job, one: Run, folder: Path) -> None:
    """Say beside a model how large it is, and beside a head what its frozen encoder was."""
    from scan2gene.train.fold import is_classical
    from scan2gene.train.networks import probes, size
    from scan2gene.train.search import chosen_run

    one = chosen_run(one, folder)
    view = for_run(job.study, one)
    if is_classical(one):
        numbers = (len(one.model.options["columns"]) + 1) * len(output_names(view))
        write_json(folder / "network.json", {"parameters": numbers, "trained": numbers})
        return
    if probes(one):
        from scan2gene.preprocess.recipe import recipe_hash
        from scan2gene.train.embedded import keep_record

        keep_record(job.out / "embeddings", job.out / "store" / recipe_hash(view.preprocess), view, one, folder)
    write_json(folder / "network.json", size(view, one, folder))


def _draw_augmentation(job: Job, one: Run, parts: dict[str, str], fold: dict[str, Any], folder: Path) -> None:
    """Beside the first run with a list of augmentation, in its first fold: a training exam as the network saw it."""
    from scan2gene.imaging.nifti import read_nifti
    from scan2gene.preprocess.recipe import recipe_hash
    from scan2gene.train.examples import draw_examples
    from scan2gene.train.fold import fold_seed, is_classical
    from scan2gene.train.networks import probes
    from scan2gene.train.search import chosen_run

    split = job.table("split.csv", SPLIT_COLUMNS).iloc[0]
    if folder.name != f"{split['split']}-r{split['repeat']}-f{split['fold']}":
        return
    path = folder.parent / "augmentation.png"
    path.unlink(missing_ok=True)
    before = job.study.runs[: [r.name for r in job.study.runs].index(one.name)]
    shown = [for_run(job.study, r).data.augment for r in before if not (is_classical(r) or probes(r) or r.search)]
    one = chosen_run(one, folder)
    view = for_run(job.study, one)
    if is_classical(one) or probes(one) or not view.data.augment or view.data.augment in shown:
        return
    data, _ = _data(job, one, view)
    row = next(n for n, patient in enumerate(data.exams["patient_id"]) if parts.get(patient) == "train")
    store = job.out / "store" / recipe_hash(view.preprocess)
    manifest = read_csv(store / "manifest.csv")
    ready = (manifest["exam_id"] == data.exams["exam_id"].iloc[row]) & manifest["role"].isin(input_roles(view))
    file = manifest.loc[ready & (manifest["status"] == "ok"), "file"].iloc[0]
    draw_examples(path, data, row, view.data.augment, fold_seed(view, fold), read_nifti(store / file).affine)


def _forbid_seen(job: Job, one: Run, parts: dict[str, str]) -> list[str]:
    """Refuse to test on patients that a run of one's own has seen; what is worth a warning."""
    notes = []
    for tried in candidates(one, "weights"):
        if tried.weights and tried.weights.run:
            from scan2gene.train.source_run import forbid_seen, open_source

            source = open_source(tried.weights)
            notes += forbid_seen(source, tried.weights.other_patients, parts, one.name, job.veil)
    return notes


def search_trials(job: Job) -> int:
    """Do trials of every fold of every search, and nothing else; how many folds that were."""
    from scan2gene.train.search import begin, run_trials

    folds = 0
    for one, _, fold, parts, folder, key in _folds(job):
        if one.search and not is_done(job.out, f"train/{folder.relative_to(job.out / 'experiments')}", key):
            begin(folder, key)
            run_trials(job.study, one, partial(_data, job), parts, fold, folder, key)
            folds += 1
    return folds


def _join_histories(job: Job, new: bool) -> None:
    """One history.csv for each run: those of its folds, one below the other."""
    folders: dict[str, list[Path]] = {}
    for one, *_, folder, _ in _folds(job):
        folders.setdefault(one.name, []).append(folder / "history.csv")
    for name, files in folders.items():
        path, files = job.out / "experiments" / name / "history.csv", [f for f in files if f.exists()]
        if files and (new or not path.exists()) and not job.dry:
            write_csv(path, pd.concat([pd.read_csv(f, dtype=str, keep_default_na=False) for f in files]))


def _told(folder: Path) -> str:
    path = folder / "history.csv"
    if not path.exists():
        return ""
    history = pd.read_csv(path)
    best = history[history["best"] == 1].iloc[-1]
    return f"best epoch {best['epoch']:.0f} of {len(history)}, validation loss {best['validation_loss']:.3f}, "


def _predict(job: Job) -> str:
    from scan2gene.predict.table import write_embeddings

    target, features = job.out / "predictions.parquet", job.out / "embeddings.parquet"
    work = list(_folds(job))
    key = stage_key(
        version=__version__, fits=[k for *_, k in work], order=[str(f.relative_to(job.out)) for *_, f, _ in work],
        predict=job.study.predict.model_dump(mode="json"),
    )  # fmt: skip
    if not job.is_done("predict", key):
        folders = [_predicted_fold(job, *item) for item in work]
        table = pd.concat([pd.read_parquet(f / "predictions.parquet") for f in folders], ignore_index=True)
        averaged = [repeat_ensembles(table), run_ensembles(table, job.study.predict.ensembles)]
        write_parquet(target, pd.concat([table, *(t for t in averaged if len(t))], ignore_index=True))
        embedded = (f / "embeddings.parquet" for f in folders)
        write_embeddings(features, (pd.read_parquet(p) for p in embedded if p.exists()))
        job.done("predict", key, [target, features, *_mapped(job, features)])
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


def _predicted_fold(
    job: Job, one: Run, view: Study, fold: dict[str, Any], parts: dict[str, str], folder: Path, fit: str
) -> Path:
    """Write the predictions of one fold beside its checkpoint, so that a stop loses no fold; the folder."""
    from scan2gene.predict.table import embedding_rows, prediction_rows, write_embeddings
    from scan2gene.train.fold import predict_fold
    from scan2gene.train.search import chosen_run

    stage = f"predict/{folder.relative_to(job.out / 'experiments')}"
    key = stage_key(fit=fit, variants=view.predict.model_dump(mode="json", exclude={"ensembles"}))
    if is_done(job.out, stage, key):
        return folder
    one = chosen_run(one, folder)
    view = for_run(job.study, one)
    cohort, labels = job.table("cohort.csv"), job.table("labels.csv", LABEL_COLUMNS)
    data, _ = _data(job, one, view)
    classical = isinstance(data, pd.DataFrame)
    exams, failed = (data, {}) if classical else (data.exams, data.failed)
    passed = predict_fold(view, one, data, folder)
    tables = [
        prediction_rows(one.name, fold, parts, cohort, labels, outputs(view), logits, failed, variant)
        for variant, values in passed.logits.items()
        for logits in [dict(zip(exams["exam_id"], values, strict=True))]
    ]
    files = [folder / "predictions.parquet", folder / "embeddings.parquet"]
    write_parquet(files[0], pd.concat(tables, ignore_index=True))
    files[1].unlink(missing_ok=True)
    if passed.embeddings is not None:
        write_embeddings(files[1], [embedding_rows(one.name, fold, parts, exams, passed.embeddings)])
    mark_done(job.out, stage, key, [f for f in files if f.exists()])
    return folder


def _evaluate(job: Job) -> str:
    from scan2gene.evaluate.evaluate import evaluate

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


def _explain(job: Job) -> str:
    """Maps of where each network looks, a stamp per fit; which exams are shown follows from the predictions."""
    from scan2gene.explain.fit import read_maps, read_randomised
    from scan2gene.explain.score import summary

    settings, folder = job.study.explain, job.out / "explain"
    networks = [one.name for one, _ in _run_stores(job)]
    if not settings.exams or not networks:
        return "no maps: " + ("no run is a network" if settings.exams else "explain.exams is 0")
    if any(side for _, side in outputs(job.study)):
        return "no maps: networks of targets with sides are not explained yet"
    masks = [n for n, r in job.study.cohort.roles.items() if r.kind == "label"]
    mask = settings.mask or (masks[0] if masks else None)
    rows = _exams_to_explain(job, networks, mask)
    made = []
    for work in _folds(job):
        one, fold, trained = work[0], work[2], work[4]
        mine = rows[(rows[["run_id", *FOLD]] == [one.name, *fold.values()]).all(axis=1)]
        if len(mine):
            made.append(folder / trained.relative_to(job.out / "experiments"))
            _explain_fit(job, work, mine, mask, made[-1])
    if not made:
        return "no labelled test exam to explain"
    tables = [folder / n for n in ("maps.csv", "randomised.csv", "scores.csv")]
    fits = {str(f.relative_to(job.out)): [file_hash(f / t.name) for t in tables[:2]] for f in made}
    key = stage_key(version=__version__, fits=fits, draws=job.study.evaluate.bootstrap, seed=job.study.seed)
    if not job.is_done("explain", key):
        maps = pd.concat([read_maps(f / "maps.csv") for f in made], ignore_index=True)
        randomised = pd.concat([read_randomised(f / "randomised.csv") for f in made], ignore_index=True)
        scores = summary(maps, randomised, job.study.evaluate.bootstrap, job.study.seed)
        for path, table in zip(tables, (maps, randomised, scores), strict=True):
            write_csv(path, table)
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

    one, _, _, parts, trained, key = work
    one = chosen_run(one, trained)
    view = for_run(job.study, one)
    settings, stage = job.study.explain, str(folder.relative_to(job.out))
    wanted = stage_key(version=__version__, fit=key, rows=rows.to_csv(), explain=settings.model_dump(), mask=mask)
    if job.is_done(stage, wanted):
        return
    store = job.out / "store" / recipe_hash(view.preprocess)
    data, _ = _data(job, one.model_copy(update={"weights": None}), view)  # images, also for a head on embeddings
    with Meter() as meter:
        fit = load_fit(view, one, data, trained, store, job.table("cohort.csv"), job.paths(), parts, mask)
        files = explain_fit(fit, rows, settings.methods, job.out, folder)
    cost = meter.stamp()
    mark_done(job.out, stage, wanted, files, **cost)
    job.worked = True
    say("", f"  {folder.relative_to(job.out / 'explain')}: {len(rows)} maps a method, {cost['seconds']:.0f} s")


def _report(job: Job) -> str:
    from scan2gene.report.beside import write_beside
    from scan2gene.report.page import make_report

    inputs = sorted(p for pattern in ("*.csv", "*.json", "*.parquet", "experiments/*/*/history.csv", "store/*/*.csv",
                                                 "explain/*.csv", "experiments/*/*/weights.json",
                                                 "experiments/*/*/network.json", "experiments/*/augmentation.png")
                    for p in job.out.glob(pattern))  # fmt: skip
    key = stage_key(
        version=__version__,
        files={str(p.relative_to(job.out)): file_hash(p) for p in inputs},
        study=job.study.model_dump(mode="json"),
    )
    path = job.out / "report.html"
    if not job.is_done("report", key):
        stores = {one.name: store for one, (_, store) in _run_stores(job)}
        report = make_report(shown_study(job.study, job.veil), job.out, stores)
        beside = write_beside(job.out, report)
        write_text(path, report.html)
        job.done("report", key, [path, *beside])
    return f"{path} ({path.stat().st_size / 1e6:.1f} MB)"


def _stores(job: Job) -> list[tuple[Study, Path]]:
    """Each different preprocessing once, those that a search tries too."""
    from scan2gene.preprocess.recipe import recipe_hash

    found = {store.name: (view, store) for _, (view, store) in _run_stores(job)}
    for one in job.study.runs:
        for steps in one.search.over.get("preprocess", []) if one.search else []:
            view = for_run(job.study, candidate(one, {"preprocess": steps}))
            found.setdefault(recipe_hash(view.preprocess), (view, job.out / "store" / recipe_hash(view.preprocess)))
    return list(found.values())


def _run_stores(job: Job) -> list[tuple[Run, tuple[Study, Path]]]:
    from scan2gene.preprocess.recipe import recipe_hash
    from scan2gene.radiomics.clinical import CLASSICAL  # the stages before training need no torch

    views = [(one, for_run(job.study, one)) for one in job.study.runs if one.model.name not in CLASSICAL]
    return [(one, (view, job.out / "store" / recipe_hash(view.preprocess))) for one, view in views]


def _folds(job: Job) -> Iterator[tuple[Run, Study, dict[str, Any], dict[str, str], Path, str]]:
    """Every fit of the study: run, its study, fold, parts, folder and key."""
    split = job.table("split.csv", SPLIT_COLUMNS)
    stores = {one.name: store for one, (_, store) in _run_stores(job)}
    inputs = {n: file_hash(job.out / n) for n in ("cohort.csv", "labels.csv", "split.csv")}
    for one in job.study.runs:
        view = for_run(job.study, one)
        store = stores.get(one.name)
        images = file_hash(store / "manifest.csv") if store else None
        weights = _weights_key(job.study, one)
        for (name, repeat, number), rows in split.groupby(FOLD, sort=False):
            fold = {"split": name, "repeat": int(repeat), "fold": int(number)}
            key = stage_key(
                version=__version__, **inputs, images=images, fold=fold, model=one.model.model_dump(), seed=view.seed,
                data=view.data.model_dump(), train=view.train.model_dump(), targets=output_names(view),
                roles=input_roles(view), search=one.search and one.search.model_dump(), **weights,
            )  # fmt: skip
            parts = dict(zip(rows["patient_id"], rows["part"], strict=True))
            folder = job.out / "experiments" / one.name / f"{name}-r{repeat}-f{number}"
            yield one, view, fold, parts, folder, key


def _weights_key(study: Study, one: Run) -> dict[str, Any]:
    """What a run and each candidate of its search start from, by the hash of the file; nothing for random weights."""
    from_files = [tried for tried in candidates(one, "weights") if tried.weights]
    if not from_files:
        return {}
    from scan2gene.train.start import start_of

    told = []
    for tried in from_files:
        start = start_of(for_run(study, tried), tried)
        rules = tried.weights and tried.weights.model_dump(include={"freeze", "head", "channels"})
        told.append([start.sha256 if start else "", start.options if start else {}, rules])
    return {"weights": told}


def _data(job: Job, one: Run, view: Study) -> tuple[Any, np.ndarray]:
    """What a run learns from, and the labels (N, T) of its exams for each output."""
    from scan2gene.train.fold import is_classical, probes

    cohort, labels = job.table("cohort.csv"), job.table("labels.csv", LABEL_COLUMNS)
    if is_classical(one):
        return cohort, output_values(labels, cohort["patient_id"], output_names(view))
    from scan2gene.data.cohort import load_cohort
    from scan2gene.preprocess.recipe import recipe_hash

    store = job.out / "store" / recipe_hash(view.preprocess)
    roles = input_roles(view)
    if probes(one):
        return _embedded(job, one, view, store)
    where = (store, tuple(roles), tuple(output_names(view)))
    if where not in job.tensors:
        job.tensors.clear()  # one prepared cohort in memory at a time
        manifest = read_csv(store / "manifest.csv")
        job.tensors[where] = load_cohort(store, manifest, cohort, labels, roles, output_names(view))
        say("", f"  {one.name}: {job.tensors[where].told()}")
    data = job.tensors[where]
    return data, data.targets.numpy()


def _embedded(job: Job, one: Run, view: Study, store: Path) -> tuple[Any, np.ndarray]:
    """What a frozen encoder gives of every exam, in place of images, and the labels."""
    from scan2gene.train.embedded import embedded_cohort, embeddings_key

    where = (embeddings_key(store, view, one), tuple(output_names(view)))
    if where not in job.tensors:
        job.tensors.clear()
        cohort, labels = job.table("cohort.csv"), job.table("labels.csv", LABEL_COLUMNS)
        job.tensors[where] = embedded_cohort(job.out / "embeddings", store, cohort, labels, view, one)
    data = job.tensors[where]
    return data, data.targets.numpy()


STAGES = {
    "index": index_scans,
    "curate": _curate,
    "plan": _plan,
    "split": _split,  # before the long work: what is wrong with a split is said at once
    "preprocess": _preprocess,
    "train": _train,
    "predict": _predict,
    "evaluate": _evaluate,
    "explain": _explain,
    "report": _report,
}

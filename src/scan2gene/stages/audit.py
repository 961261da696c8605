"""The audits and the verdict: audit.json, audit.csv, leakage.csv and verdicts.json, from tables of the run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.rundir import FitDirectory, RunDirectory, StoreDirectory
from scan2gene.core.section import options_of
from scan2gene.core.study import headline, input_roles, standardised
from scan2gene.core.study_runs import Run
from scan2gene.core.tables import without_slices
from scan2gene.evaluate.audit import Tables, outside, shortcut_figures
from scan2gene.evaluate.blocks import ordered
from scan2gene.evaluate.leakage import (
    Check,
    Parts,
    case_table,
    copies_before_split,
    one_person,
    patients_apart,
    predictions_follow,
    shared_files,
    twin_images,
)
from scan2gene.evaluate.leakage_of_fits import composition_kept, early_stopping, fitted_inside, thresholds_inside
from scan2gene.evaluate.places import Cues
from scan2gene.evaluate.shortcuts import figure_table
from scan2gene.evaluate.underfit import TrainingFinding, training_aurocs, training_findings, validation_patients
from scan2gene.evaluate.verdict import Verdict, summary
from scan2gene.evaluate.verdicts import verdicts
from scan2gene.learners import reads_images
from scan2gene.learners.feature_rows import numbers_of
from scan2gene.stages.features import read_by_runs
from scan2gene.stages.fits import FOLD, fits
from scan2gene.stages.job import Job, run_data, run_stores, stage_key
from scan2gene.stages.variants import lesion_role
from scan2gene.tasks.binary import POSITIVE
from scan2gene.tasks.outputs import by_question, one_vs_rest
from scan2gene.tasks.run_config import RunConfig


def audit_run(job: Job) -> str:
    """Look for leakage and shortcuts, and judge every target."""
    out = job.out
    inputs = [out.cohort, out.series, out.labels, out.split, out.predictions, out.variants, out.embeddings,
              out.thresholds, out.plan, out.budget, out.scales,
              *(store.manifest for _, store in run_stores(job))]  # fmt: skip
    key = stage_key(
        "audit", files=[f.hash() for f in inputs if f.exists()],
        draws=job.study.evaluate.bootstrap, seed=job.study.seed,
        study=[r.model_dump(mode="json") for r in job.study.runs],
        # not the files of histories, which have seconds
        learned=[[*key, value] for key, value in sorted(training_aurocs(_histories(job)).items())],
        training=[f.sentence for f in _training(job)],
    )  # fmt: skip
    if not job.is_done("audit", key):
        checks = leakage(job)
        tables = _tables(job)
        judged = _judged(job)
        figures = shortcut_figures(job.study, tables, judged)
        beyond = outside(job.study, tables, figures)
        judgements = verdicts(job.study, tables, figures, checks, beyond)
        moved, shifted = ([one.row() for one in found] for found in beyond)
        out.audit.write({
            "leakage": [{"check": c.name, "status": c.status, "told": c.told, "cases": len(c.cases)} for c in checks],
            "shortcuts": [f.row() for f in figures],
            "transfer": moved,
            "shift": shifted,
            "training": [vars(f) for f in tables.training],
        })  # fmt: skip
        out.shortcuts.write(figure_table(figures))
        out.leakage.write(case_table(checks))
        out.verdicts.write([vars(v) for v in judgements])
        out.transfer.write(pd.DataFrame(moved, columns=None if moved else ["run", "split", "target"]))
        out.shift.write(pd.DataFrame(shifted, columns=None if shifted else ["split", "kind", "what"]))
        job.done("audit", key, [out.audit, out.shortcuts, out.leakage, out.verdicts, out.transfer, out.shift])
    kept = out.verdicts.read()
    leaks = [c for c in out.audit.read()["leakage"] if c["status"] == "found"]
    told = summary([Verdict(**v | {"sentences": tuple(v["sentences"])}) for v in kept])
    leaked = "; ".join(f"LEAK: {c['told']}" for c in leaks) or "no leak found"
    return f"{leaked}; {told}"


def _tables(job: Job) -> Tables:
    """What the shortcut audit reads."""
    from scan2gene.stages.pixels import picture_cues

    return Tables(
        job.out.cohort.read(), job.out.series.read(), one_vs_rest(job.out.labels.read(), job.study.targets),
        job.out.split.read(), by_question(without_slices(job.out.predictions.read())),
        by_question(job.out.variants.read()), job.out.embeddings.read_or_empty(),
        lesion_volumes([store for _, store in _stores(job)], lesion_role(job.study)),
        job.out.thresholds.read(), _grey(job), training_aurocs(_histories(job)),
        _of_means(job, picture_cues(job)), _training(job), _on_features(job),
    )  # fmt: skip


def _training(job: Job) -> list[TrainingFinding]:
    """What looks wrong about how runs were trained."""
    schedules = {config.name: config.train.schedule.name for config in job.configs}
    return training_findings(_histories(job), validation_patients(job.out.split.read()), schedules)


def _judged(job: Job) -> list[str]:
    """Runs that see images or features of them; of a planned study without single networks of which means are made."""
    means, seeds = standardised(job.study), {config.name for config, _ in run_stores(job)}
    seeds &= {m for own in standardised(job.study).values() for m in own} if headline(job.study) else set()
    seen = [c.name for c in job.configs if reads_images(c) or c.model.options.get("features")]
    return [name for name in (*seen, *means) if name not in seeds]


def _of_means(job: Job, cues: dict[str, Cues]) -> dict[str, Cues]:
    """Also for means of runs that all see the same pictures."""
    means = standardised(job.study)
    for name in ordered(means):
        own = [cues.get(member) for member in means[name]]
        if own[0] is not None and all(cue is own[0] for cue in own):
            cues[name] = own[0]
    return cues


def _on_features(job: Job) -> dict[str, bool]:
    """Run that reads features, or a mean with such a member -> whether they come from inside a mask."""
    from scan2gene.features import KINDS

    has_mask, found = any(role.kind == "label" for role in job.study.cohort.roles.values()), dict[str, bool]()
    for config in job.configs:
        blocks = [job.study.features[name].name for name in config.model.options.get("features", ())]
        if blocks:
            found[config.name] = has_mask and any(b and "mask" in options_of(KINDS[b]) for b in blocks)
    means = standardised(job.study)
    for name in ordered(means):
        own = [found[member] for member in means[name] if member in found]
        found |= {name: any(own)} if own else {}
    return found


def _grey(job: Job) -> pd.DataFrame | None:
    """Grey-value measures of the prepared volumes that show most, by patient_id; None where no site is external."""
    if not any(split.external for split in job.study.splits) or not _stores(job):
        return None
    from scan2gene.predict.familiar import grey_table

    config, store = _stores(job)[0]
    return grey_table(job.out.cohort.read(), job.out.series.read(), store.path, config)


def _stores(job: Job) -> list[tuple[RunConfig, StoreDirectory]]:
    """Runs and their prepared stores, those first that show more than the lesion."""
    found = [(config, store) for config, store in run_stores(job) if store.manifest.exists()]
    return sorted(found, key=lambda s: any(step.name == "crop_to_mask" for step in s[0].recipe))


def leakage(job: Job) -> list[Check]:
    """Every leakage check of a run directory."""
    out = job.out
    cohort, split = job.out.cohort.read(), job.out.split.read()
    every = out.predictions.read()
    answered = every[(every["label"] == POSITIVE) | (every["y_true"] == 1)]  # the loss of several classes has one row
    predictions = by_question(without_slices(every))
    parts = Parts(split)
    manifest, pairs, compared = _images(job)
    return [
        patients_apart(split),
        predictions_follow(predictions, split),
        shared_files(_used(cohort, job.out.series.read(), manifest, input_roles(job.study)), parts),
        twin_images(pairs, parts, compared, "no image was prepared"),
        one_person(cohort["patient_id"], parts),
        copies_before_split(manifest),
        fitted_inside(list(_fitted(job)), _model_columns(job), split, _given(job), list(_harmonised(job))),
        thresholds_inside(_kept_thresholds(out), _thresholds(predictions)),
        early_stopping(list(_stopped_early(job)), answered),
        *_composition(job),
    ]


def _composition(job: Job) -> list[Check]:
    """Whether means of runs are made as planned; no check where the study names its runs itself."""
    runs = job.out.plan.read({}).get("chosen", {}).get("runs", [])
    out = job.out.budget.read({}).get("left_out", {})  # decided before training
    planned = {run.name: [m for m in run.members if m not in out] for run in map(Run.model_validate, runs)}
    planned = {name: members for name, members in planned.items() if members and name not in out}
    if not planned:
        return []
    scales = job.out.scales.read()
    of_scores = {name: list(rows["member"].unique()) for name, rows in scales.groupby("run_id", sort=False)}
    return [composition_kept(planned, {"study.json": standardised(job.study), "ensembles.csv": of_scores})]


def _images(job: Job) -> tuple[pd.DataFrame | None, pd.DataFrame | None, int]:
    """The manifest of the store that shows most, the most alike images of its patients, and how many there are."""
    from scan2gene.preprocess.prints import store_pairs

    if not _stores(job):
        return None, None, 0
    config, store = _stores(job)[0]
    manifest, roles = store.manifest.read(), config.roles
    pairs = store_pairs(store.path, manifest, roles, job.out.fingerprints(store.name))
    return manifest, pairs, int(((manifest["status"] == "ok") & manifest["role"].isin(roles)).sum())


def _used(cohort: pd.DataFrame, series: pd.DataFrame, manifest: pd.DataFrame | None, roles: list[str]) -> pd.DataFrame:
    """patient_id, and what names a study, a series, a file, or stored voxels."""
    tables = [cohort[["patient_id", "exam_id"]].rename(columns={"exam_id": "study"})]
    paths = series.drop_duplicates("series_id").set_index("series_id")["path"]
    for role in roles:
        chosen = cohort[["patient_id", f"role:{role}"]].rename(columns={f"role:{role}": "series"})
        tables.append(chosen.assign(file=chosen["series"].map(paths)))
    if manifest is not None and len(manifest):
        ready = manifest[(manifest["status"] == "ok") & manifest["role"].isin(roles)]
        tables.append(ready[["patient_id", "checksum"]].rename(columns={"checksum": "stored voxels"}))
    return pd.concat(tables, ignore_index=True)


def _given(job: Job) -> list[str]:
    """Steps of any run whose statistics over patients came with the study file."""
    return sorted({step.name for config, _ in run_stores(job) for step in config.recipe if step.name == "nyul"})


def _fitted(job: Job) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for fold, folder in _fits(job):
        if folder.model.exists() and not folder.harmonise.exists():  # whose medians are of harmonised columns
            model = folder.model.read()
            if "median" in model and "columns" in model:
                yield fold, model


def _model_columns(job: Job) -> pd.DataFrame:
    """patient_id and every column that models on tables read, by the names that model.json has."""
    cohort = job.out.cohort.read()
    clinical = [column for column in cohort if column.startswith("clinical:")]
    numbers = cohort[clinical].apply(pd.to_numeric, errors="coerce")
    tables = [cohort[["patient_id"]], numbers.rename(columns=lambda c: c.removeprefix("clinical:"))]
    for name in read_by_runs(job):
        own = numbers_of(job.out.features(name).read()).reindex(cohort["exam_id"]).set_axis(cohort.index)
        tables.append(own.add_prefix(f"{name}:"))
    return pd.concat(tables, axis=1)


def _harmonised(job: Job) -> Iterator[tuple[dict[str, Any], str, bool]]:
    """Fits with ComBat: fold, run, and whether it is learned from the fold's training rows."""
    from scan2gene.learners.harmonise import is_of_training

    done = {config.name for config in job.configs if config.data.harmonise and not config.search}
    for fit in fits(job) if done else ():
        if fit.config.name not in done or not fit.folder.harmonise.exists():
            continue
        same = is_of_training(fit, run_data(job, fit.config))
        if same is not None:
            yield fit.place, fit.config.name, same


def _histories(job: Job) -> Iterator[tuple[str, dict[str, Any], pd.DataFrame]]:
    for fold, folder in _fits(job):
        if folder.history.exists():
            yield folder.path.parent.name, fold, pd.read_csv(folder.history.path)


def _stopped_early(job: Job) -> Iterator[tuple[str, dict[str, Any], pd.DataFrame]]:
    """Histories of the fits that chose an epoch by the validation part."""
    configs = {config.name: config for config in job.configs}
    for run, fold, history in _histories(job):
        config, folder = configs[run], job.out.fit(run, **fold)
        if config.search and folder.search.exists():
            config = config.with_values(folder.search.read()["values"])
        if config.train.patience is not None:
            yield run, fold, history


def _fits(job: Job) -> Iterator[tuple[dict[str, Any], FitDirectory]]:
    """(split, repeat, fold) and folder of every fit."""
    names = job.out.split.read()[FOLD].drop_duplicates().to_dict("records")
    for one in job.study.runs:
        for fold in names:
            yield fold, job.out.fit(one.name, **fold)


def _kept_thresholds(out: RunDirectory) -> list[dict[str, Any]]:
    """Those that decide about patients: at slice level nothing is decided."""
    from scan2gene.core.tables import SLICE_LEVEL

    return [t for t in out.thresholds.read() if t.get("variant") != SLICE_LEVEL]


def _thresholds(predictions: pd.DataFrame) -> list[dict[str, Any]]:
    """Chosen anew on validation rows, or without any on test rows of other folds, not looking at how it was done."""
    from scan2gene.evaluate.ensemble import ALL
    from scan2gene.evaluate.evaluate import DEFAULT_THRESHOLD, to_patients
    from scan2gene.stats.thresholds import g_mean_threshold

    patients = to_patients(predictions[predictions["fold"] != ALL])
    known = patients.dropna(subset=["y_true", "prob"])
    rows = []
    for (run, split, variant, repeat, target), group in known.groupby(
        ["run_id", "split", "variant", "repeat", "target"]
    ):
        own = patients[(patients["run_id"] == run) & (patients["split"] == split) & (patients["repeat"] == repeat)]
        part = "validation" if (own["part"] == "validation").any() else "test"
        for fold in patients.loc[(patients["run_id"] == run) & (patients["split"] == split), "fold"].unique():
            tested = own.loc[(own["fold"] == fold) & (own["part"] == "test"), "patient_id"]
            seen = group[(group["part"] == part) & (group["fold"] != fold if part == "test" else True)]
            seen = seen[~seen["patient_id"].isin(tested)]
            both = seen["y_true"].nunique() == 2
            value = g_mean_threshold(seen["y_true"].to_numpy(), seen["prob"].to_numpy()) if both else DEFAULT_THRESHOLD
            rows.append({"run_id": run, "split": split, "variant": variant, "repeat": repeat, "fold": fold,
                         "target": target, "threshold": value, "n": len(seen)})  # fmt: skip
    return rows


def lesion_volumes(stores: list[StoreDirectory], role: str | None) -> pd.Series | None:
    """Volume of the stored lesion mask by patient_id, in mm3; None without masks."""
    from scan2gene.imaging.nifti import read_nifti

    for store in stores:
        manifest = store.manifest.read()
        rows = manifest[(manifest["status"] == "ok") & (manifest["role"] == role)].drop_duplicates("patient_id")
        if len(rows):
            values = {}
            for row in rows.to_dict("records"):
                mask = read_nifti(store.path / row["file"], "label")
                values[row["patient_id"]] = float(np.count_nonzero(mask.array)) * abs(
                    np.linalg.det(mask.affine[:3, :3])
                )
            return pd.Series(values)
    return None

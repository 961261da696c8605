"""From scans and label tables to the exams, the plan and the split."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from scan2gene.cohorts.curate import curate
from scan2gene.cohorts.genomics import NO_LIST, mutation_files
from scan2gene.cohorts.ids import lost_ids
from scan2gene.cohorts.odd_series import odd_series
from scan2gene.cohorts.pseudonymised import curate_pseudonymised
from scan2gene.cohorts.roles import ROLE_COLUMNS, contested
from scan2gene.cohorts.split import class_table, make_splits, one_class_parts
from scan2gene.core.console import say
from scan2gene.core.errors import RunError
from scan2gene.core.files import file_hash, value_hash, write_json, write_text
from scan2gene.core.leakage import LEAKY, stamped
from scan2gene.core.rundir import damaged, mark_done, read_stamp
from scan2gene.core.study import Study, input_roles, is_leaky
from scan2gene.core.study_cohort import label_files
from scan2gene.core.study_file import study_text
from scan2gene.core.tables import LABEL_COLUMNS, SPLIT_COLUMNS, write_csv
from scan2gene.core.text import counted
from scan2gene.evaluate.power_tables import power_table
from scan2gene.imaging.index import copied_series, fingerprint, index
from scan2gene.plan.choices import choose, left_open, with_choices
from scan2gene.privacy.pseudonyms import Pseudonymiser, shown_study
from scan2gene.stages.job import Job, ToDo, stage_key

_REASONS = 3  # of rejected series that are shown, the most frequent ones; series.csv has them all


def index_scans(job: Job) -> str:
    """Write series.csv; what a terminal shows of it."""
    scans = job.study.cohort.scans
    key = stage_key("index", files=value_hash(fingerprint(scans)))
    table = None
    if job.veil:
        if job.dry and not job.veil.index_path(key).exists():
            raise ToDo
        unfinished = job.veil.key.with_suffix(".progress")
        job.veil.read_index(key, lambda: index(scans, unfinished))
        table = job.veil.series()
        key = stage_key("index", key=key, shown=value_hash(table.to_csv(index=False)))
    if not job.is_done("index", key):
        write_csv(job.out / "series.csv", index(scans, job.out / "series.progress") if table is None else table)
        job.done("index", key, [job.out / "series.csv"])
    table = job.table("series.csv")
    status, copies = table["status"].value_counts(), copied_series(table)
    twice = f"; {copies} found in more than one place, counted once (n_copies)" if copies else ""
    reasons = table.loc[table["status"] != "ok", "reason"].value_counts().head(_REASONS)
    why = f" ({'; '.join(f'{n} x {reason}' for reason, n in reasons.items())})" if len(reasons) else ""
    return f"{status.sum()} series: {status.get('ok', 0)} ok, {status.get('rejected', 0)} rejected{why}{twice}"


def curate_cohort(job: Job) -> str:
    """Write cohort.csv, labels.csv, exclusions.csv, roles.csv and flow.json."""
    rules = job.study.cohort
    named = [*label_files(rules), rules.exclude_file, rules.sequenced]
    sources = [*(Path(p) for p in named if p and Path(p).is_file()), *mutation_files(rules)]
    key = stage_key(
        "curate",
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
        curated = curate_pseudonymised(job.veil) if job.veil else curate(job.study, job.table("series.csv"))
        tables = (curated.cohort, curated.labels, curated.exclusions, curated.roles)
        for path, table in zip(files, tables, strict=False):
            write_csv(path, table)
        write_json(files[-1], curated.flow)
        job.done("curate", key, files)
    cohort, labels = job.table("cohort.csv"), job.table("labels.csv", LABEL_COLUMNS)
    counts = ", ".join(f"{t} {int((g == 1).sum())}/{int((g == 0).sum())}" for t, g in labels.groupby("target")["value"])
    excluded = job.table("exclusions.csv").fillna("")
    for line in [] if job.dry else [*odd_series(cohort, job.table("series.csv")), *lost_ids(excluded)]:
        say("", f"  warning: {line}")
    people = f"{cohort['patient_id'].nunique()} patients, {len(cohort)} exams"
    guess = f"; {NO_LIST}" if rules.mutations and not (rules.sequenced or rules.sequenced_column) else ""
    warnings = "".join(f"\n{'':<11}warning: {text}" for text in contested(job.table("roles.csv", ROLE_COLUMNS)))
    return f"{people}; positive/negative {counts}; {len(excluded)} rows in exclusions.csv{guess}{warnings}"


def record_study(study: Study, out: Path, veil: Pseudonymiser | None) -> None:
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


def _development(job: Job) -> pd.DataFrame:
    """Rows of cohort.csv that a plan may look at: those of external sites must not choose a grid."""
    cohort = job.table("cohort.csv")
    outside = cohort["site"].isin({site for split in job.study.splits for site in split.external})
    return cohort if outside.all() else cohort[~outside].reset_index(drop=True)


def plan_study(job: Job) -> str:
    """Choose what the study leaves open, once, and go on with the study as it is then."""
    path = job.out / "plan.json"
    study, cohort = job.study, job.out / "cohort.csv"
    key = stage_key(
        "plan", open=left_open(study), cohort=file_hash(cohort), labels=file_hash(job.out / "labels.csv"),
        roles={n: r.model_dump(mode="json") for n, r in study.cohort.roles.items()}, inputs=input_roles(study),
        preprocess=[s.model_dump() for s in study.preprocess],
    )  # fmt: skip
    if not job.is_done("plan", key):
        labels = job.table("labels.csv", LABEL_COLUMNS)
        write_json(path, choose(study, _development(job), labels, job.paths(), job.veil or str))
        job.done("plan", key, [path])
    planned = json.loads(path.read_text(encoding="utf-8"))
    job.study = with_choices(study, planned["chosen"])
    if job.veil:
        job.veil.study = job.study
    if not job.dry:
        record_study(job.study, job.out, job.veil)
    return f"chosen from the cohort: {', '.join(planned['chosen'])}" if planned["chosen"] else "the study sets all"


def split_patients(job: Job) -> str:
    """Write split.csv once, and what each part holds; a split is never changed silently."""
    key = stage_key(
        "split",
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
            f"{path} was made for another cohort, seed, list of splits or by another version, and a split is never "
            "changed silently. Give another run directory with -o, or delete split.csv to split anew."
        )
    if not job.is_done("split", key):
        cohort, labels = job.table("cohort.csv"), job.table("labels.csv", LABEL_COLUMNS)
        write_csv(path, stamped(make_splits(cohort, labels, job.study.splits, job.study.seed), job.study))
        files = [path]
        if is_leaky(job.study):
            files.append(job.out / "LEAKY.txt")
            write_text(files[1], LEAKY + "\n")
        job.done("split", key, files)
    table = job.table("split.csv", SPLIT_COLUMNS)
    counts, power = job.out / "split_table.csv", job.out / "power.csv"
    told = stage_key("split_table", split=file_hash(path), labels=file_hash(job.out / "labels.csv"))
    if not job.is_done("split_table", told):  # its own stamp: counts can be made again, the split cannot
        targets = list(job.study.targets)
        made = class_table(table, job.table("labels.csv", LABEL_COLUMNS), targets)
        write_csv(counts, stamped(made, job.study))
        write_csv(power, stamped(power_table(made, targets), job.study))
        mark_done(job.out, "split_table", told, [counts, power])
    lacking = one_class_parts(job.table("split_table.csv"))
    return ", ".join(
        f"{n}: {counted(len(g.groupby(['repeat', 'fold'])), 'fold')}{f'; {lacking[n]}' if n in lacking else ''}"
        for n, g in table.groupby("split", sort=False)
    )

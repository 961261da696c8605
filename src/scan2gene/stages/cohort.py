"""From scans and label tables to the exams, the plan and the split."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd

from scan2gene.cohorts.boxes import write_box_masks
from scan2gene.cohorts.curate import Curated, curate
from scan2gene.cohorts.genomics import NO_LIST, mutation_files
from scan2gene.cohorts.ids import lost_ids
from scan2gene.cohorts.odd_series import odd_series
from scan2gene.cohorts.pseudonymised import curate_pseudonymised
from scan2gene.cohorts.roles import contested
from scan2gene.cohorts.split import class_table, make_splits, one_class_parts
from scan2gene.core.console import say
from scan2gene.core.errors import RunError
from scan2gene.core.files import file_hash, value_hash, write_text
from scan2gene.core.leakage import LEAKY, stamped
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.study import Study, input_roles, is_leaky
from scan2gene.core.study_cohort import label_files
from scan2gene.core.study_file import study_text
from scan2gene.core.text import counted
from scan2gene.evaluate.power_tables import power_table
from scan2gene.imaging.index import copied_series, fingerprint, index
from scan2gene.imaging.rows import SERIES_COLUMNS
from scan2gene.plan.choices import choose, left_open, with_choices
from scan2gene.privacy.pseudonyms import Pseudonymiser, shown_study
from scan2gene.stages.job import Job, ToDo, stage_key
from scan2gene.tasks.outputs import one_vs_rest, question_names

_REASONS = 3  # of rejected series that are shown, the most frequent ones; series.csv has them all


def index_scans(job: Job) -> str:
    """Write series.csv; what a terminal shows of it."""
    scans = job.study.cohort.scans
    if not scans:
        if job.pseudonymiser:
            job.pseudonymiser.read_no_index(SERIES_COLUMNS)
        if not job.out.series.exists():
            job.out.series.write(pd.DataFrame(columns=list(SERIES_COLUMNS)))
        return "no scans; the study learns from tables"
    key = stage_key("index", files=value_hash(fingerprint(scans)))
    table = None
    if job.pseudonymiser:
        if job.dry and not job.pseudonymiser.index_path(key).exists():
            raise ToDo
        unfinished = job.pseudonymiser.key.with_suffix(".progress")
        job.pseudonymiser.read_index(key, lambda: index(scans, unfinished))
        table = job.pseudonymiser.series()
        key = stage_key("index", key=key, shown=value_hash(table.to_csv(index=False)))
    if not job.is_done("index", key):
        job.out.series.write(index(scans, job.out.unfinished_index.path) if table is None else table)
        job.done("index", key, [job.out.series])
    table = job.out.series.read()
    status, copies = table["status"].value_counts(), copied_series(table)
    twice = f"; {copies} found in more than one place, counted once (n_copies)" if copies else ""
    reasons = table.loc[table["status"] != "ok", "reason"].value_counts().head(_REASONS)
    why = f" ({'; '.join(f'{n} x {reason}' for reason, n in reasons.items())})" if len(reasons) else ""
    return f"{status.sum()} series: {status.get('ok', 0)} ok, {status.get('rejected', 0)} rejected{why}{twice}"


def curate_cohort(job: Job) -> str:
    """Write cohort.csv, labels.csv, exclusions.csv, roles.csv and flow.json."""
    rules = job.study.cohort
    named = [*label_files(rules), rules.exclude_file, rules.sequenced]
    named += [role.boxes for role in rules.roles.values()]
    sources = [*(Path(p) for p in named if p and Path(p).is_file()), *mutation_files(rules)]
    key = stage_key(
        "curate",
        series=job.out.series.hash(),
        # with pseudonyms, series.csv does not show all that is curated
        scans=(job.out.stamp("index") or {}).get("key") if job.pseudonymiser else None,
        tables=[file_hash(p) for p in sources],
        cohort=rules.model_dump(mode="json"),
        targets={n: t.model_dump(mode="json") for n, t in job.study.targets.items()},
        **_own_features(job.study),
        masks=(job.out.stamp("index") or {}).get("key") if rules.min_lesion else None,
    )
    if not job.is_done("curate", key):
        curated = (
            curate_pseudonymised(job.pseudonymiser) if job.pseudonymiser else curate(job.study, job.out.series.read())
        )
        if any(role.boxes for role in rules.roles.values()):
            curated = _with_boxes(job, curated)
        job.out.cohort.write(curated.cohort)
        job.out.labels.write(curated.labels)
        job.out.exclusions.write(curated.exclusions)
        job.out.roles.write(curated.roles)
        job.out.flow.write(curated.flow)
        files = [job.out.cohort, job.out.labels, job.out.exclusions, job.out.roles, job.out.flow]
        files += [job.out.boxes] if job.out.boxes.exists() else []
        job.done("curate", key, files)
    cohort, labels = job.out.cohort.read(), job.out.labels.read()
    counts = _class_counts(labels, job.study)
    excluded = job.out.exclusions.read().fillna("")
    for line in [] if job.dry else [*odd_series(cohort, job.out.series.read()), *lost_ids(excluded)]:
        say("", f"  warning: {line}")
    people = f"{cohort['patient_id'].nunique()} patients, {len(cohort)} exams"
    guess = f"; {NO_LIST}" if rules.mutations and not (rules.sequenced or rules.sequenced_column) else ""
    warnings = "".join(f"\n{'':<11}warning: {text}" for text in contested(job.out.roles.read()))
    return f"{people}; {counts}; {len(excluded)} rows in exclusions.csv{guess}{warnings}"


def _with_boxes(job: Job, curated: Curated) -> Curated:
    """The cohort with masks written of its tables of boxes."""
    folder = job.out.box_masks.path
    shutil.rmtree(folder, ignore_errors=True)  # of other tables
    folder.mkdir(parents=True)
    series = job.out.series.read().set_index("series_id")["path"].to_dict()
    cohort, masks, excluded = write_box_masks(curated.cohort, job.study.cohort, series, folder)
    job.out.boxes.write(masks)
    return replace(curated, cohort=cohort, exclusions=pd.concat([curated.exclusions, excluded], ignore_index=True))


def _own_features(study: Study) -> dict[str, list[str]]:
    """Hashes of the tables that say who is there, in a study without scans."""
    tables = [Path(block.table) for block in study.features.values() if block.table]
    return {} if study.cohort.scans else {"features": [file_hash(path) for path in tables if path.is_file()]}


def _class_counts(labels: pd.DataFrame, study: Study) -> str:
    """How many patients, or sides, each class of every target has."""
    two, several = [], []
    for name, own in labels.groupby("target")["label"]:
        n, classes = own.value_counts(), study.targets[str(name)].classes
        if classes:
            several.append(f"{name}: " + ", ".join(f"{n.get(label, 0)} {label}" for label in classes))
        else:
            two.append(f"{name} {n.get('positive', 0)}/{n.get('negative', 0)}")
    return "; ".join(["positive/negative " + ", ".join(two)] * bool(two) + several)


def record_study(study: Study, out: RunDirectory, pseudonymiser: Pseudonymiser | None) -> None:
    """Keep the study as it runs: study.json to read, and study.yaml to run again where nothing must be hidden."""
    shown = shown_study(study, pseudonymiser).model_dump(mode="json")
    if out.study_json.read({}) == shown:
        return
    out.study_json.write(shown)
    if pseudonymiser is None:  # with pseudonyms the paths are not shown, and this would not run
        write_text(out.study_yaml.path, study_text(Study.model_validate(shown)))


def as_planned(study: Study, out: RunDirectory) -> Study:
    """The study with what an earlier plan chose; the plan stage sees to it that this still holds."""
    return with_choices(study, out.plan.read()["chosen"]) if out.plan.exists() else study


def _development(job: Job) -> pd.DataFrame:
    """Rows of cohort.csv that a plan may look at: those of external sites must not choose a grid."""
    cohort = job.out.cohort.read()
    outside = cohort["site"].isin({site for split in job.study.splits for site in split.external})
    return cohort if outside.all() else cohort[~outside].reset_index(drop=True)


def plan_study(job: Job) -> str:
    """Choose what the study leaves open, once, and go on with the study as it is then."""
    study = job.study
    key = stage_key(
        "plan", open=left_open(study), cohort=job.out.cohort.hash(), labels=job.out.labels.hash(),
        roles={n: r.model_dump(mode="json") for n, r in study.cohort.roles.items()}, inputs=input_roles(study),
        preprocess=[s.model_dump() for s in study.preprocess],
        # what training is planned by, where runs are
        networks=[] if study.runs else [study.seed, sorted(study.train.model_fields_set), study.data.batch_size,
                                        study.train.accumulate, [s.model_dump() for s in study.splits]],
    )  # fmt: skip
    if not job.is_done("plan", key):
        labels = job.out.labels.read()
        job.out.plan.write(choose(study, _development(job), labels, job.paths(), job.pseudonymiser or str))
        job.done("plan", key, [job.out.plan])
    planned = job.out.plan.read()
    job.study = with_choices(study, planned["chosen"])
    if job.pseudonymiser:
        job.pseudonymiser.study = job.study
    if not job.dry:
        record_study(job.study, job.out, job.pseudonymiser)
    return f"chosen from the cohort: {', '.join(planned['chosen'])}" if planned["chosen"] else "the study sets all"


def split_patients(job: Job) -> str:
    """Write split.csv once, and what each part holds; a split is never changed silently."""
    key = stage_key(
        "split",
        seed=job.study.seed,
        splits=[s.model_dump(mode="json") for s in job.study.splits],
        cohort=job.out.cohort.hash(),
        labels=job.out.labels.hash(),
    )
    path, stamp = job.out.split.path, job.out.stamp("split")
    if stamp and path.exists() and job.out.damaged(stamp):
        raise RunError(f"{path} is not as it was written. Restore it, or delete it to split anew.")
    if stamp and path.exists() and stamp["key"] != key:
        raise RunError(
            f"{path} was made for another cohort, seed, list of splits or by another version, and a split is never "
            "changed silently. Give another run directory with -o, or delete split.csv to split anew."
        )
    if not job.is_done("split", key):
        cohort, labels = job.out.cohort.read(), job.out.labels.read()
        questions = one_vs_rest(labels, job.study.targets)
        job.out.split.write(stamped(make_splits(cohort, questions, job.study.splits, job.study.seed), job.study))
        if is_leaky(job.study):
            write_text(job.out.leaky.path, LEAKY + "\n")
        job.done("split", key, [job.out.split, *([job.out.leaky] if is_leaky(job.study) else [])])
    table = job.out.split.read()
    told = stage_key("split_table", split=job.out.split.hash(), labels=job.out.labels.hash())
    if not job.is_done("split_table", told):  # its own stamp: counts can be made again, the split cannot
        targets, labels = job.study.targets, job.out.labels.read()
        made = class_table(table, labels, list(targets), {name: list(t.classes) for name, t in targets.items()})
        job.out.split_table.write(stamped(made, job.study))
        job.out.power.write(stamped(study_power(job.study, table, labels), job.study))
        job.out.mark_done("split_table", told, [job.out.split_table, job.out.power])
    lacking = one_class_parts(job.out.split_table.read())
    return ", ".join(
        f"{n}: {counted(len(g.groupby(['repeat', 'fold'])), 'fold')}{f'; {lacking[n]}' if n in lacking else ''}"
        for n, g in table.groupby("split", sort=False)
    )


def study_power(study: Study, split: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """What the test patients can show of every target, and of each of several classes against the others.

    Args:
        study: Whose targets they are.
        split: split.csv.
        labels: labels.csv.

    Returns:
        As of `power_table`.
    """
    questions = question_names(study.targets)
    return power_table(class_table(split, one_vs_rest(labels, study.targets), questions), questions)

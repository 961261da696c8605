"""Sentences about patients, labels, exclusions and the preparation of images."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from scan2gene.core.rundir import StoreDirectory
from scan2gene.core.study import SIDES, is_sided
from scan2gene.core.text import counted, listed
from scan2gene.report import step_words
from scan2gene.report.inputs import Inputs
from scan2gene.report.statements import Statement
from scan2gene.tasks.outputs import patient_classes, question, target_of
from scan2gene.tasks.run_config import resolve, resolved

MIN_NAMED_PATIENTS = 2  # with one value, below which it is not written: it may tell who that is


def cohort(inputs: Inputs) -> Iterator[Statement]:
    """Who is in the study, from where, scanned by what, and which of their exams count."""
    patients, exams = inputs.cohort["patient_id"].nunique(), len(inputs.cohort)
    kept = f"{counted(exams, 'exam')} of {counted(patients, 'patient')} were included"
    found = f"{inputs.flow[0]['kept']:,} {inputs.flow[0]['unit']} were found, and " if inputs.flow else ""
    yield Statement("cohort", f"{found}{kept}.", "flow.json; cohort.csv")
    sites = inputs.cohort["site"].dropna().nunique()
    if sites:
        yield Statement("sites", f"The patients came from {counted(sites, 'site')}.", "cohort.csv, column site")
    yield from _scanners(inputs)
    yield from _exams(inputs)
    configs = [config for config in resolved(inputs.study) if config.name in inputs.stores]
    roles = list(dict.fromkeys(role for config in configs for role in config.roles))
    if roles:
        rare = [r for r in roles if inputs.study.cohort.roles[r].optional]
        absent = f"; an exam without {listed(rare, 'or')} was kept, and its channel left empty" if rare else ""
        yield Statement(
            "roles",
            f"The networks saw the series {listed(roles)} of each exam{absent}.",
            "study.yaml, data.roles, cohort.roles",
        )


def _scanners(inputs: Inputs) -> Iterator[Statement]:
    series = inputs.used_series()
    makers = _common(series, "Manufacturer", inputs)
    fields = _common(series, "MagneticFieldStrength", inputs)
    told = [f"on systems of {listed(makers)}"] if makers else []
    told += [f"at {listed(fields)} T"] if fields else []
    if told:
        yield Statement(
            "scanners",
            f"The scans were made {' '.join(told)}, as the headers have it.",
            "series.csv, columns Manufacturer, MagneticFieldStrength",
        )
    years = (series["StudyDate"] if "StudyDate" in series else pd.Series(dtype=str)).dropna().str[:4]
    years = years[years.str.fullmatch(r"(19|20)\d\d")]
    if len(years):
        first, last = years.min(), years.max()
        span = f"in {first}" if first == last else f"from {first} to {last}"
        yield Statement(
            "years",
            f"By their headers, which archives may shift, the scans date {span}.",
            "series.csv, column StudyDate",
        )


def _common(series: pd.DataFrame, column: str, inputs: Inputs) -> list[str]:
    """Values that several patients share, most frequent first, and how many others there are."""
    if column not in series or series[column].isna().all():
        return []
    numbers = pd.to_numeric(series[column], errors="coerce")
    text = numbers.map("{:g}".format).where(numbers.notna(), series[column])
    patients = series["patient_id"].groupby(text).nunique().sort_values(ascending=False, kind="stable")
    named = [inputs.hide(str(value)) for value in patients.index[patients >= MIN_NAMED_PATIENTS]]
    others = len(patients) - len(named)
    return [*named, counted(others, "other")] if others and named else named


def _exams(inputs: Inputs) -> Iterator[Statement]:
    rules = inputs.study.cohort
    if rules.dates and rules.dates.window_days:
        low, high = rules.dates.window_days
        yield Statement(
            "eligibility",
            f"Exams counted from {low:g} to {high:g} days relative to the reference date.",
            "study.yaml, cohort.dates.window_days",
        )
    if rules.dates and rules.dates.treatment_column:
        yield Statement(
            "treatment",
            "Exams on a later day than the treatment date were left out.",
            "study.yaml, cohort.dates.treatment_column",
        )
    if rules.exams != "all":
        which = "first" if rules.exams == "first" else "exam nearest to the reference date"
        yield Statement("eligibility", f"Of a patient's exams the {which} was taken.", "study.yaml, cohort.exams")
    if rules.min_lesion:
        yield Statement(
            "eligibility",
            f"Exams whose lesion in {rules.min_lesion.role} was smaller than "
            f"{rules.min_lesion.volume_mm3:g} mm³ were left out.",
            "study.yaml, cohort.min_lesion",
        )
    if rules.pseudonyms:
        yield Statement(
            "deidentification",
            "Ids were replaced by pseudonyms, and dates cut to the year, before anything was kept.",
            "study.yaml, cohort.pseudonyms",
        )


def exclusions(inputs: Inputs) -> Iterator[Statement]:
    """How many left at each step; the reasons stand in the flow diagram."""
    gone = [(sum(step["left_out"].values()), step["step"]) for step in inputs.flow]
    told = [f"{n:,} at the step “{name}”" for n, name in gone if n]
    if told:
        yield Statement("exclusions", f"Left out were {listed(told)}.", "flow.json; exclusions.csv")


def labels(inputs: Inputs) -> Iterator[Statement]:
    """Where each target is read from, and how many patients have which class."""
    wide = inputs.wide_labels()
    for name, target in inputs.study.targets.items():
        if target.classes:
            counts = {label: int((wide[question(name, label)] == 1).sum()) for label in target.classes}
        else:
            counts = {word: int((wide[name] == v).sum()) for word, v in (("positive", 1), ("negative", 0))}
        unknown = int(wide[question(name, next(iter(target.classes))) if target.classes else name].isna().sum())
        if target.genes:
            genes, column = f"a mutation in {listed(target.genes, 'or')}", "genes"
            if target.hotspots:
                genes += f" ({listed(target.hotspots, 'or')})"
            where = f"was positive where sequencing showed {genes}"
        elif is_sided(inputs.study, name):
            column, where = "left, right", "was read from the label table for each side"
        else:
            column, where = (
                "column",
                f"was read from the column “{inputs.hide(target.column or name)}” of the label table",
            )
        patients = f"{', '.join(f'{n:,} {word}' for word, n in counts.items())} and {unknown:,} unknown patients"
        yield Statement(
            "labels",
            f"The target {name} {where}, which gave {patients}.",
            f"labels.csv; study.yaml, targets.{name}.{column}",
        )
        if is_sided(inputs.study, name) and not target.classes:
            sides = inputs.labels[(inputs.labels["target"] == name) & inputs.labels["side"].isin(SIDES)]
            yield Statement(
                "labels",
                f"{counted(len(sides), 'side')} had a label of {name}, {int((sides['value'] == 1).sum()):,} "
                "of them positive; a patient is positive where any side is.",
                "labels.csv",
            )


def preparation(inputs: Inputs) -> Iterator[Statement]:
    """Each different chain of steps, with the options that it ran with, and what failed."""
    runs = {run.name: run for run in inputs.study.runs}
    by_folder: dict[str, list[str]] = {}
    for name, folder in inputs.stores.items():
        by_folder.setdefault(folder.name, []).append(name)
    for names in by_folder.values():
        steps = resolve(inputs.study, runs[names[0]]).recipe
        of = "" if len(by_folder) == 1 else f" for {listed(names)}"
        done = listed([step_words.told(step) for step in steps]) or "stored as they were read"
        yield Statement(
            "preprocessing",
            f"Volumes{of} were, in this order, {done}.",
            "study.yaml, preprocess",
            step_words.cited(steps),
        )
        manifest = StoreDirectory(inputs.stores[names[0]]).manifest.read()
        lost = int((manifest["status"] != "ok").sum())
        yield Statement(
            "prepared",
            f"{len(manifest) - lost:,} of {counted(len(manifest), 'volume')}{of} were prepared; {lost:,} failed.",
            "store/*/manifest.csv",
        )
    if by_folder:
        yield (
            Statement(
                "one exam",
                "Each step saw one exam only, so nothing was estimated across patients.",
                "by design of the steps",
            )
            if not _given(inputs)
            else Statement(
                "one exam",
                "Each step saw one exam only; the standard scale was given by the study file.",
                "study.yaml, preprocess",
            )
        )


def _given(inputs: Inputs) -> bool:
    configs = [config for config in resolved(inputs.study) if config.name in inputs.stores]
    return any(step.name == "nyul" for config in configs for step in config.recipe)


def missing(inputs: Inputs) -> Iterator[Statement]:
    """What was done about what is not known."""
    wide = patient_classes(inputs.labels).reindex(inputs.cohort["patient_id"].unique())
    unknown = {t: int(wide[t].isna().sum()) if t in wide else len(wide) for t in inputs.questions}
    unknown = {target_of(t): n for t, n in unknown.items()}
    if any(unknown.values()):
        told = listed([f"{n:,} for {t}" for t, n in unknown.items()])
        yield Statement(
            "missing", f"Unknown labels ({told}) carried no loss and entered no figure; none was imputed.", "labels.csv"
        )
    for run in inputs.study.runs:
        columns = run.model.options.get("columns", ()) if run.model.name == "clinical" else ()
        gaps = {
            c: int(inputs.cohort[f"clinical:{c}"].isna().sum()) for c in columns if f"clinical:{c}" in inputs.cohort
        }
        if any(gaps.values()):
            told = listed([f"{n:,} of {c}" for c, n in gaps.items() if n])
            yield Statement(
                "missing",
                f"In {run.name}, missing values ({told}) were replaced by the median of the training part.",
                "cohort.csv",
            )
    configs = [config for config in resolved(inputs.study) if config.name in inputs.stores]
    for role in dict.fromkeys(role for config in configs for role in config.roles):
        lacking = int(inputs.cohort[f"role:{role}"].isna().sum())
        if lacking:
            yield Statement(
                "missing",
                f"{counted(lacking, 'exam')} lacked {role}; that channel was empty and marked absent.",
                "cohort.csv",
            )

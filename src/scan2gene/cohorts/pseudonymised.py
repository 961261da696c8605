"""Curation of a study with pseudonyms: done on true values, shown without any."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from scan2gene.cohorts.curate import Curated, curate
from scan2gene.cohorts.feature_table import read_feature_table
from scan2gene.cohorts.flow import Flow
from scan2gene.cohorts.genomics import mutation_ids, named_files
from scan2gene.cohorts.ids import label_patients
from scan2gene.cohorts.label_table import read_labels
from scan2gene.core.study import Study
from scan2gene.core.tables import write_csv
from scan2gene.core.text_table import read_text_table
from scan2gene.privacy.pseudonyms import PREFIXES, PRIVATE, Pseudonymiser, each_text

LABEL_SOURCE = "label table"  # file and line would lead back to the patient


def curate_pseudonymised(names: Pseudonymiser) -> Curated:
    """Curate on true values; what comes back has none.

    Raises:
        CohortError: As `curate`.
    """
    rules = names.study.cohort
    listed = read_labels(rules)
    names.learn("patient_id", named_files(rules))
    names.learn("patient_id", mutation_ids(rules))
    names.learn("patient_id", listed[rules.patient_column])  # as the table writes them, and as the study reads them
    names.learn("patient_id", label_patients(listed, rules, Flow())[rules.patient_column])
    for name, block in names.study.features.items():
        if block.table:
            names.learn("patient_id", read_feature_table(block, name, (), rules.decimal).index)
    with _true_exclude_file(names) as study:
        found = curate(study, names.truth().drop(columns=list(PRIVATE)))
    cohort, out = found.cohort.copy(), found.exclusions.copy()
    names.learn("exam_id", {*cohort["exam_id"], *out["exam_id"]})
    names.learn_strangers(out["patient_id"])
    cohort["date"] = cohort["date"].map(lambda date: date[:4] if isinstance(date, str) else None)
    for column in ("patient_id", "exam_id", *[c for c in cohort.columns if c.startswith("role:")]):
        cohort[column] = names.shown(cohort[column], "series_id" if column.startswith("role:") else column)
    for column in PREFIXES:
        out[column] = names.shown(out[column], column)
    out["reason"] = each_text(out["reason"], names.scrub)
    steps = {name: place for place, name in enumerate(out["stage"].unique())}
    out = out.sort_values(["stage", *PREFIXES], key=lambda c: c.map(steps) if c.name == "stage" else c)
    roles = found.roles.assign(reason=each_text(found.roles["reason"], names.scrub))
    for column in PREFIXES:
        roles[column] = names.shown(roles[column], column)
    labels = found.labels.assign(source=LABEL_SOURCE)
    labels["patient_id"] = names.shown(labels["patient_id"], "patient_id")
    return replace(
        found,
        cohort=cohort.sort_values(["patient_id", "exam_id"], ignore_index=True),
        labels=labels.sort_values("patient_id", kind="stable", ignore_index=True),
        exclusions=out.reset_index(drop=True),
        roles=roles.sort_values(["patient_id", "exam_id", "role", "series_id"], ignore_index=True),
        flow=[step | {"left_out": _counts(names, step["left_out"])} for step in found.flow],
    )


def _counts(names: Pseudonymiser, counts: dict[str, int]) -> dict[str, int]:
    cleaned: dict[str, int] = {}
    for reason, count in counts.items():
        cleaned[names.scrub(reason)] = cleaned.get(names.scrub(reason), 0) + count
    return cleaned


@contextlib.contextmanager
def _true_exclude_file(names: Pseudonymiser) -> Iterator[Study]:
    """The study with an exclude file of true ids: pseudonyms, such as the qc page gives, are translated."""
    rules = names.study.cohort
    if rules.exclude_file is None or not Path(rules.exclude_file).is_file():
        yield names.study
        return
    true = {shown: true for ids in names.ids.values() for true, shown in ids.items()}
    table = read_text_table(Path(rules.exclude_file))
    table = table.apply(lambda cells: cells.str.strip().map(lambda cell: true.get(cell, cell)))
    with tempfile.TemporaryDirectory(dir=names.key.parent, prefix=".") as folder:  # readable by its owner only
        path = Path(folder) / Path(rules.exclude_file).name
        write_csv(path, table)
        yield names.study.model_copy(update={"cohort": rules.model_copy(update={"exclude_file": str(path)})})

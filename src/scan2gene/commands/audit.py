"""`scan2gene audit`: what a finished run's audit found, or what can be told of anybody's split or score table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from scan2gene.core.characters import plain_text
from scan2gene.core.errors import RunError, Scan2GeneError, ScanError
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.tables import EXTERNAL, PARTS, table_as_meant
from scan2gene.core.text import listed
from scan2gene.evaluate.leakage import FOLD, Check, Parts, one_person, patients_apart, shared_files, twin_images
from scan2gene.evaluate.score_table import UNKNOWN
from scan2gene.tasks.outputs import displayed

MARKS = {"clean": "ok", "found": "LEAK", "unknown": "not told"}
IMAGE_COLUMNS = ("path", "file", "image", "filename")
_NAMES = {"training": "train", "val": "validation", "valid": "validation", "dev": "validation", "testing": "test",
          "holdout": "test"}  # fmt: skip
_IDENTITY = ("exam_id", "study", "series", "uid", "sha", "md5", "hash", "checksum", *IMAGE_COLUMNS)


def audit(source: Path) -> list[str]:
    """The findings in plain words, a line each.

    Args:
        source: A finished run directory, or a CSV with patient_id and part or fold; columns that
            name a study, a series, a file or a checksum are compared, and images behind a column
            `path`, `file`, `image` or `filename` too.

    Raises:
        RunError: There is no audit yet, or the table lacks a column.
    """
    return list(_of_run(source) if source.is_dir() else _of_table(source))


def is_leak(line: str) -> bool:
    """Whether a line of `audit` says that a leak was found."""
    return line.lstrip().startswith(MARKS["found"])


def _of_run(folder: Path) -> Iterator[str]:
    run = RunDirectory(folder)
    run.check_format()
    if not run.audit.exists():
        raise RunError(f"{folder} was not audited yet. First: scan2gene run STUDY -o {folder}")
    found = run.audit.read()
    for verdict in run.verdicts.read():
        yield f"{displayed(verdict['target'])}: {verdict['headline']}."
        yield from (f"    {sentence}" for sentence in verdict["sentences"])
    yield "Leakage"
    for check in found["leakage"]:
        yield f"  {MARKS[check['status']]:<10}{check['check']}: {check['told']}"
    yield "Shortcuts"
    for figure in found["shortcuts"]:
        if figure["told"]:
            target = f", {displayed(figure['target'])}" if figure["target"] else ""
            yield f"  {figure['split']}{target}: {figure['told']}"
    yield f"Every case: {run.leakage.path}; every figure: {run.shortcuts.path}"


def _of_table(path: Path) -> Iterator[str]:
    for check in table_checks(path):
        yield f"{MARKS[check.status]:<10}{check.name}: {check.told}"
        for case in check.cases[:20]:
            where = f"fold {case.get('fold')}, " if "fold" in case else ""
            both = listed(f"{case[who]} ({case[f'part_{who}']})" for who in ("one", "two"))
            yield f"            {where}{both}: {case['what']}"
    yield "Augmentation, statistics, thresholds and early stopping leave no trace in such a table."


def table_checks(path: Path) -> list[Check]:
    """Leakage checks of a table that says who stands in which part.

    Args:
        path: CSV. See `audit`.

    Raises:
        RunError: It cannot be read, or says no parts.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        table = table_as_meant(table.apply(lambda cells: cells.map(plain_text)))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read as CSV: {error}") from error
    split = split_of(table, path.name)
    parts = Parts(split)
    known = table.where(~table.apply(lambda cells: cells.str.lower().isin(UNKNOWN)), "")
    columns = [c for c in table.columns if c != "patient_id" and any(word in c.lower() for word in _IDENTITY)]
    image = next((c for c in table.columns if c.lower() in IMAGE_COLUMNS), None)
    return [
        patients_apart(split),
        shared_files(known[["patient_id", *columns]], parts),
        _images(known, image, path.parent, parts),
        one_person(table["patient_id"], parts),
    ]


def split_of(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """split, repeat, fold, patient_id and part of a foreign table.

    With `fold` and without `part`, a row's fold is the one in which it is tested.

    Raises:
        RunError: A column is missing, or a part has an unknown name.
    """
    if "patient_id" not in table or not {"part", "fold"} & set(table.columns):
        raise RunError(
            f"{name} needs the column patient_id, and part (train, validation, test) or fold; it has "
            f"{', '.join(table.columns)}."
        )
    split = pd.DataFrame({"patient_id": table["patient_id"]})
    split["split"] = table["split"] if "split" in table and "part" in table else ""
    split["repeat"] = table.get("repeat", "0")
    if "part" in table:
        given = table["part"].str.lower()
        split["part"] = given.replace(_NAMES)
        strange = sorted(set(split["part"]) - {*PARTS, EXTERNAL})
        if strange:
            raise RunError(f"{name}: part {strange[0]!r} is unknown; it must be one of {', '.join([*PARTS, EXTERNAL])}")
        split["fold"] = table.get("fold", "0")
        return split.drop_duplicates()
    folds = sorted(set(table["fold"]))
    every = [split.assign(fold=fold, part=np.where(table["fold"] == fold, "test", "train")) for fold in folds]
    return pd.concat(every, ignore_index=True)[[*FOLD, "patient_id", "part"]].drop_duplicates()


def _images(table: pd.DataFrame, column: str | None, folder: Path, parts: Parts) -> Check:
    """Compare the images that a table names; paths are relative to it."""
    from scan2gene.imaging.index import read_volume
    from scan2gene.imaging.twins import print_of
    from scan2gene.preprocess.prints import pairs_of

    if column is None:
        return twin_images(None, parts, 0, f"the table has none of the columns {', '.join(IMAGE_COLUMNS)}")
    prints, patients, failed = [], [], 0
    for patient, file in table[["patient_id", column]].drop_duplicates().itertuples(index=False, name=None):
        try:
            prints.append(print_of(read_volume(str(folder / file)).array))
            patients.append(patient)
        except (Scan2GeneError, ScanError, OSError):
            failed += 1
    if len(prints) < 2:
        return twin_images(None, parts, 0, f"{failed} of the images that column {column} names cannot be read")
    return twin_images(pairs_of(np.stack(prints), patients).assign(role=column), parts, len(prints))

"""Tables of scores, from any tool: read, checked cell by cell, and made ready to be scored.

A target of several classes has a column `prob:CLASS` for each class and the class's name in `y_true`; or, as our own
prediction table, a row for each class with its name in `label`, and 1 in `y_true` of the true one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scan2gene.core.characters import plain_text
from scan2gene.core.errors import RunError
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.tables import table_as_meant
from scan2gene.core.text import clauses, listed
from scan2gene.stats.resampling import PERSON
from scan2gene.tasks.outputs import question

NEEDED = ("patient_id", "target", "y_true", "prob")
OPTIONAL = ("part", "repeat", "fold", "site", "side", "exam_id")
UNKNOWN = frozenset({"", "na", "nan", "none", "null", "n/a"})
CLASS = "prob:"  # before a class's name: the column of its probability
SIDES = {"": "", "l": "L", "left": "L", "r": "R", "right": "R"}
_SHOWN = 5  # cells that a message names


@dataclass(frozen=True)
class Scores:
    """The scored rows of one file (or one run of a file) and target.

    Args:
        file: What the run is called: the file's name, with #run where a file holds several.
        target: What is predicted.
        table: A row per repeat and patient, or side of one: repeat, fold, site, patient_id, side, y_true, prob,
            where (its line).
        notes: What a reader has to know about them, as sentences.
        whole: The target of several classes, of which this is one class against the rest; empty for two classes.
    """

    file: str
    target: str
    table: pd.DataFrame
    notes: tuple[str, ...] = ()
    whole: str = ""


def read_scores(paths: Sequence[Path]) -> list[Scores]:
    """Read score tables: CSV or parquet, a run's predictions.parquet, or a run directory.

    A CSV has the columns `NEEDED`, perhaps some of `OPTIONAL`; all others are ignored. Where
    there is `part`, rows of the part test count. Exams of a patient (`exam_id`) are averaged.
    A row without y_true, or without prob, is not scored, and said to be not.

    Returns:
        One entry per file, run and target, in the order of files, then of their rows; of a target of several classes
        one for each class against the rest.

    Raises:
        RunError: A column is missing, a cell is wrong, rows contradict each other, or files
            disagree about a patient's label; cells are named as file:line.
    """
    found: list[Scores] = []
    for path, name in zip(paths, _names(paths), strict=True):
        RunDirectory(path).check_format()
        file = _table_of(path)
        for run, table in _runs(name, _read(file, name)):
            found += _scores(run, name, table)
    if not found:
        raise RunError(f"{', '.join(map(str, paths)) or 'no file'}: there is nothing to compare.")
    _check_agreement(found)
    return found


def _table_of(path: Path) -> Path:
    return RunDirectory(path).predictions.path if path.is_dir() else path


def _names(paths: Sequence[Path]) -> list[str]:
    """File names, with as many folders before them as tell them apart, and no more of anyone's machine."""
    whole = [_table_of(p).resolve() for p in paths]
    names = []
    for number, path in enumerate(whole):
        depth = 1
        while depth < len(path.parts) - 1 and any(o != path and o.parts[-depth:] == path.parts[-depth:] for o in whole):
            depth += 1
        name = "/".join(path.parts[-depth:])
        again = whole[:number].count(path)
        names.append(f"{name} ({again + 1})" if again else name)
    return names


def _read(path: Path, name: str) -> pd.DataFrame:
    """Cells as text, stripped, the empty ones ""; the index is the line in the file."""
    if not path.is_file():
        raise RunError(f"{path} does not exist. Give CSV files with the columns {', '.join(NEEDED)}.")
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
            table = table.astype(object).where(table.notna(), "").astype(str)
            table.index += 1  # rows; parquet has no lines
        else:
            with path.open(encoding="utf-8-sig") as stream:
                head = stream.readline()
            table = pd.read_csv(path, sep=max(",;\t", key=head.count), dtype=str, keep_default_na=False,
                                skip_blank_lines=False, encoding="utf-8-sig").fillna("")  # fmt: skip
            if not isinstance(table.index, pd.RangeIndex):
                raise ValueError("rows have more cells than the header")
            table = table_as_meant(table)
            table.index += 2  # the header is line 1
    except (UnicodeDecodeError, ValueError, OSError) as error:  # parser and parquet errors are of these kinds
        why = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        what = "is empty" if path.stat().st_size == 0 else f"cannot be read as a table ({why[0]})"
        raise RunError(f"{name} {what}. It has to be CSV in UTF-8, or parquet.") from error
    table.columns = table.columns.astype(str).map(plain_text)
    classes = [c for c in table if c.startswith(CLASS) and "prob" not in table]
    missing = [c for c in NEEDED if c not in table and not (c == "prob" and classes)]
    if missing:
        raise RunError(
            f"{name} lacks the column{'s' * (len(missing) > 1)} {listed(missing)}; it has "
            f"{listed(table.columns, most=20)}. Needed are {listed(NEEDED)}."
        )
    table = _stripped(table, name)
    return _one_vs_rest(_long(table, classes, name) if classes else table)


def _long(table: pd.DataFrame, columns: list[str], name: str) -> pd.DataFrame:
    """A row for each class in place of a column for each."""
    labels = [c.removeprefix(CLASS) for c in columns]
    unknown = table["y_true"].str.lower().isin(UNKNOWN)
    _refuse(~unknown & ~table["y_true"].isin(labels), table, "y_true", name, "is none of the classes",
            f"Columns {CLASS}CLASS name {listed(labels)}")  # fmt: skip
    some = table[columns].apply(lambda c: c.str.lower().isin(UNKNOWN)).sum(axis=1).between(1, len(columns) - 1)
    _refuse(some, table, columns[0], name, "has no probability of every class", "Fill all of a row, or none")
    tables = [
        table.drop(columns=columns).assign(
            label=label, prob=table[column],
            y_true=(table["y_true"] == label).astype(int).astype(str).where(~unknown, ""),
        )
        for label, column in zip(labels, columns, strict=True)
    ]  # fmt: skip
    return pd.concat(tables)


def _one_vs_rest(table: pd.DataFrame) -> pd.DataFrame:
    """Each class of a target, where a patient has several labels, as a target of its own; `whole` names the target.

    A table with a row for each patient may have a column `label` for anything else, which is ignored.
    """
    if "label" not in table:
        return table
    counts = table[table["label"] != ""].groupby(["target", "patient_id"])["label"].nunique()
    several = table["target"].map(counts.groupby("target").max()) > 1
    names = [question(t, label) for t, label in zip(table["target"], table["label"], strict=True)]
    return table.assign(whole=table["target"].where(several, ""), target=table["target"].where(~several, names))


def _stripped(table: pd.DataFrame, name: str) -> pd.DataFrame:
    table = table.loc[:, ~table.columns.duplicated()].apply(lambda c: c.map(plain_text))
    table = table[(table != "").any(axis=1)]
    if table.empty:
        raise RunError(f"{name} has a header and no rows.")
    return table


def _runs(name: str, table: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """The runs of a prediction table of ours, its exams as they are; any other table is one run."""
    if not {"run_id", "split", "variant"} <= set(table.columns):
        return [(name, table)]
    own = table[table["variant"] == "original"]
    key = ["run_id", "split"] if own["split"].nunique() > 1 else ["run_id"]
    return [(f"{name}#{'/'.join(map(str, run))}", rows) for run, rows in own.groupby(key, sort=False)]


def _scores(run: str, name: str, table: pd.DataFrame) -> list[Scores]:
    if "part" in table:
        tested = table["part"].str.lower() == "test"
        if not tested.any():
            have = ", ".join(sorted({p or "(empty)" for p in table["part"]})[:10])
            raise RunError(f"{name} has a column part, and no row of the part test; it has {have}. Only test rows "
                           "are scored.")  # fmt: skip
        table = table[tested]
    table = _typed(table, name)
    found = []
    for target, rows in table.groupby("target", sort=False):
        _check_labels([(name, rows)])
        notes = _notes(rows)
        scored = rows.dropna(subset=["y_true", "prob"])
        whole = str(rows["whole"].iloc[0])
        found.append(Scores(run, str(target), _per_patient(scored, name), tuple(notes), whole))
    for whole in {s.whole for s in found} - {""}:
        people = [s.table[["repeat", "fold", *PERSON]] for s in found if s.whole == whole]
        if not all(p.equals(people[0]) for p in people):
            raise RunError(f"{name} does not score the same patients for every class of {whole}. Give a row for each.")
    return found


def _typed(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Numbers as numbers, whatever is none refused; absent optional columns empty."""
    out = pd.DataFrame({c: table.get(c, "") for c in (*NEEDED, *OPTIONAL, "whole")}, index=table.index)
    out["where"] = out.index
    for column in ("patient_id", "target"):
        _refuse(out[column] == "", out, column, name, "is empty", "Every row needs one")
    out["side"] = out["side"].str.lower().map(SIDES)
    _refuse(out["side"].isna(), table, "side", name, "is no side", "Sides are L, R, left, right, or empty")
    for column in ("y_true", "prob"):
        unknown = out[column].str.lower().isin(UNKNOWN)
        numbers = pd.to_numeric(out[column].where(~unknown), errors="coerce").astype(float)
        wrong = ~unknown & ~np.isfinite(numbers)
        _refuse(wrong, table, column, name, "is no finite number", "Leave a cell empty where it is not known")
        out[column] = numbers
    wrong = out["y_true"].notna() & ~out["y_true"].isin([0, 1])
    _refuse(wrong, table, "y_true", name, "is neither 0 nor 1", "Write 1 for the positive class, 0 for the other")
    return out


def _refuse(wrong: pd.Series, table: pd.DataFrame, column: str, name: str, what: str, mend: str) -> None:
    if wrong.any():
        cells = (f"{name}:{line} {column}={value}" for line, value in table.loc[wrong, column].items())
        raise RunError(f"{column} {what}: {clauses(cells, _SHOWN)}. {mend}.")


def _notes(rows: pd.DataFrame) -> list[str]:
    notes = []
    units = rows.groupby(PERSON)[["y_true", "prob"]].count()
    unlabelled, unscored = int((units["y_true"] == 0).sum()), int((units["prob"] == 0).sum())
    if unlabelled:
        notes.append(f"{unlabelled} without a known label do not count.")
    if unscored:
        notes.append(f"{unscored} without a score do not count: the figures are of the others only.")
    low, high = rows["prob"].min(), rows["prob"].max()
    if low < 0 or high > 1:
        notes.append(f"Scores from {low:.3g} to {high:.3g} are no probabilities; only their order is used.")
    return notes


def _per_patient(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Exams averaged; whatever else would count a patient twice is refused."""
    seat = ["repeat", "fold", *PERSON]
    twice = rows.duplicated([*seat, "exam_id"], keep=False)
    if twice.any():
        raise RunError(f"{name} has rows that repeat a patient: {_cells(name, rows[twice])}. Delete all but one; "
                       "several exams of a patient need a column exam_id, and are averaged.")  # fmt: skip
    folds = rows.groupby(["repeat", *PERSON])["fold"].transform("nunique") > 1
    if folds.any():
        raise RunError(
            f"{name} tests patients in several folds: {_cells(name, rows[folds])}. Repeated cross-validation needs a "
            "column repeat; or mark rows of other parts in a column part."
        )
    first = {c: (c, "first") for c in ("y_true", "site", "where")}
    table = rows.groupby(seat, sort=True).agg(prob=("prob", "mean"), **first).reset_index()
    times = table.groupby(PERSON)["repeat"].transform("nunique")
    lacking = times < table["repeat"].nunique()
    if lacking.any():
        raise RunError(f"{name} does not test every patient in every repeat: {_cells(name, table[lacking])}.")
    for column in ("repeat", "fold"):
        table[column] = np.unique(table[column].to_numpy(str), return_inverse=True)[1]
    return table


def _check_agreement(found: Sequence[Scores]) -> None:
    for target in dict.fromkeys(s.target for s in found):
        _check_labels([(s.file, s.table) for s in found if s.target == target])


def _check_labels(tables: Sequence[tuple[str, pd.DataFrame]]) -> None:
    """Refuse two labels of one patient, or side, and target."""
    every = pd.concat([t.assign(cell=[f"{n}:{w}" for w in t["where"]]) for n, t in tables]).dropna(subset=["y_true"])
    wrong = every.groupby(PERSON)["y_true"].transform("nunique") > 1
    if wrong.any():
        cells = every[wrong].drop_duplicates([*PERSON, "y_true"]).sort_values(PERSON, kind="stable")
        told = [
            f"patient {r.patient_id}{f' side {r.side}' if r.side else ''} y_true={r.y_true:g} at {r.cell}"
            for r in cells.itertuples()
        ]
        raise RunError(f"labels contradict each other: {clauses(told, 2 * _SHOWN)}. Correct the wrong ones.")


def _cells(name: str, rows: pd.DataFrame) -> str:
    rows = rows.sort_values([*PERSON, "where"], kind="stable")
    return clauses((f"{name}:{r.where} patient {r.patient_id}" for r in rows.itertuples()), _SHOWN)

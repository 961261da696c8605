"""Does a header field, or a word of a description or name, go with the label? Each alone, corrected for their number.

A cohort whose positives and negatives were collected apart often shows it somewhere: in a series description, the
software version, the time of day, a folder name. What the index keeps is looked at, column by column: numbers by rank,
values and words by whether a patient's scan has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from os.path import commonpath

import numpy as np
import pandas as pd

from scan2gene.core.levels import ALPHA
from scan2gene.core.text import clauses, counted, number_text, p_text
from scan2gene.stats.multiple_testing import holm

LISTED = ". Looked at: "
_LEFT_OUT = {
    "series_id",
    "exam_id",
    "patient_id",
    "status",
    "reason",
    "note",
    "sequence_rule",
    "burned_in",
    "birth_date_number",
}
_MIN_WORD_PATIENTS, _SHARE = 3, 0.05  # patients that have, and that lack, a value or word, at least
_VALUES = 12  # of a column: with more, only its order and its words are looked at
_NUMERIC = 0.9  # of a column's entries that are numbers, from which it is one
_WORD = re.compile(r"[A-Za-z]+|\d+")
_NAMES = 6  # by which a column is called that several fields have
_NAMED = 5  # columns named in a sentence
_CHOSEN = 10  # columns that a baseline takes, at most
_CLINICAL = ("PatientAge", "PatientSex")  # of the patient, not of the scan: a clinical baseline has them


@dataclass(frozen=True)
class Headers:
    """Columns of numbers and of 0 and 1, by patient; NaN where unknown.

    Args:
        table: Index patient_id; a column for each number, value and word that differs between patients; what tells the
            same patients apart is one column with several names.
        looked_at: Columns of the index that they come from, those that are the same for all too.
    """

    table: pd.DataFrame
    looked_at: tuple[str, ...]


def header_columns(cohort: pd.DataFrame, series: pd.DataFrame) -> Headers:
    """What the index says of the chosen series of each patient's first exam.

    Args:
        cohort: cohort.csv.
        series: series.csv.
    """
    first = cohort.drop_duplicates("patient_id").set_index("patient_id")
    index = series.drop_duplicates("series_id").set_index("series_id")
    found: dict[bytes, tuple[dict[str, str], np.ndarray]] = {}
    looked_at: dict[str, None] = {}
    for name, of, texts in _texts(first, index):
        looked_at[name] = None
        if texts.nunique() < 2:
            continue
        for what, values in _numbers_values_words(texts):
            if _differs(values):
                names, _ = found.setdefault(_same_split(values), ({}, values))
                names.setdefault(name.partition(" (")[0] + of, what.format(f"{name}{of}"))  # one name for each field
    columns = {" / ".join(list(names.values())[:_NAMES]): values for names, values in found.values()}
    return Headers(pd.DataFrame(columns, index=first.index), tuple(looked_at))


def _same_split(values: np.ndarray) -> bytes:
    """The same for columns that tell the same patients apart: of two values, whichever is called 1."""
    known = values[~np.isnan(values)]
    if len(np.unique(known)) == 2:
        values = np.where(np.isnan(values), np.nan, (values != known[0]).astype(float))
    return values.tobytes()


def _texts(first: pd.DataFrame, index: pd.DataFrame) -> Iterator[tuple[str, str, pd.Series]]:
    """(name, " of role" or nothing, its text for each patient; empty where unknown)."""
    for name in ("site", "date"):
        if name in first:
            yield from _with_calendar(name, "", _as_text(first[name]))
    yield "patient id", "", pd.Series(first.index.astype(str), first.index)
    roles = [c for c in first.columns if c.startswith("role:")]
    for role in roles:
        rows = index.reindex(first[role].to_numpy())
        rows.index = first.index
        of = f" of {role.removeprefix('role:')}" if len(roles) > 1 else ""
        yield "presence", of, first[role].notna().astype(int).astype(str)
        for name in [c for c in rows.columns if c not in _LEFT_OUT]:
            texts = _as_text(rows[name])
            if not texts.any():
                continue
            if name == "path":
                texts = _below_all(texts)
                yield "path depth", of, texts.str.count("[/\\\\]").astype(str)
            if name == "shape":
                sizes = texts.str.split("x", expand=True)
                yield from ((f"size {a}", of, sizes[n].fillna("")) for n, a in zip(sizes, "ijk", strict=False))
                continue
            yield from _with_calendar(name, of, texts)


def _with_calendar(name: str, of: str, texts: pd.Series) -> Iterator[tuple[str, str, pd.Series]]:
    """A column, and of a date its year, month and day of the week too."""
    if not name.lower().endswith("date"):
        yield name, of, texts
    else:
        digits = texts.str.replace(r"\.0$|\D", "", regex=True)
        yield name, of, digits
        yield f"{name} (year)", of, digits.str[:4]
        days = pd.to_datetime(digits.where(digits.str.fullmatch(r"\d{8}"), None), format="%Y%m%d", errors="coerce")
        yield f"{name} (month)", of, _as_text(days.dt.month)
        yield f"{name} (day of the week)", of, _as_text(days.dt.day_of_week)


def _as_text(column: pd.Series) -> pd.Series:
    texts = ["" if empty else str(cell).strip() for cell, empty in zip(column.tolist(), column.isna(), strict=True)]
    return pd.Series(texts, column.index, dtype=str)


def _below_all(paths: pd.Series) -> pd.Series:
    """Paths below the folder that all share, without what names a series inside it."""
    cut = paths.str.partition("#")[0].str.replace("\\", "/", regex=False)
    try:
        shared = commonpath([p.rpartition("/")[0] for p in cut if p])
    except ValueError:  # some absolute, some not
        shared = ""
    return cut.str[len(shared) :]


def _numbers_values_words(texts: pd.Series) -> Iterator[tuple[str, np.ndarray]]:
    """Columns of one text column; "{}" stands for its name."""
    given = (texts != "").to_numpy()
    if not given.any():
        return
    yield "whether {} is given", given.astype(float)
    plain = texts.str.replace(r"^0*(\d+)[YMWD]$", r"\1", regex=True)  # ages such as 045Y
    numbers = pd.to_numeric(plain.where(given, None), errors="coerce").to_numpy(float)
    numeric = np.isfinite(numbers).sum() >= _NUMERIC * given.sum()
    if numeric:
        yield "{}", np.where(np.isfinite(numbers), numbers, np.nan)
    counts = texts[given].value_counts()
    if len(counts) <= _VALUES:
        for value in counts.index:
            yield f"{{}} = '{_plain(value)}'", np.where(given, texts == value, np.nan)
    if not numeric:
        yield from _words(texts, given)


def _words(texts: pd.Series, given: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Words and numbers within a text, and the last number as such."""
    holders: dict[str, list[int]] = {}
    last = np.full(len(texts), np.nan)
    for place, text in enumerate(texts):
        words = [w.lower() for w in _WORD.findall(text)]
        for word in dict.fromkeys(words):
            holders.setdefault(word, []).append(place)
        digits = [w for w in words if w.isdigit()]
        if digits:
            last[place] = float(digits[-1][:15])
    if np.isfinite(last).sum() >= _NUMERIC * given.sum():
        yield "last number in {}", last
    for word, places in holders.items():
        if _enough(len(places), int(given.sum())):
            has = np.where(given, 0.0, np.nan)
            has[places] = 1
            yield f"word '{word}' in {{}}", has


def _plain(value: str) -> str:
    return value.replace("{", "(").replace("}", ")")


def _enough(having: int, known: int) -> bool:
    return min(having, known - having) >= max(_MIN_WORD_PATIENTS, _SHARE * known)


def _differs(values: np.ndarray) -> bool:
    known = values[~np.isnan(values)]
    kinds = np.unique(known)
    if len(kinds) < 2:
        return False
    return len(kinds) > 2 or _enough(int((known == kinds[0]).sum()), len(known))


def associated(columns: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Whether each column goes with the label.

    Args:
        columns: `Headers.table`, or rows of it.
        labels: 0 or 1 by patient.

    Returns:
        Index the columns; n, auroc (of the column's order), p (two-sided: Fisher's exact test, its smaller tail
        doubled, of two values; Mann and Whitney's of more, with the correction for ties), p_holm. Strongest first.
    """
    from scipy.stats import hypergeom

    both = columns.index.intersection(labels.index)
    values, truth = columns.loc[both].to_numpy(float), labels.loc[both].to_numpy(float) == 1
    found = [_ranked(column, truth) for column in values.T]
    table = pd.DataFrame(
        [(n, auroc, p) for n, auroc, p, _ in found], columns=["n", "auroc", "p"], index=columns.columns
    )
    two = [place for place, (*_, cells) in enumerate(found) if cells]
    if two:  # all at once: one call of the law costs as much as a hundred of its values
        high, n, having, positive = np.array([found[place][3] for place in two]).T
        tails = (hypergeom.cdf(high, n, having, positive), hypergeom.sf(high - 1, n, having, positive))
        table.iloc[two, table.columns.get_loc("p")] = np.minimum(1, 2 * np.minimum(*tails))
    table["p_holm"] = holm(list(table["p"]))
    return table.sort_values("p", kind="stable")


def _ranked(values: np.ndarray, truth: np.ndarray) -> tuple[int, float, float, tuple[int, ...]]:
    """n, AUROC, P by ranks; of two values the cells: positives that have the higher, n, all that have it, positives."""
    from scipy.special import ndtr

    known = ~np.isnan(values)
    y = truth[known]
    kinds, place, counts = np.unique(values[known], return_inverse=True, return_counts=True)
    n, positive = len(y), int(y.sum())
    negative = n - positive
    if not positive or not negative or len(kinds) < 2:
        return n, 0.5, 1.0, ()
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # ties at their mean
    excess = float(ranks[y].sum()) - positive * (positive + 1) / 2 - positive * negative / 2
    auroc = 0.5 + excess / (positive * negative)
    if len(kinds) == 2:
        return n, auroc, 1.0, (int(place[y].sum()), n, int(counts[1]), positive)
    ties = float((counts.astype(float) ** 3 - counts).sum()) / (n * (n - 1))
    spread = np.sqrt(positive * negative / 12 * (n + 1 - ties))
    return n, auroc, float(2 * ndtr(-max(abs(excess) - 0.5, 0) / spread)), ()


def chosen(columns: pd.DataFrame, labels: pd.Series) -> list[str]:
    """The columns of the scan that go with the label by `associated`, the strongest ones; for a baseline."""
    of_scan = [c for c in columns if not any(word in c for word in _CLINICAL)]
    if not of_scan:
        return []
    table = associated(columns[of_scan], labels)
    return list(table.index[table["p_holm"] < ALPHA][:_CHOSEN])


def to_pass_on(said: str) -> str:
    """What `told` says without words of paths and ids, dates and times, for a page that is passed on."""
    said = re.sub(r"word '[^']*' in (path|patient id)", r"a word in \1", said)
    return re.sub(r"((?:\w*[Dd]ate|StudyTime|SeriesTime|path|patient id)\b[^=;/]*) = '[^']*'", r"a value of \1", said)


def telling(p: float | None) -> bool:
    """Whether a smallest corrected P value says that something goes with the label."""
    return p is not None and p < ALPHA


def by_patient(labels: pd.DataFrame) -> pd.Series:
    """Label of each patient: of sides, whether any is positive."""
    return labels.dropna(subset=["value"]).groupby("patient_id")["value"].max()


def told(headers: Headers, table: pd.DataFrame, target: str) -> str:
    """What was looked at, and what goes with the label."""
    listed = ", ".join(headers.looked_at)
    if table.empty:
        return f"Headers and names: nothing of what was looked at differs enough between patients{LISTED}{listed}."
    found = table[table["p_holm"] < ALPHA]
    many = f"{len(table)} numbers, values and words"
    if found.empty:
        return f"Headers and names: none of {many} is shown to go with {target} (Holm){LISTED}{listed}."
    strongest = (
        f"{name} (AUROC {number_text(max(r['auroc'], 1 - r['auroc']), 2)}, {counted(int(r['n']), 'patient')}, "
        f"corrected {p_text(r['p_holm'])})"
        for name, r in found.iterrows()
    )
    return (
        f"Headers and names: {len(found)} of {many} go with {target}: {clauses(strongest, _NAMED)}. Look whether "
        f"patients of both classes were chosen, scanned and filed alike{LISTED}{listed}."
    )

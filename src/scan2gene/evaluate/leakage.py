"""Leakage: does anything about a tested patient stand where it was learned from? Tables in, findings out.

Every check ends in one of three ways: nothing found, something found, or not told by what is at
hand. What cannot be checked is said to be so and never counts as clean.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd

from scan2gene.core.text import counted, number_text

Status = Literal["clean", "found", "unknown"]
CASE_COLUMNS = ("check", "split", "repeat", "fold", "one", "part_one", "two", "part_two", "what")
FOLD = ["split", "repeat", "fold"]
LIKENESS = 0.87  # of two volumes; 424 volumes of different patients stay below 0.86, their altered copies above
HIGHEST = 0.92  # level in any cohort: even hippocampi cut out along their masks are less alike between patients
APART = 0.08  # above what either patient has in common with any other; between different patients 0.06 at most
APART_FROM = 0.80  # a pair that stands apart counts from here
CROWDED = 0.2  # share of patients who are as alike to three others from which that is no sign of copies
MIN_COHORT = 10  # patients from which a cohort says what is usual in it
_EVERY_PAIR = 50  # patients with one identity: of more, not every pair is listed
_LARGEST_GROUP = 6  # ids with one stem: more are numbered patients, not visits of one

# What a file or id is called when it is a visit, or an altered copy, of something else.
_VISIT = re.compile(
    r"[ _.-]+(?:(?:visit|ses|session|scan|exam|time ?point|tp|fu|follow ?up|day|week|month|year|y|m|w|d|t|v)[ _-]?\d+d?"
    r"|baseline|pre|post|follow ?up|fu)$|_\d{1,2}$",
    re.IGNORECASE,
)
_ALTERED = re.compile(
    r"[ _.-]+(?:aug(?:mented)?|flip(?:ped)?|h?v?flip|rot(?:ated)?|mirror(?:ed)?|shift(?:ed)?|noise|noisy|elastic|copy|"
    r"dup(?:licate)?|smote|synth(?:etic)?|crop(?:ped)?|zoom)[ _-]?\d*$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Check:
    """What one check found.

    Args:
        name: Of the check.
        status: "clean", "found", or "unknown" where what is at hand does not tell.
        told: One or two sentences, without ids of patients.
        cases: Rows with columns `CASE_COLUMNS`.
    """

    name: str
    status: Status
    told: str
    cases: tuple[dict[str, Any], ...] = ()


class Parts:
    """Where each patient stands in each fold."""

    def __init__(self, split: pd.DataFrame) -> None:
        """Read a split.

        Args:
            split: split, repeat, fold, patient_id, part; a patient may wrongly have several parts.
        """
        self.folds = list(split[FOLD].drop_duplicates().itertuples(index=False, name=None))
        place = {fold: n for n, fold in enumerate(self.folds)}
        number = [place[f] for f in split[FOLD].itertuples(index=False, name=None)]
        self._of: dict[str, dict[int, str]] = defaultdict(dict)
        for patient, fold, part in zip(split["patient_id"], number, split["part"], strict=True):
            self._of[patient][fold] = part

    def apart(self, one: str, two: str) -> dict[str, Any] | None:
        """A fold in which two patients stand in different parts, one of them tested if possible; None without such."""
        ours, theirs = self._of.get(one, {}), self._of.get(two, {})
        found = [n for n in ours if n in theirs and ours[n] != theirs[n]]
        if not found:
            return None
        tested = [n for n in found if {"test", "external"} & {ours[n], theirs[n]}]
        number = (tested or found)[0]
        where = dict(zip(FOLD, self.folds[number], strict=True))
        return {**where, "one": one, "part_one": ours[number], "two": two, "part_two": theirs[number]}

    def partners(self, patients: Sequence[str]) -> list[tuple[str, str]]:
        """Each of many patients with one of them who stands in another part, where there is such a one."""
        found: dict[str, str] = {}
        for number in range(len(self.folds)):
            first: dict[str, str] = {}  # of each part
            for patient in patients:
                if number in self._of.get(patient, {}):
                    first.setdefault(self._of[patient][number], patient)
            for patient in patients if len(first) > 1 else ():
                part = self._of.get(patient, {}).get(number)
                if part is not None and patient not in found:
                    found[patient] = next(other for name, other in first.items() if name != part)
        return sorted({(min(pair), max(pair)) for pair in found.items()})


def patients_apart(split: pd.DataFrame) -> Check:
    """Is a patient in two parts of one fold?"""
    seen = split.drop_duplicates([*FOLD, "patient_id", "part"])
    twice = seen[seen.duplicated([*FOLD, "patient_id"], keep=False)]
    cases = []
    for (split_, repeat, fold, patient), rows in twice.groupby([*FOLD, "patient_id"], sort=False):
        parts = list(rows["part"])
        cases.append(dict(zip(FOLD, (split_, repeat, fold), strict=True)) | {
            "one": patient, "part_one": parts[0], "two": patient, "part_two": parts[1], "what": "patient in both parts",
        })  # fmt: skip
    people = {c["one"] for c in cases}
    return outcome(
        "patients", cases, f"{len(people)} of {split['patient_id'].nunique()} patients stand in two parts of one fold.",
        "No patient stands in two parts of a fold.",
    )  # fmt: skip


def predictions_follow(predictions: pd.DataFrame, split: pd.DataFrame) -> Check:
    """Were exams predicted as the split says: tested by networks that did not learn from them?"""
    rows = predictions.loc[predictions["fold"] >= 0, [*FOLD, "patient_id", "part"]].drop_duplicates()
    joined = rows.merge(split, on=[*FOLD, "patient_id"], how="left", suffixes=("", "_split"))
    wrong = joined[joined["part"] != joined["part_split"]]
    cases = [
        {**{c: r[c] for c in FOLD}, "one": r["patient_id"], "part_one": r["part"], "two": r["patient_id"],
         "part_two": r["part_split"], "what": "predicted as another part than the split's"}
        for r in wrong.to_dict("records")
    ]  # fmt: skip
    return outcome(
        "predictions", cases, f"{len(wrong)} predictions name another part than the split does.",
        "Every prediction stands in the part that the split gives its patient.",
    )  # fmt: skip


def shared_files(used: pd.DataFrame, parts: Parts) -> Check:
    """Do patients in different parts share a study, a series or a file?

    Args:
        used: patient_id and one column for each kind of identity (StudyInstanceUID, series, path, checksum).
        parts: Of the split.
    """
    cases = []
    for column in used.columns.drop("patient_id"):
        known = used[["patient_id", column]].replace("", None).dropna().drop_duplicates()
        for _, rows in known[known.duplicated(column, keep=False)].groupby(column, sort=False):
            cases += _apart(sorted(rows["patient_id"]), parts, f"the same {column}")
    return outcome(
        "studies and files", cases,
        f"{_pairs(cases)} in different parts share a study, a series, a file or stored voxels.",
        "No study, series or file belongs to patients in different parts.",
    )  # fmt: skip


def twin_images(pairs: pd.DataFrame | None, parts: Parts, compared: int, why: str = "") -> Check:
    """Are images of different patients, in different parts, the same picture?

    Args:
        pairs: one, two (patients), role, likeness, flip; None where no image could be compared.
        parts: Of the split.
        compared: Volumes that were compared.
        why: None could be compared.
    """
    name = "images"
    if pairs is None:
        return Check(name, "unknown", f"Images were not compared: {why}.")
    cases = []
    for row in pairs[same_picture(pairs)].sort_values("likeness", ascending=False).to_dict("records"):
        where = parts.apart(row["one"], row["two"])
        kind = "identical" if row["likeness"] > 0.9999 and not row["flip"] else "nearly identical"
        mirrored = f", mirrored along {row['flip']}" if row["flip"] else ""
        if where:
            cases.append(
                where | {"what": f"{row['role']}: {kind} image{mirrored}, likeness {number_text(row['likeness'])}"}
            )
    return outcome(
        name, cases, f"{_pairs(cases)} in different parts have identical or nearly identical images.",
        f"Among {compared} volumes none of a patient is nearly identical with that of a patient in another part.",
    )  # fmt: skip


def same_picture(pairs: pd.DataFrame) -> np.ndarray:
    """Which pairs of patients have the same picture, role by role.

    A pair has it from `level` on, and from `APART_FROM` where it is clearly more alike than either of the two is to
    anybody else: noise, a turn or a crop lowers the likeness of a copy, but not to what is usual between patients.

    Args:
        pairs: one, two (patients), role, likeness; the most alike ones of each patient.

    Returns:
        (len(pairs),) bool.
    """
    found = np.zeros(len(pairs), bool)
    for places in pairs.reset_index(drop=True).groupby("role", sort=False).indices.values():
        own = pairs.iloc[places]
        likeness = own["likeness"].to_numpy(float)
        apart = (likeness >= APART_FROM) & (_above_others(own) >= APART)
        found[places] = apart | (likeness >= level(own[~apart]))
    return found


def level(pairs: pd.DataFrame) -> float:
    """The likeness from which two images of one role are called the same picture.

    `LIKENESS`, or more where the images of a cohort are all alike: four spreads above the middle of what each
    patient has in common with the nearest other. Pairs above `HIGHEST` are copies in any cohort and say nothing of what
    is usual; the spread is that of the tighter half, which neither copies nor unlike images widen.

    Args:
        pairs: As for `same_picture`.
    """
    ends = pd.concat([pairs[[who, "likeness"]].set_axis(["patient", "likeness"], axis=1) for who in ("one", "two")])
    ends = ends.astype({"likeness": float})
    alike = ends[ends["likeness"] >= HIGHEST].groupby("patient").size()
    crowd = set(alike.index[alike >= 3])
    if len(crowd) > max(MIN_COHORT, CROWDED * ends["patient"].nunique()):  # one strong artefact makes many alike
        return _above(ends[ends["patient"].isin(crowd)], HIGHEST, 0.999)
    return _above(ends[ends["likeness"] < HIGHEST], LIKENESS, HIGHEST)


def _above(ends: pd.DataFrame, lowest: float, highest: float) -> float:
    """Four spreads above the middle of each patient's nearest likeness, within limits; the lowest for few patients."""
    nearest = ends.groupby("patient")["likeness"].max().to_numpy()
    if len(nearest) < MIN_COHORT:
        return lowest
    lower, middle, upper = np.quantile(nearest, [0.25, 0.5, 0.75])
    spread = min(middle - lower, upper - middle) / 0.6745  # quartiles of a normal law
    return float(np.clip(middle + 4 * spread, lowest, highest))


def _above_others(pairs: pd.DataFrame) -> np.ndarray:
    """How much more alike each pair is than any other pair of either of its patients; 0 among a few patients."""
    likeness = pairs["likeness"].to_numpy(float)
    _, ends = np.unique(pairs[["one", "two"]].to_numpy(str), return_inverse=True)
    ends = ends.reshape(-1, 2)
    if ends.max(initial=0) + 1 < MIN_COHORT:
        return np.zeros(len(pairs))
    order = np.argsort(-np.repeat(likeness, 2), kind="stable")
    best = pd.DataFrame({"patient": ends.ravel()[order], "likeness": np.repeat(likeness, 2)[order]})
    first, second = (best.groupby("patient")["likeness"].nth(n) for n in (0, 1))
    tops = np.zeros((2, ends.max() + 1))
    for row, values in zip(tops, (first, second), strict=True):
        row[best.loc[values.index, "patient"]] = values
    others = np.where(likeness[:, None] >= tops[0][ends], tops[1][ends], tops[0][ends])
    return likeness - others.max(axis=1)


def one_person(patients: Iterable[str], parts: Parts) -> Check:
    """Do ids in different parts look like visits of one person, or altered copies of one exam?"""
    groups: dict[str, list[str]] = defaultdict(list)
    everyone = sorted(set(patients))
    for patient in everyone:
        groups[stem(patient)].append(patient)
    cases = []
    for members in groups.values():
        if 1 < len(members) <= _LARGEST_GROUP:
            copies = any(_ALTERED.search(m) for m in members)
            cases += _apart(members, parts, "ids of an altered copy" if copies else "ids of two visits")
    return outcome(
        "visits and copies", cases,
        f"{_pairs(cases)} in different parts have ids that look like visits of one person, or altered copies of one "
        "exam. If they are, give them one patient id.",
        "No two ids in different parts look like visits of one person or copies of one exam.",
    )  # fmt: skip


def stem(patient: str) -> str:
    """An id without what marks a visit or an altered copy; the id itself where its rest holds no number."""
    rest = patient
    for _ in range(2):
        shorter = _ALTERED.sub("", rest)
        rest = shorter if shorter else rest
    without = _VISIT.sub("", rest)
    return without if re.search(r"\d", without) else rest


def copies_before_split(manifest: pd.DataFrame | None) -> Check:
    """Does the store hold one volume for each exam and role, so that nothing was augmented before the split?"""
    name = "augmentation"
    if manifest is None:
        return Check(name, "unknown", "Nothing was prepared, so there is no store to look at.")
    ready = manifest[manifest["status"] == "ok"]
    twice = ready[ready.duplicated(["exam_id", "role"], keep=False)]
    strange = ready[[bool(_ALTERED.search(re.sub(r"\.nii(\.gz)?$", "", str(f)))) for f in ready["file"]]]
    cases = [
        {"one": r["patient_id"], "two": r["patient_id"], "what": f"several stored volumes of role {r['role']}"}
        for r in pd.concat([twice, strange]).drop_duplicates(["exam_id", "role"]).to_dict("records")
    ]
    return outcome(
        name, cases, f"{len(cases)} exams have several stored volumes of one role, as if augmented before the split.",
        "The store holds one volume for each exam and role; augmentation changes training batches only.",
    )  # fmt: skip


def _apart(patients: Sequence[str], parts: Parts, what: str) -> list[dict[str, Any]]:
    """Pairs of patients in different parts; of very many, one pair for each."""
    many = len(patients) > _EVERY_PAIR
    pairs = parts.partners(patients) if many else list(combinations(patients, 2))
    shared = f"{what}, which {len(patients)} patients share" if many else what
    found = [parts.apart(one, two) for one, two in pairs]
    return [where | {"what": shared} for where in found if where]


def _pairs(cases: Sequence[Mapping[str, Any]]) -> str:
    least = "at least " if any("patients share" in c["what"] for c in cases) else ""
    return f"{least}{counted(len({(c['one'], c['two']) for c in cases}), 'pair')} of patients"


def outcome(name: str, cases: Sequence[dict[str, Any]], found: str, clean: str) -> Check:
    """A check that found its cases, or with none is clean; each in its words."""
    rows = tuple({"check": name} | case for case in cases)
    return Check(name, "found", found, rows) if rows else Check(name, "clean", clean)


def case_table(checks: Sequence[Check]) -> pd.DataFrame:
    """Every case of every check; columns `CASE_COLUMNS`."""
    return pd.DataFrame([case for check in checks for case in check.cases], columns=list(CASE_COLUMNS))

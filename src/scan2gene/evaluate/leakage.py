"""Leakage: does anything about a tested patient stand where it was learned from? Tables in, findings out.

Every check ends in one of three ways: nothing found, something found, or not told by what is at
hand. What cannot be checked is said to be so and never counts as clean.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

Status = Literal["clean", "found", "unknown"]
CASE_COLUMNS = ("check", "split", "repeat", "fold", "one", "part_one", "two", "part_two", "what")
FOLD = ["split", "repeat", "fold"]
LIKENESS = 0.87  # of two volumes; 424 volumes of different patients stay below 0.86, their altered copies above
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
        self._of = split.assign(number=number).groupby("patient_id")[["number", "part"]].apply(
            lambda rows: dict(zip(rows["number"], rows["part"], strict=True))
        ).to_dict()  # fmt: skip

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
    return _check(
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
    return _check(
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
    return _check(
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
    level = threshold(pairs["likeness"].to_numpy(float))
    for row in pairs[pairs["likeness"] >= level].sort_values("likeness", ascending=False).to_dict("records"):
        where = parts.apart(row["one"], row["two"])
        kind = "identical" if row["likeness"] > 0.9999 and not row["flip"] else "nearly identical"
        mirrored = f", mirrored along {row['flip']}" if row["flip"] else ""
        if where:
            cases.append(where | {"what": f"{row['role']}: {kind} image{mirrored}, likeness {row['likeness']:.3f}"})
    return _check(
        name, cases, f"{_pairs(cases)} in different parts have identical or nearly identical images.",
        f"Among {compared} volumes none of a patient is nearly identical with that of a patient in another part.",
    )  # fmt: skip


def threshold(likeness: np.ndarray) -> float:
    """The likeness from which two images are called the same picture.

    `LIKENESS`, or more where the images of a cohort are all alike: the nearest of any two
    different patients are far out of what is usual there.

    Args:
        likeness: Of the nearest of all patients.
    """
    if len(likeness) < 10:
        return LIKENESS
    middle = float(np.median(likeness))
    spread = 1.4826 * float(np.median(np.abs(likeness - middle)))
    return min(max(LIKENESS, middle + 4 * spread), 0.999)


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
    return _check(
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
    return _check(
        name, cases, f"{len(cases)} exams have several stored volumes of one role, as if augmented before the split.",
        "The store holds one volume for each exam and role; augmentation changes training batches only.",
    )  # fmt: skip


def fitted_inside(
    fitted: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], cohort: pd.DataFrame, split: pd.DataFrame,
    given: Sequence[str] = (),
) -> Check:  # fmt: skip
    """Were statistics that are learned across patients learned from the training part of their own fold?

    The medians that a clinical baseline fills gaps with are computed anew from its training part, and compared.

    Args:
        fitted: (split, repeat, fold), and model.json with columns and median.
        cohort: Rows with `clinical:` columns.
        split: split.csv.
        given: Steps whose statistics came with the study file.
    """
    name = "statistics"
    cases = []
    for fold, model in fitted:
        rows = split[(split[FOLD] == [fold[c] for c in FOLD]).all(axis=1) & (split["part"] == "train")]
        inside = cohort[cohort["patient_id"].isin(rows["patient_id"])]
        for column, kept in zip(model["columns"], model["median"], strict=True):
            values = pd.to_numeric(inside[f"clinical:{column}"], errors="coerce")
            outside = pd.to_numeric(cohort[f"clinical:{column}"], errors="coerce")
            own, every = float(values.median()), float(outside.median())
            if np.isfinite(own) and not np.isclose(own, kept, rtol=1e-6) and np.isclose(every, kept, rtol=1e-6):
                cases.append({c: fold[c] for c in FOLD} | {
                    "what": f"the median of {column} is that of all patients, {every:g}; the training part has {own:g}"
                })  # fmt: skip
    if cases:
        return _check(name, cases, f"{len(cases)} statistics are those of all patients, tested ones too.", "")
    if given:
        return Check(
            name, "unknown",
            f"Landmarks of step {', '.join(given)} came with the study file; they must be learned from patients that "
            "are never tested, and the run cannot tell.",
        )  # fmt: skip
    return Check(
        name,
        "clean",
        "Prepared volumes see one exam each; what is learned across patients agrees with the training part.",
    )


def thresholds_inside(thresholds: Sequence[Mapping[str, Any]], again: Sequence[Mapping[str, Any]]) -> Check:
    """Were decision thresholds chosen on validation patients who are not tested with them?

    Args:
        thresholds: As kept by the run.
        again: The same, chosen anew from the prediction table.
    """
    keys = ["run_id", "split", "variant", "repeat", "fold", "target"]
    fresh = {tuple(row[k] for k in keys): row for row in again}
    cases = []
    for row in thresholds:
        other = fresh.get(tuple(row[k] for k in keys))
        if other is None or not np.isclose(row["threshold"], other["threshold"], atol=1e-9) or row["n"] != other["n"]:
            expected = "none" if other is None else f"{other['threshold']:.6g} of {other['n']} patients"
            cases.append({c: row[c] for c in FOLD} | {
                "what": f"{row['run_id']}, {row['target']}: {row['threshold']:.6g} of {row['n']} patients; validation "
                f"gives {expected}"
            })  # fmt: skip
    return _check(
        "thresholds", cases, f"{len(cases)} of {len(thresholds)} thresholds are not those of validation patients.",
        "Every threshold is the one that validation patients outside the fold's own test part give.",
    )  # fmt: skip


def early_stopping(
    histories: Sequence[tuple[str, Mapping[str, Any], pd.DataFrame]], predictions: pd.DataFrame
) -> Check:
    """Did the epoch that was kept win on the validation part?

    The kept network's loss on the validation part, and on the test part, is computed anew from
    the prediction table; the loss in history.csv must be that of validation.

    Args:
        histories: Run, (split, repeat, fold), history.csv with validation_loss and best.
        predictions: The prediction table.
    """
    name, cases, told = "early stopping", [], 0
    rows = predictions[(predictions["variant"] == "original") & predictions["y_true"].notna()]
    groups = dict(iter(rows.groupby(["run_id", *FOLD, "part"])))
    for run, fold, history in histories:
        where = tuple(fold[c] for c in FOLD)
        kept = history[history["best"] == 1]
        if kept.empty or history["validation_loss"].isna().all():
            continue
        kept_loss = float(kept.iloc[-1]["validation_loss"])
        if kept_loss > float(history["validation_loss"].min()) + 1e-6:
            cases.append(dict(zip(FOLD, where, strict=True)) | {"what": f"{run}: the epoch kept is not the best"})
            continue
        losses = {p: _cross_entropy(groups.get((run, *where, p))) for p in ("validation", "test")}
        if np.isnan(losses["validation"]):
            continue
        near = {p: bool(abs(v - kept_loss) < 2e-3 * max(kept_loss, 0.01)) for p, v in losses.items()}
        told += near["validation"]
        if near["test"] and not near["validation"]:
            cases.append(
                dict(zip(FOLD, where, strict=True)) | {"what": f"{run}: the loss watched is that of test rows"}
            )
    if cases or not histories or told:
        return _check(
            name, cases, f"{len(cases)} of {len(histories)} fits kept an epoch that validation did not choose.",
            f"The epoch kept has the least validation loss in all {len(histories)} fits; in {told} of them that loss "
            "was computed anew from the predictions and agrees."
            if histories else "No run trains for epochs.",
        )  # fmt: skip
    return Check(
        name, "unknown",
        f"The epoch kept has the least validation loss in all {len(histories)} fits, but that loss could not be "
        "computed anew, so on whom it was measured is not confirmed.",
    )  # fmt: skip


def _cross_entropy(rows: pd.DataFrame | None) -> float:
    """Mean over exams and targets of what the network said of them; NaN without rows, or with a failed one."""
    if rows is None or rows["logit"].isna().any():
        return float("nan")
    x, y = rows["logit"].to_numpy(float), rows["y_true"].to_numpy(float)
    return float(np.mean(np.logaddexp(0, x) - y * x))


def _apart(patients: Sequence[str], parts: Parts, what: str) -> list[dict[str, Any]]:
    found = []
    for n, one in enumerate(patients):
        for two in patients[n + 1 :]:
            where = parts.apart(one, two)
            if where:
                found.append(where | {"what": what})
    return found


def _pairs(cases: Sequence[Mapping[str, Any]]) -> str:
    number = len({(c["one"], c["two"]) for c in cases})
    return f"{number} pair{'s' * (number != 1)} of patients"


def _check(name: str, cases: Sequence[dict[str, Any]], found: str, clean: str) -> Check:
    rows = tuple({"check": name} | case for case in cases)
    return Check(name, "found", found, rows) if rows else Check(name, "clean", clean)


def case_table(checks: Sequence[Check]) -> pd.DataFrame:
    """Every case of every check; columns `CASE_COLUMNS`."""
    return pd.DataFrame([case for check in checks for case in check.cases], columns=list(CASE_COLUMNS))

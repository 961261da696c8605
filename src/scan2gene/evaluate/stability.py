"""What stands beside an AUROC: other fits of the same method, shuffled labels, and how many patients are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.stats.corrected_t_test import Corrected, corrected
from scan2gene.stats.intervals import Estimate
from scan2gene.stats.label_permutation import Fit, LabelPermutation, Part, permute_labels
from scan2gene.stats.power import patients_needed, power_of, too_few

COLUMNS = (
    "run_id", "split", "target", "nested", "fits", "fits_auroc", "fits_low", "fits_high", "fits_p", "fits_reason",
    "power", "patients_needed", "shuffled_what", "shuffled_auroc", "shuffled_mean", "shuffled_p", "shuffles",
    "shuffled_reason",
)  # fmt: skip


@dataclass(frozen=True)
class Features:
    """What a run's model is fitted on again.

    Args:
        what: In words.
        fit: How.
        read: Split -> (repeat, fold, patient ids (N,), features (N, F)) of each of its fits.
    """

    what: str
    fit: Fit
    read: Callable[[str], Iterable[tuple[int, int, np.ndarray, np.ndarray]]]


def stability(
    results: Mapping[str, Any],
    split: pd.DataFrame,
    predictions: pd.DataFrame,
    features: Mapping[str, Features],
    nested: Mapping[str, bool],
    by_site: frozenset[str],
    shuffles: int,
    seed: int,
) -> pd.DataFrame:
    """One row per run, split and target: evidence.csv.

    Args:
        results: From `evaluate`.
        split: split.csv.
        predictions: The prediction table, for labels, sites and sides.
        features: By run; a run without has no shuffles, with the reason.
        nested: Run -> whether its settings were searched inside each fold.
        by_site: Splits whose folds are sites, and no random sample of fits.
        shuffles: Of labels; 0 for none.
        seed: Of the shuffles.
    """
    rows = []
    tested = predictions[(predictions["variant"] == "original") & (predictions["part"] == "test")]
    for run in nested:
        for name, targets in results.get(run, {}).items():
            if "metrics" in targets:
                continue
            for target, found in targets.items():
                if "auroc_by_fold" not in found:
                    continue
                table = tested[(tested["run_id"] == run) & (tested["split"] == name) & (tested["target"] == target)]
                own = split[split["split"] == name]
                again = _shuffled(table, own, features.get(run), name, shuffles, seed)
                rows.append({
                    "run_id": run, "split": name, "target": target, "nested": "yes" if nested[run] else "no",
                    **_fits(_of_fits(found, own, name in by_site)),
                    **_numbers(found),
                    "shuffled_what": features[run].what if run in features else "",
                    "shuffled_auroc": again.auroc, "shuffled_mean": again.by_chance, "shuffled_p": again.p,
                    "shuffles": again.shuffles, "shuffled_reason": again.reason,
                })  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _of_fits(found: Mapping[str, Any], split: pd.DataFrame, by_site: bool) -> Corrected:
    folds, few = found["auroc_by_fold"], _few(found)
    if few:
        return Corrected(Estimate(None, reason=few), None, len(folds))
    if by_site:
        return Corrected(Estimate(None, reason="folds are sites, and no random sample of fits"), None, len(folds))
    counts = split.groupby(["repeat", "fold"])["part"].value_counts().unstack(fill_value=0)
    share = float((counts["test"] / counts["train"]).mean()) if {"test", "train"} <= set(counts) else 1.0
    return corrected([f["auroc"] for f in folds], share)


def _fits(found: Corrected) -> dict[str, Any]:
    e = found.estimate
    # Student's interval may leave the range of an AUROC
    low, high = (None if end is None else min(max(end, 0.0), 1.0) for end in (e.low, e.high))
    return {"fits": found.fits, "fits_auroc": e.value, "fits_low": low, "fits_high": high, "fits_p": found.p,
            "fits_reason": e.reason}  # fmt: skip


def _few(found: Mapping[str, Any]) -> str:
    """Why figures of these patients are not judged."""
    fewest = None if found["n"] == found["n_units"] else found["n_rarer_patients"]
    return too_few(found["n_positive"], found["n_units"], fewest)


def _numbers(found: Mapping[str, Any]) -> dict[str, Any]:
    auroc, n, positive = found["metrics"]["auroc"]["value"], found["n_units"], found["n_positive"]
    if auroc is None or auroc <= 0.5 or _few(found):  # nothing that a larger study should look for
        return {"power": None, "patients_needed": None}
    return {"power": power_of(auroc, positive, n - positive), "patients_needed": patients_needed(auroc, positive / n)}


def _shuffled(
    tested: pd.DataFrame, split: pd.DataFrame, features: Features | None, name: str, shuffles: int, seed: int
) -> LabelPermutation:
    def none(why: str) -> LabelPermutation:
        return LabelPermutation(None, None, None, 0, why)

    if not shuffles:
        return none("shuffles were switched off (evaluate.shuffles: 0)")
    if features is None:
        return none("there are no features that could be fitted again")
    if (tested["side"].notna() & (tested["side"] != "")).any():
        return none("labels of sides are not shuffled")
    if split.duplicated(["repeat", "fold", "patient_id"]).any():
        return none("patients stand in several parts")
    about = tested.dropna(subset=["y_true"]).drop_duplicates("patient_id").set_index("patient_id")
    if not 0 < about["y_true"].sum() < len(about):
        return none("both classes are needed")
    number = pd.Series(np.arange(len(about)), index=about.index)
    parts = []
    for repeat, fold, patients, values in features.read(name):
        here = split[(split["repeat"] == repeat) & (split["fold"] == fold)].set_index("patient_id")["part"]
        mean = pd.DataFrame(values, index=patients).groupby(level=0).mean()
        mean = mean[mean.index.isin(about.index)]
        of_part = here.reindex(mean.index)
        train, test = (mean[of_part == p] for p in ("train", "test"))
        if len(train) > 1 and len(test):
            seats = [number[m.index].to_numpy() for m in (train, test)]
            parts.append(Part(seats[0], seats[1], train.to_numpy(float), test.to_numpy(float), repeat))
    if not parts:
        return none("no fit has features of labelled training and test patients")
    site = about["site"].where(about["site"].notna(), None).astype(str).to_numpy()  # of unknown site: together
    return permute_labels(about["y_true"].to_numpy(float), site, parts, features.fit, shuffles, seed)

"""What a cohort of a given size can show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist

import pandas as pd

from scan2gene.core.tables import MEAN

POWER = 0.8
LEVEL = 0.95
SLICES = "slice level"  # variant of figures on single slices
FEWEST = 6  # in the rarer class: of five, a single one can move an AUROC by a fifth


def too_few(n_positive: int, n_units: int, fewest: int | None = None, unit: str = "sides") -> str:
    """Why figures of so few in one class are not judged; empty where there are enough in both.

    The one rule for verdicts, tables, plots and sentences. It counts patients: two sides of one are no two witnesses.

    Args:
        n_positive: Positive patients, or sides.
        n_units: All of them.
        fewest: Patients of the rarer class, where more than one unit of a patient is scored.
        unit: What these are called.
    """
    if fewest is not None:
        enough = fewest >= FEWEST
        return "" if enough else f"the rarer class has {unit} of {fewest} patients, and {FEWEST} patients are needed"
    rarer, word = min((n_positive, "positive"), (n_units - n_positive, "negative"))
    if rarer >= FEWEST:
        return ""
    are = "is" if rarer == 1 else "are"
    return f"{rarer} of {n_units} {are} {word}, and below {FEWEST} a single one can move an AUROC by a fifth or more"


def judged(metrics: pd.DataFrame) -> pd.DataFrame:
    """metrics.csv without the figures of too few patients: their reason stands in place of value and interval."""
    names = ["n_positive", "n_units", "n", "n_rarer_patients", "variant", "target"]
    why = []
    for positive, units, n, rarer, variant, target in metrics[names].itertuples(index=False, name=None):
        if target == MEAN:  # as little is known of it as of the target with the fewest
            enough = int(rarer) >= FEWEST
            why.append(
                "" if enough else f"the rarer class of a target has {int(rarer)} patients, and {FEWEST} are needed"
            )
            continue
        fewest = None if n == units else int(rarer)
        why.append(too_few(int(positive), int(units), fewest, "slices" if variant == SLICES else "sides"))
    reasons = pd.Series(why, metrics.index, dtype=object)
    few = (reasons != "") & metrics["value"].notna()  # what has no value has a nearer reason
    shown = metrics.copy()
    shown.loc[few, ["value", "low", "high"]] = float("nan")
    shown.loc[few, "reason"] = reasons[few]
    return shown


def auroc_error(auroc: float, positives: int, negatives: int) -> float:
    """Standard error of an AUROC.

    Args:
        auroc: Its true value.
        positives: Patients of one class.
        negatives: Of the other.

    Source: Hanley and McNeil 1982, "The meaning and use of the area under a ROC curve",
    with their exponential approximation.
    """
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    spread = auroc * (1 - auroc) + (positives - 1) * (q1 - auroc**2) + (negatives - 1) * (q2 - auroc**2)
    return math.sqrt(spread / (positives * negatives))


def detectable_auroc(positives: int, negatives: int, power: float = POWER, level: float = LEVEL) -> float | None:
    """Smallest true AUROC that a test of these patients tells from 0.5 with the given power.

    Args:
        positives: Test patients of one class.
        negatives: Of the other.
        power: Probability that the two-sided interval lies above 0.5.
        level: Of the interval.

    Returns:
        The AUROC; None when even a perfect model would not do, or a class is empty.
    """
    if positives < 1 or negatives < 1:
        return None
    z_level, z_power = NormalDist().inv_cdf((1 + level) / 2), NormalDist().inv_cdf(power)
    chance = auroc_error(0.5, positives, negatives)

    def enough(auroc: float) -> bool:
        return auroc - 0.5 >= z_level * chance + z_power * auroc_error(auroc, positives, negatives)

    if not enough(0.999):
        return None
    low, high = 0.5, 0.999
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def power_of(auroc: float, positives: int, negatives: int, level: float = LEVEL) -> float | None:
    """Probability that as many new patients would show a difference from 0.5, were this the true AUROC.

    Args:
        auroc: The one that was observed, or supposed. Of an observed one this says no more than its P value
            does (Hoenig and Heisey 2001); it is for planning the next study.
        positives: Test patients of one class.
        negatives: Of the other.
        level: Of the two-sided interval.

    Returns:
        None where a class is empty.
    """
    if positives < 1 or negatives < 1:
        return None
    reach = NormalDist().inv_cdf((1 + level) / 2) * auroc_error(0.5, positives, negatives)
    error, far = auroc_error(auroc, positives, negatives), abs(auroc - 0.5)
    if not error > 0:
        return 1.0 if far > reach else 0.0
    return NormalDist().cdf((far - reach) / error) + NormalDist().cdf((-far - reach) / error)


def patients_needed(auroc: float, prevalence: float, power: float = POWER, level: float = LEVEL) -> int | None:
    """Fewest test patients with which this AUROC would be told from 0.5 with the given power.

    Args:
        auroc: The true one.
        prevalence: Share of positives among them.
        power: As in `detectable_auroc`.
        level: Of the interval.

    Returns:
        None for an AUROC of 0.5, or where more than a million would not do.
    """

    def enough(n: int) -> bool:
        positives = round(n * prevalence)
        found = power_of(auroc, positives, n - positives, level)
        return found is not None and found >= power

    if auroc == 0.5 or not 0 < prevalence < 1 or not enough(1_000_000):
        return None
    low, high = 2, 1_000_000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def power_table(counts: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
    """Patients per class and part, and the AUROC that the tested patients can tell from chance.

    Args:
        counts: split_table.csv.
        targets: In the order in which they are to be listed.

    Returns:
        Per split and target: the unit (patient or side), positive and negative ones tested, how many patients have
        such a one, the fewest of the rarer
        class in a fold's train, validation and test part, and detectable_auroc.
    """
    rows = []
    for (split, target), group in counts.groupby(["split", "target"], sort=False):
        part = group[group["repeat"] == group["repeat"].min()]
        tested = {c: int(part.loc[part["class"] == c, "test"].sum()) for c in ("positive", "negative")}
        people = "test_patients" if "test_patients" in part else "test"
        patients = {c: int(part.loc[part["class"] == c, people].sum()) for c in ("positive", "negative")}
        smallest = {p: int(part.loc[part["class"].isin(["positive", "negative"]), p].astype(int).min())
                    for p in ("train", "validation", "test")}  # fmt: skip
        rows.append(
            {
                "split": split,
                "target": target,
                "unit": part["unit"].iloc[0],
                "positive": tested["positive"],
                "negative": tested["negative"],
                **{f"{c}_patients": n for c, n in patients.items()},
                **{f"fewest_{p}": n for p, n in smallest.items()},
                "detectable_auroc": detectable_auroc(tested["positive"], tested["negative"]),
            }
        )
    order = {name: n for n, name in enumerate(targets)}
    return pd.DataFrame(rows).sort_values(
        ["split", "target"],
        key=lambda c: c.map(order).fillna(0) if c.name == "target" else c,
        kind="stable",
        ignore_index=True,
    )


def power_warnings(targets: pd.DataFrame) -> Iterator[str]:
    """A sentence for every target that these patients cannot decide.

    Args:
        targets: From `power_table`.
    """
    for row in targets.itertuples():
        fewest = min(row.positive_patients, row.negative_patients) if row.unit == "side" else None
        why = too_few(row.positive, row.positive + row.negative, fewest)  # as the verdict will say it
        if why:
            yield f"{row.target} cannot be estimated in split {row.split}, because {why}."
        elif row.detectable_auroc is None or row.detectable_auroc > 0.8:
            needed = (
                "not even a perfect model"
                if row.detectable_auroc is None
                else f"only a model with an AUROC above {row.detectable_auroc:.2f}"
            )
            yield f"{row.target}, split {row.split}: {needed} would be told from chance in four of five such cohorts."
        if row.fewest_validation < 2 or row.fewest_train < 5:
            yield (
                f"{row.target}, split {row.split}: a fold has {row.fewest_train} training and {row.fewest_validation} "
                f"validation {row.unit}s of the rarer class."
            )

"""Tables of how many patients a study has in each class, and what they can show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from scan2gene.core.levels import MIN_CLASS_PATIENTS
from scan2gene.core.tables import MEAN, PARTS, SLICE_LEVEL
from scan2gene.evaluate.multiclass import OVER_CLASSES
from scan2gene.stats.power import detectable_auroc, too_few


def without_small_classes(metrics: pd.DataFrame) -> pd.DataFrame:
    """metrics.csv without the figures of too few patients: their reason stands in place of value and interval."""
    names = ["n_positive", "n_units", "n", "n_rarer_patients", "variant", "target"]
    why = []
    for positive, units, n, rarer, variant, target in metrics[names].itertuples(index=False, name=None):
        whole = pd.isna(positive)  # a target of several classes
        if target == MEAN or whole:  # as little is known of a mean as of the target, or class, with the fewest
            rarest = "the rarest class" if whole else "the rarer class of a target"
            lacking = f"{rarest} has {int(rarer)} patients, and {MIN_CLASS_PATIENTS} are needed"
            why.append(lacking if int(rarer) < MIN_CLASS_PATIENTS else "")
            continue
        fewest = None if n == units else int(rarer)
        why.append(too_few(int(positive), int(units), fewest, "slices" if variant == SLICE_LEVEL else "sides"))
    reasons = pd.Series(why, metrics.index, dtype=object)
    few = (reasons != "") & metrics["value"].notna()  # what has no value has a nearer reason
    if metrics["n_positive"].isna().any():
        few &= metrics["n_positive"].notna() | metrics["metric"].isin(OVER_CLASSES)
    shown = metrics.copy()
    shown.loc[few, ["value", "low", "high"]] = float("nan")
    shown.loc[few, "reason"] = reasons[few]
    return shown


def power_table(counts: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
    """Patients per class and part, and the AUROC that the tested patients can tell from chance.

    Args:
        counts: From `class_table`, of targets with two classes.
        targets: In the order in which they are to be listed.

    Returns:
        Per split and target: the unit (patient or side), positive and negative ones tested, how many patients have
        such a one, the fewest of the rarer
        class in a fold's train, validation and test part, and detectable_auroc. A split without a validation part has
        None there.
    """
    rows = []
    for (split, target), group in counts.groupby(["split", "target"], sort=False):
        part = group[group["repeat"] == group["repeat"].min()]
        tested = {c: int(part.loc[part["class"] == c, "test"].sum()) for c in ("positive", "negative")}
        people = "test_patients" if "test_patients" in part else "test"
        patients = {c: int(part.loc[part["class"] == c, people].sum()) for c in ("positive", "negative")}
        classes = part[part["class"].isin(["positive", "negative"])]
        fewest: dict[str, int | None] = {p: int(classes[p].astype(int).min()) for p in PARTS}
        if not part["validation"].astype(int).any():
            fewest["validation"] = None
        rows.append(
            {
                "split": split,
                "target": target,
                "unit": part["unit"].iloc[0],
                "positive": tested["positive"],
                "negative": tested["negative"],
                **{f"{c}_patients": n for c, n in patients.items()},
                **{f"fewest_{p}": n for p, n in fewest.items()},
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
        without = pd.isna(row.fewest_validation)  # the split has no validation part
        if row.fewest_train < 5 or (not without and row.fewest_validation < 2):
            of_validation = "" if without else f" and {row.fewest_validation:.0f} validation"
            yield (
                f"{row.target}, split {row.split}: a fold has {row.fewest_train} training{of_validation} {row.unit}s "
                "of the rarer class."
            )

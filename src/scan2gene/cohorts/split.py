"""Patient-level splits, stratified over several targets at once; a patient is positive where any side is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from types import MappingProxyType

import numpy as np
import pandas as pd

from scan2gene.core.errors import CohortError
from scan2gene.core.section import unknown_name
from scan2gene.core.study import SIDES
from scan2gene.core.study_runs import Split
from scan2gene.core.tables import EXTERNAL, PARTS, SPLIT_COLUMNS
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.outputs import patient_classes

UNKNOWN = "unknown"  # stands where a class's name does
_TWO = {"positive": 1, "negative": 0}


def make_splits(cohort: pd.DataFrame, labels: pd.DataFrame, splits: Sequence[Split], seed: int) -> pd.DataFrame:
    """Divide patients by every split of the study.

    Args:
        cohort: patient_id and site per exam.
        labels: Long label table with two classes everywhere; see `one_vs_rest`.
        splits: The study's list.
        seed: Same seed and cohort, same split.

    Returns:
        Columns `SPLIT_COLUMNS`: one part per patient within each split, repeat and fold.

    Raises:
        CohortError: Too few patients, or a site is missing where sites are left out or external.
    """
    patients = sorted(cohort["patient_id"].unique())
    wide = patient_classes(labels).reindex(patients)
    site = cohort.drop_duplicates("patient_id").set_index("patient_id")["site"].reindex(patients)
    rows = []
    for number, split in enumerate(splits):
        if split.unit == "slice":  # every patient is everywhere; `parts_of` divides the slices
            for repeat, fold in product(range(split.repeats), range(split.folds if split.kind == "kfold" else 1)):
                parts = [part for part in PARTS if part != "validation" or split.has_validation]
                rows += [(split.name, p, repeat, fold, q) for p, q in product(patients, parts)]
            continue
        outside = _outside(split, cohort, site)
        inside, own = [p for p in patients if p not in outside], wide.loc[~wide.index.isin(outside)]
        for repeat, fold, test in _tests(split, own, site[own.index], seed + 1000 * number):
            rest = np.flatnonzero(~test)
            # the seed moves with the fold, so validation sets differ from fold to fold
            inner_seed = seed + 1000 * number + 100 * repeat + fold + 1
            validation = rest[_validation(own.to_numpy()[rest], split.validation_fraction, inner_seed)]
            part = np.where(test, "test", "train").astype(object)
            part[validation] = "validation"
            rows += [(split.name, p, repeat, fold, q) for p, q in zip(inside, part, strict=True)]
            rows += [(split.name, p, repeat, fold, EXTERNAL) for p in patients if p in outside]
    return pd.DataFrame(rows, columns=list(SPLIT_COLUMNS))


def _validation(values: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Which rows choose epochs and thresholds; where a fraction is asked for, at least one."""
    if not fraction:
        return np.empty(0, dtype=int)
    chosen = np.flatnonzero(stratified_parts(values, [1 - fraction, fraction], seed) == 1)
    if len(chosen) or len(values) < 2:
        return chosen
    # of few patients, no class asks for half a one, and all would go to training
    most = max(1, round(fraction * len(values)))
    return np.random.default_rng(seed).choice(len(values), min(most, len(values) - 1), replace=False)


def _sites(split: Split, site: pd.Series) -> list[str]:
    """Names of all sites, of which every patient must have one."""
    if site.isna().any():
        lacking = ", ".join(site[site.isna()].index[:5])
        raise CohortError(f"split {split.name} needs the site of every patient; none for {lacking}. See site_column.")
    return sorted(site.unique())


def _outside(split: Split, cohort: pd.DataFrame, site: pd.Series) -> frozenset[str]:
    """Patients of the sites that a split keeps out of development."""
    if not split.external:
        return frozenset()
    known = _sites(split, site)
    for name in split.external:
        if name not in known:
            raise CohortError(f"split {split.name}: external site {unknown_name(name, known)}")
    far = cohort["site"].isin(split.external)
    both = sorted(set(cohort.loc[far, "patient_id"]) & set(cohort.loc[~far, "patient_id"]))
    if both:
        raise CohortError(
            f"split {split.name}: {len(both)} patients have exams at an external site and at another one, such as "
            f"{', '.join(both[:3])}, so they cannot be kept apart. Leave one of their exams out in cohort.exclude_file."
        )
    if far.all():
        raise CohortError(f"split {split.name}: every patient is of an external site, so nobody is left to learn from")
    return frozenset(cohort.loc[far, "patient_id"])


def parts_of(fit: Fit, exams: pd.DataFrame) -> np.ndarray:
    """The part of each row in a fit: that of its patient, or with a split by slice one drawn for it.

    Args:
        fit: With the parts of patients.
        exams: N rows with patient_id; of slices, in a fixed order.

    Returns:
        (N,) of object.
    """
    split = fit.rules
    if split.unit == "patient":
        return exams["patient_id"].map(fit.parts).to_numpy()
    part = np.full(len(exams), "train", dtype=object)
    for number, rows in enumerate(exams.groupby("patient_id", sort=True).indices.values()):
        order = np.random.default_rng([fit.config.seed, fit.repeat, number]).permutation(rows)
        if split.kind == "kfold":
            test = order[fit.fold :: split.folds]
        else:
            test = order[: max(1, round(len(order) * split.test_fraction))]
        rest = order[~np.isin(order, test)]
        part[test] = "test"
        if split.has_validation:
            part[rest[: max(1, round(len(rest) * split.validation_fraction))]] = "validation"
    return part


def class_table(
    split: pd.DataFrame,
    labels: pd.DataFrame,
    targets: Sequence[str],
    classes: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> pd.DataFrame:
    """Patients of every class in every part; sides where a target is known per side.

    Args:
        split: Columns `SPLIT_COLUMNS`.
        labels: Long label table.
        targets: Their names, in the order of the table.
        classes: Names of the classes of targets with several.

    Returns:
        One row per split, repeat, fold, target and class (positive, negative, unknown, or each of several and unknown),
        with what is counted (`unit`: patient or side) and the counts train, validation, test and all;
        `external` too where a split has such patients; `test_patients` counts patients, also where sides are counted.
    """
    parts = (*PARTS, *([EXTERNAL] if (split["part"] == EXTERNAL).any() else []))
    patients = split["patient_id"].unique()
    sided = {t: labels.loc[labels["target"] == t, "side"].isin(SIDES).any() for t in targets}
    values = {t: _by_side(labels[labels["target"] == t], patients, sided[t]) for t in targets}
    numbers = {t: {c: n for n, c in enumerate(classes[t])} if classes.get(t) else _TWO for t in targets}
    rows = []
    for fold, members in split.groupby(["split", "repeat", "fold"], sort=False):
        part = members.set_index("patient_id")["part"]
        for target in targets:
            own = values[target].loc[part.index]
            hits = {name: own == number for name, number in numbers[target].items()} | {UNKNOWN: own.isna()}
            for name, hit in hits.items():
                counts = [int(hit[part == p].to_numpy().sum()) for p in parts]
                tested = int((hit.any(axis=1) & (part == "test").to_numpy()).sum())
                every = int(hit[~hit.index.duplicated()].to_numpy().sum())  # a patient may stand in several parts
                rows.append((*fold, target, "side" if sided[target] else "patient", name, *counts, every, tested))
    return pd.DataFrame(
        rows, columns=["split", "repeat", "fold", "target", "unit", "class", *parts, "all", "test_patients"]
    )


def _by_side(labels: pd.DataFrame, patients: np.ndarray, sided: bool) -> pd.DataFrame:
    """patient_id x side: values of one target; one column where it has no sides."""
    wide = labels.assign(side=labels["side"].fillna("")).pivot(index="patient_id", columns="side", values="value")
    return wide.reindex(index=patients, columns=list(SIDES) if sided else [""])


def _tests(split: Split, wide: pd.DataFrame, site: pd.Series, seed: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """(repeat, fold, which patients are tested) of one split."""
    n = len(wide)
    if split.kind == "leave_one_site_out":
        names = _sites(split, site)
        if len(names) < 2:
            raise CohortError(f"split {split.name} needs two sites at least, found {names}")
        for fold, name in enumerate(names):
            yield 0, fold, (site == name).to_numpy()
        return
    folds = split.folds if split.kind == "kfold" else round(1 / split.test_fraction)
    if n < 2 * folds:
        what = f"{folds} folds" if split.kind == "kfold" else f"test_fraction {split.test_fraction:g}"
        fewer = f", or at most {n // 2} folds" if split.kind == "kfold" and n >= 4 else ""
        raise CohortError(
            f"split {split.name}: {n} patients are too few for {what}; at least {2 * folds} are needed, two to test "
            f"in each part{fewer}"
        )
    for repeat in range(split.repeats):
        if split.kind == "kfold":
            parts = stratified_parts(wide.to_numpy(), [1 / folds] * folds, seed + 100 * repeat)
            for fold in range(folds):
                yield repeat, fold, parts == fold
        else:
            fractions = [1 - split.test_fraction, split.test_fraction]
            yield repeat, 0, stratified_parts(wide.to_numpy(), fractions, seed + 100 * repeat) == 1


def stratified_parts(values: np.ndarray, fractions: Sequence[float], seed: int) -> np.ndarray:
    """Divide rows so that every class of every target is spread in proportion.

    Args:
        values: (N, T) 0, 1 or NaN for unknown.
        fractions: Wanted share of each part, sum 1.
        seed: Breaks ties.

    Returns:
        (N,) part of each row.

    Source: Sechidis, Tsoumakas & Vlahavas 2011, "On the stratification of multi-label
    data": the rarest class goes first, to the part that still lacks it most. Each
    target counts as three classes: positive, negative and unknown.
    """
    rng = np.random.default_rng(seed)
    share = np.asarray(fractions, float)
    classes = np.concatenate([values == 1, values == 0, np.isnan(values)], axis=1)  # (N, 3T)
    wanted = np.outer(classes.sum(axis=0), share)  # (3T, parts)
    room = share * len(values)
    part = np.full(len(values), -1)
    while (part < 0).any():
        left = classes[part < 0].sum(axis=0)
        rarest = int(np.argmin(np.where(left > 0, left, np.inf)))
        for row in rng.permutation(np.flatnonzero((part < 0) & classes[:, rarest])):
            order = np.lexsort((rng.random(len(share)), -room, -wanted[rarest]))
            chosen = int(order[0])
            part[row] = chosen
            wanted[classes[row], chosen] -= 1
            room[chosen] -= 1
    return part


def one_class_parts(table: pd.DataFrame) -> dict[str, str]:
    """In how many folds a part lacks a class of a target: split -> words; splits without such are left out.

    Args:
        table: Of `class_table`, as read from its file.
    """
    told: dict[str, list[str]] = {}
    known = table[table["class"] != UNKNOWN]
    for (split, target), rows in known.groupby(["split", "target"], sort=False):
        two = set(rows["class"]) <= _TWO.keys()
        for what, part in [("has one class only", rows)] if two else [
            (f"lacks {name}", one) for name, one in rows.groupby("class", sort=False)
        ]:  # fmt: skip
            folds = part.groupby(["repeat", "fold"])
            found = {
                p: folds[p].apply(lambda n: bool((n.astype(int) == 0).any()))
                for p in PARTS if p != "validation" or rows[p].astype(int).any()
            }  # fmt: skip
            words = [f"{p} in {int(lacking.sum())}" for p, lacking in found.items() if lacking.any()]
            if words:
                told.setdefault(str(split), []).append(f"{target} {what}: {', '.join(words)} of {len(folds)}")
    return {split: "; ".join(lines) for split, lines in told.items()}

"""Is an AUROC different from chance? Labels exchanged between patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scan2gene.stats.resampling import Sample

PERMUTATIONS = 9_999  # so that P values are multiples of 1 / 10 000
_AT_ONCE = 2_000_000  # labels in memory

CROSSED = 2**0.5  # see `p_chance_of_mean`


def p_chance(
    sample: Sample, permutations: int = PERMUTATIONS, seed: int = 0, crossed: bool = False
) -> float | None:  # fmt: skip
    """Two-sided P value of the within-fold AUROC against 0.5; see `p_chance_of_mean`."""
    return p_chance_of_mean([sample], permutations, seed, crossed)


def p_chance_of_mean(
    samples: Sequence[Sample], permutations: int = PERMUTATIONS, seed: int = 0, crossed: bool = False
) -> float | None:  # fmt: skip
    """Two-sided P value against 0.5 of the mean of within-fold AUROCs, such as those of each class against the rest.

    A patient's labels (of both sides together) go to another patient who has the same sides in
    the same fold, which is what "the scores know nothing of the labels" allows. A patient
    tested in several repeats lies in several folds: there labels go anywhere among patients
    with the same repeats and sides. The P value is (b + 1) / (m + 1) for b of m permutations at
    least as far from 0.5 as what was seen, so it is never too small, with six patients either.

    It says nothing about how the networks were trained: that labels of the training folds and
    of the test fold are of one finite sample pushes cross-validated AUROCs a little below 0.5.

    Args:
        samples: Scored rows of one run; the same patients and folds in the same order in each.
        permutations: m.
        seed: Of the permutations; draws follow the order of patients' ids, not of rows.
        crossed: The scores are those of models on tables, cross-validated: the label of one patient moves the score of
            another in another fold, and the other's label his. Exchanged labels with fixed scores do not show that;
            at most it doubles the variance where nothing can be learned, so the deviations are widened by its root.

    Returns:
        In (0, 1]; None where the AUROC is undefined.

    Source: Phipson and Smyth 2010, "Permutation P-values should never be zero".
    """
    if any(s.lacking for s in samples):
        return None
    observed = float(np.mean([s.statistic("auroc") for s in samples]))
    if np.isnan(observed):
        return None
    sample = samples[0]
    patient, repeat, fold = (sample.columns[c] for c in ("patient", "repeat", "fold"))
    sides, side = np.unique(sample.table["side"].fillna("").to_numpy(str), return_inverse=True)
    labels = np.full((len(samples), sample.n_patients, len(sides)), np.nan)
    for own, s in zip(labels, samples, strict=True):
        own[patient, side] = s.columns["y_true"]
    place = np.unique(fold if (repeat == repeat[0]).all() else repeat, return_inverse=True)[1]
    strata = _strata(patient, place * len(sides) + side)
    rng = np.random.default_rng(seed)
    far, left = 0, permutations
    while left:
        some = min(left, max(1, _AT_ONCE // len(patient)))
        order = np.tile(np.arange(sample.n_patients), (some, 1))
        for members in strata:
            order[:, members] = rng.permuted(order[:, members], axis=1)
        values = np.mean([
            _aurocs(s.columns["prob"], repeat, fold, own[order[:, patient], side])
            for own, s in zip(labels, samples, strict=True)
        ], axis=0)  # fmt: skip
        away = np.abs(values - 0.5) * (CROSSED if crossed else 1.0)
        far += int((~(away < abs(observed - 0.5) - 1e-12)).sum())  # undefined ones count as far
        left -= some
    return (far + 1) / (permutations + 1)


def _strata(patient: np.ndarray, seat: np.ndarray) -> list[np.ndarray]:
    """Patients whose labels may be exchanged, by number: those with rows in the same seats."""
    order = np.lexsort((seat, patient))
    groups: dict[bytes, list[int]] = {}
    for number, seats in enumerate(np.split(seat[order], np.flatnonzero(np.diff(patient[order])) + 1)):
        groups.setdefault(seats.tobytes(), []).append(number)
    return [np.array(members) for members in groups.values() if len(members) > 1]


def _aurocs(score: np.ndarray, repeat: np.ndarray, fold: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Within-fold AUROC, mean over repeats, for labels (draws, N) of rows: (draws,).

    Within a fold it is the positives' sum of ranks, so every draw costs one product.
    """
    from scipy.stats import rankdata

    means = []
    for number in np.unique(repeat):
        right, pairs = np.zeros(len(labels)), np.zeros(len(labels))
        for name in np.unique(fold[repeat == number]):
            inside = np.flatnonzero((repeat == number) & (fold == name))
            inside_labels = labels[:, inside]
            positives = inside_labels.sum(axis=1)
            right += inside_labels @ rankdata(score[inside]) - positives * (positives + 1) / 2
            pairs += positives * (len(inside) - positives)
        means.append(np.divide(right, pairs, out=np.full(len(labels), np.nan), where=pairs > 0))
    return np.mean(means, axis=0)

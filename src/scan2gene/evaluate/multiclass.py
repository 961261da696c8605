"""Figures of a target of several classes as a whole; each class against the rest is scored as a binary target is.

Every class counts in a macro figure. Where a class has no labelled test patient, or is met in no fold together with
another, the figures that are means over classes are withheld with that reason: a mean over the other classes would be
another quantity, and runs could not be compared by it. Accuracy, kappa, log loss and the Brier score need no class in
particular and are still given. A class that is absent from some folds only has its pairs in the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from scan2gene.core.levels import MIN_CLASS_PATIENTS
from scan2gene.core.text import listed
from scan2gene.stats.intervals import SINGLE, Estimate, Resampled, bca_interval, jackknife
from scan2gene.stats.metrics import ratio
from scan2gene.stats.resampling import Sample, drawn_counts

WHOLE_METRICS = (
    "auroc_macro",  # mean over classes of the AUROC of the class against the rest
    "auroc_weighted",  # the same, each class weighing as many patients, or sides, as it has
    "accuracy",  # share whose class has the largest probability
    "balanced_accuracy",  # mean over classes of the share that is found
    "macro_f1",  # mean over classes
    "kappa",  # agreement beyond chance: Cohen 1960
    "log_loss",  # minus the mean logarithm of the true class's probability
    "brier",  # squared differences of probability and truth, summed over classes: Brier 1950
)
OVER_CLASSES = frozenset({"auroc_macro", "auroc_weighted", "balanced_accuracy", "macro_f1"})
_BOUNDS = {"kappa": (-1.0, 1.0), "log_loss": (0.0, np.inf), "brier": (0.0, 2.0)}


def classes_of(questions: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Target of several classes -> class -> its name as a binary target, in the order of class names.

    Args:
        questions: Prediction table from `by_question`.
    """
    found: dict[str, dict[str, str]] = {}
    if "label" in questions:
        for name, label in sorted(set(questions[["target", "label"]].astype(str).itertuples(index=False, name=None))):
            target = name.removesuffix(f":{label}")
            if label and target != name:
                found.setdefault(target, {})[label] = name
    return found


@dataclass(frozen=True)
class ClassSample:
    """The scored rows of one run, split, variant and target of several classes.

    Args:
        by_class: Class -> its sample against the rest, in the order of names, on which draws depend. All have the same
            rows in the same order.
    """

    by_class: Mapping[str, Sample]
    _drawn: dict[str, Resampled] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, rows: pd.DataFrame) -> ClassSample:
        """Of rows with two classes, whose targets are the classes against the rest."""
        return cls({str(name).rpartition(":")[2]: Sample(own) for name, own in rows.groupby("target")})

    @property
    def table(self) -> pd.DataFrame:
        """Rows of the first class, whose patients, folds and repeats are those of all."""
        return self.first.table

    @property
    def first(self) -> Sample:
        """The sample of the first class."""
        return next(iter(self.by_class.values()))

    @property
    def n_patients(self) -> int:
        """Patients."""
        return self.first.n_patients

    @property
    def n_units(self) -> int:
        """Patients, or sides of them."""
        return self.first.n_units

    @property
    def numbers(self) -> dict[str, int]:
        """Class -> patients, or sides, of it."""
        return {name: sample.n_positive for name, sample in self.by_class.items()}

    @cached_property
    def sides(self) -> np.ndarray:
        """(P, K) how many sides of each patient, in the order of ids, have each class."""
        first = ~self.table.duplicated(["patient_id", "side"]).to_numpy()
        patient = self.first.columns["patient"]
        truth = np.stack([s.columns["y_true"] for s in self.by_class.values()], axis=1).astype(float)
        return _summed(truth[first], patient[first], self.n_patients)

    @property
    def fewest(self) -> int:
        """Patients of the rarest class."""
        return int((self.sides > 0).sum(axis=0).min())

    @cached_property
    def lacking(self) -> str:
        """Why no mean over classes can be estimated; empty where one can."""
        absent = [name for name, n in self.numbers.items() if not n]
        if absent:
            there = f"{len(self.by_class) - len(absent)} of {len(self.by_class)} classes have some"
            return f"no labelled test patient is {listed(absent, 'or')}; {there}"
        apart = [name for name, s in self.by_class.items() if np.isnan(s.statistic("auroc"))]
        return f"no fold has test patients of {listed(apart, 'or')} and of another class" if apart else ""

    @property
    def too_few(self) -> str:
        """Why means over classes are not judged; empty where every class has enough patients."""
        rarest = min(self.numbers, key=lambda name: self.numbers[name])
        enough = self.fewest >= MIN_CLASS_PATIENTS
        return "" if enough else f"{rarest} has {self.fewest} test patients, and {MIN_CLASS_PATIENTS} are needed"

    @cached_property
    def strata(self) -> np.ndarray:
        """(P,) patients of one stratum have as many sides of each class."""
        return np.unique(self.sides, axis=0, return_inverse=True)[1].ravel().astype(np.int64)

    @cached_property
    def _rows(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each repeat: (P, K, K) rows of each patient by true and predicted class; (P, 3) log loss, Brier, rows."""
        truth, prob = (
            np.stack([s.columns[c] for s in self.by_class.values()], axis=1).astype(float) for c in ("y_true", "prob")
        )
        patient, repeat = self.first.columns["patient"], self.first.columns["repeat"]
        cells = truth[:, :, None] * np.eye(truth.shape[1])[prob.argmax(axis=1)][:, None, :]
        inside = np.clip((truth * prob).sum(axis=1), np.finfo(float).eps, 1)
        losses = np.stack([-np.log(inside), ((prob - truth) ** 2).sum(axis=1), np.ones(len(prob))], axis=1)
        at = [repeat == number for number in np.unique(repeat)]
        return [tuple(_summed(v[r], patient[r], self.n_patients) for v in (cells, losses)) for r in at]  # type: ignore[misc]

    def confusion(self) -> np.ndarray:
        """(K, K) patients, or sides, by true and predicted class; with repeats the mean over them."""
        return np.mean([cells.sum(axis=0) for cells, _ in self._rows], axis=0)

    def at_weights(self, metrics: Sequence[str], weights: np.ndarray) -> dict[str, np.ndarray]:
        """Metric -> (D,) at weights of patients (D, P), in the order of ids; "auroc" is the macro one.

        With repeated splits it is the mean over repeats; NaN where undefined.
        """
        weights = weights.astype(float)
        found: dict[str, np.ndarray] = {}
        if any(m.startswith("auroc") for m in metrics):
            each = np.stack([s.at_weights(["auroc"], weights)["auroc"] for s in self.by_class.values()], axis=1)
            share = weights @ self.sides
            found["auroc_macro"] = found["auroc"] = each.mean(axis=1)
            found["auroc_weighted"] = ratio((each * share).sum(axis=1), share.sum(axis=1))
        of_repeats = [_of_rows(*(np.tensordot(weights, v, axes=1) for v in rows)) for rows in self._rows]
        found |= {m: np.mean([values[m] for values in of_repeats], axis=0) for m in of_repeats[0]}
        return {m: found[m] for m in metrics}

    def resampled(self, metrics: Iterable[str], draws: int, seed: int) -> dict[str, Resampled]:
        """Metrics on the same draws of patients, whole and within strata of their classes."""
        new = [m for m in metrics if m not in self._drawn]
        if new:
            counts = drawn_counts(self.strata.tobytes(), draws, seed)
            value, drawn = (self.at_weights(new, w) for w in (np.ones((1, counts.shape[1])), counts))
            left = jackknife(
                lambda w: np.stack(list(self.at_weights(new, w).values()), axis=1), counts.shape[1],
                np.argsort(self.strata, kind="stable"),
            )  # fmt: skip
            for m, without in zip(new, left.T, strict=True):
                bounds = _BOUNDS.get(m, (0.0, 1.0))
                self._drawn[m] = Resampled(float(value[m][0]), drawn[m], without, bounds=bounds)
        return self._drawn

    def interval(self, metric: str, draws: int, seed: int) -> Estimate:
        """A metric with its bias-corrected interval over patients, or why there is none; "auroc" is the macro one.

        Draws are widened by what drawing from the few patients of a class lacks.
        """
        metric = "auroc_macro" if metric == "auroc" else metric
        why = self.lacking if metric in OVER_CLASSES else "" if self.n_units else "no labelled test patient"
        if why:
            return Estimate(None, reason=why)
        result = self.resampled([metric], draws, seed)[metric]
        if metric in OVER_CLASSES and self.fewest < 2:
            return Estimate(result.value, reason=SINGLE)
        share = metric not in _BOUNDS
        return bca_interval(result.widened(self.strata), self.fewest if share else 0)

    def auroc(self, draws: int, seed: int) -> Resampled:
        """The macro AUROC, its draws with the spread that `interval` reports."""
        return self.resampled(["auroc_macro"], draws, seed)["auroc_macro"].widened(self.strata)

    def difference(self, other: ClassSample, metric: str, draws: int, seed: int) -> Resampled:
        """A metric less that of another run on the same draws of the same patients."""
        paired = self.resampled([metric], draws, seed)[metric] - other.resampled([metric], draws, seed)[metric]
        return replace(paired.widened(self.strata), bounds=(-1.0, 1.0))

    def shared(self, other: ClassSample) -> tuple[ClassSample, ClassSample]:
        """Both on the rows that both have, in one order."""
        pairs = {name: sample.shared(other.by_class[name]) for name, sample in self.by_class.items()}
        first, second = (ClassSample({name: pair[at] for name, pair in pairs.items()}) for at in (0, 1))
        return first, second


def _summed(values: np.ndarray, patient: np.ndarray, patients: int) -> np.ndarray:
    """Rows (N, ...) summed by patient, (P, ...)."""
    out = np.zeros((patients, *values.shape[1:]))
    np.add.at(out, patient, values)
    return out


def _of_rows(cells: np.ndarray, losses: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of decisions and of losses from their sums (D, K, K) and (D, 3)."""
    total, true, said = cells.sum(axis=(1, 2)), cells.sum(axis=2), cells.sum(axis=1)
    right = np.einsum("dkk->dk", cells)
    seen, by_chance = ratio(right.sum(axis=1), total), ratio((true * said).sum(axis=1), total**2)
    return {
        "accuracy": seen,
        "balanced_accuracy": ratio(right, true).mean(axis=1),
        "macro_f1": np.where(true > 0, ratio(2 * right, true + said), np.nan).mean(axis=1),
        "kappa": ratio(seen - by_chance, 1 - by_chance),
        "log_loss": ratio(losses[:, 0], losses[:, 2]),
        "brier": ratio(losses[:, 1], losses[:, 2]),
    }

"""How two groups of patients differ: labels, clinical columns, scan settings, grey values; and all at once.

Numbers have one measure: how often an external patient's value is above that of a patient of
development (ties half). 0.5 is no difference, 0 and 1 are no overlap; it is an AUROC, and so is the
figure for many columns at once, by a rule that is learned on some patients and asked about others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.levels import ALPHA, MIN_GROUP_PATIENTS
from scan2gene.core.study import Study
from scan2gene.core.study_runs import Split
from scan2gene.core.tables import EXTERNAL
from scan2gene.core.text import listed, number_text, percent, quartiles
from scan2gene.evaluate.baselines import STRENGTH, clinical_table, design, in_units, metadata_table
from scan2gene.stats.intervals import Estimate
from scan2gene.stats.label_permutation import Part, permute_labels
from scan2gene.stats.linear import ridge_logistic, ridge_scores
from scan2gene.stats.proportions import effective_counts, newcombe
from scan2gene.stats.resampling import Sample
from scan2gene.tasks.outputs import question_names

FOLDS = 5  # in which a rule is learned and asked
COMPONENTS = 20  # of embeddings, at most
EXCHANGES = 399  # behind a P value
GROUPS = ("clinical", "scan", "grey")
NAMES = {"clinical": "clinical data", "scan": "scan settings", "grey": "grey values"}
LABEL, WORDS, NUMBERS, TOGETHER = "prevalence", "new values", "separation", "told apart"


@dataclass(frozen=True)
class Shift:
    """One thing in which external patients may differ from those of development.

    Args:
        split: With external sites.
        kind: "label", or one of `GROUPS`.
        what: Target or column; empty for all columns of the kind at once.
        measure: "prevalence" (outside less inside), "separation", "told apart" (both AUROCs, 0.5 is no
            difference), or "new values" (share of external patients with a word that development lacks).
        inside: In words.
        outside: In words.
        estimate: Of the measure.
        n: Patients inside and outside.
        p: Of "told apart", one-sided, by patients exchanged between inside and outside; None for the others.
    """

    split: str
    kind: str
    what: str
    measure: str
    inside: str
    outside: str
    estimate: Estimate
    n: tuple[int, int]
    p: float | None = None

    @property
    def differs(self) -> bool:
        """Whether the two groups are shown to differ."""
        low, high = self.estimate.low, self.estimate.high
        if low is None or high is None or self.measure == WORDS:
            return False
        if self.measure == TOGETHER:  # folds share what the rule is learned from, which the interval does not know
            return low > 0.5 and self.p is not None and self.p < ALPHA
        return not low <= (0.0 if self.measure == LABEL else 0.5) <= high

    def row(self) -> dict[str, Any]:
        """As a row of shift.csv."""
        e = self.estimate
        return {"split": self.split, "kind": self.kind, "what": self.what, "measure": self.measure,
                "inside": self.inside, "outside": self.outside, "value": e.value, "low": e.low, "high": e.high,
                "n_inside": self.n[0], "n_outside": self.n[1], "p": self.p, "reason": e.reason}  # fmt: skip


def shifts(
    study: Study, cohort: pd.DataFrame, series: pd.DataFrame, labels: pd.DataFrame, split: pd.DataFrame,
    volume_mm3: pd.Series | None = None, grey: pd.DataFrame | None = None,
) -> list[Shift]:  # fmt: skip
    """Everything that is known of patients, held against each other, for each split with external sites.

    Args:
        study: Its targets and splits.
        cohort: cohort.csv.
        series: series.csv.
        labels: labels.csv from `one_vs_rest`.
        split: split.csv.
        volume_mm3: Of the lesion, by patient_id.
        grey: Measures of prepared volumes, by patient_id; None where none was read.
    """
    outward = [s for s in study.splits if s.external]
    if not outward:
        return []
    scan = metadata_table(cohort, series)
    tables = {
        "clinical": clinical_table(cohort, series, volume_mm3),
        "scan": scan.drop(columns=["site"], errors="ignore"),
        "grey": pd.DataFrame() if grey is None else grey,
    }
    found = []
    for one in outward:
        first = split[split["split"] == one.name].drop_duplicates("patient_id").set_index("patient_id")
        far = first["part"] == EXTERNAL
        found += [_label(one, target, labels, far) for target in question_names(study.targets)]
        for kind, table in tables.items():
            own = table.reindex(far.index.intersection(table.index))
            shown = in_units(own)
            columns = [_column(one, kind, str(c), shown[c], far, study) for c in shown]
            if columns:
                found.append(_together(one, kind, own, far, study))
            found += sorted(columns, key=_size, reverse=True)
    return found


def _size(shift: Shift) -> float:
    value = shift.estimate.value
    return -1.0 if value is None else value if shift.measure == WORDS else 2 * abs(value - 0.5)


def _label(split: Split, target: str, labels: pd.DataFrame, far: pd.Series) -> Shift:
    """Prevalence outside less inside."""
    own = labels[(labels["target"] == target) & labels["value"].notna() & labels["patient_id"].isin(far.index)]
    outside = own["patient_id"].map(far).astype(bool)
    groups = (own[~outside], own[outside])
    unit = "sides " if own["patient_id"].duplicated().any() else ""
    inside, far_words = (
        f"{t['value'].sum():.0f} of {len(t)} {unit}positive ({percent(t['value'].mean())})"
        if len(t) else "no label is known" for t in groups
    )  # fmt: skip
    near, far_counts = (effective_counts(t) for t in groups)
    known = all(len(t) for t in groups)
    estimate = newcombe(*far_counts, *near) if known else Estimate(None, reason="no label is known")
    people = (own.loc[~outside, "patient_id"].nunique(), own.loc[outside, "patient_id"].nunique())
    return Shift(split.name, "label", target, LABEL, inside, far_words, estimate, people)


def _column(split: Split, kind: str, name: str, values: pd.Series, far: pd.Series, study: Study) -> Shift:
    far = far.reindex(values.index).astype(bool)
    if pd.api.types.is_numeric_dtype(values):
        known = values.notna()
        inside, outside = values[known & ~far], values[known & far]
        estimate, n = _separation(inside, outside, study), (len(inside), len(outside))
        if name == "date":  # that exams were made later is no secret, when they were is
            return Shift(split.name, kind, name, NUMBERS, "", "", estimate, n)
        told = _share if set(values[known]) == {0.0, 1.0} else quartiles
        near, external = (told(group) or "not known" for group in (inside, outside))
        return Shift(split.name, kind, name, NUMBERS, near, external, estimate, n)
    inside, outside = values[~far], values[far]
    new = ~outside.isin(set(inside))
    value = Estimate(float(new.mean())) if len(outside) else Estimate(None, reason="no external patient")
    n = (len(inside), len(outside))
    return Shift(split.name, kind, name, WORDS, _commonest(inside), _commonest(outside), value, n)


def _share(values: pd.Series) -> str:
    return f"{percent(values.mean())} are 1" if len(values) else ""


def _commonest(values: pd.Series) -> str:
    """The commonest words; those of fewer than `MIN_GROUP_PATIENTS` are only counted: one may tell who it is."""
    counts = values.replace("", "not given").value_counts()
    shown = counts[counts >= MIN_GROUP_PATIENTS].head(3)
    rest = int(counts.sum() - shown.sum())
    return ", ".join([*(f"{name} {n}" for name, n in shown.items()), *([f"others {rest}"] if rest else [])])


def _separation(inside: pd.Series, outside: pd.Series, study: Study) -> Estimate:
    fewest = min(len(inside), len(outside))
    if fewest < MIN_GROUP_PATIENTS:
        return Estimate(None, reason=f"known of {fewest} patients on one side, and {MIN_GROUP_PATIENTS} are needed")
    table = _as_sample(pd.concat([inside, outside]), np.arange(len(inside) + len(outside)) >= len(inside))
    return Sample(table).interval("auroc", study.evaluate.bootstrap, study.seed)


def _together(split: Split, kind: str, table: pd.DataFrame, far: pd.Series, study: Study) -> Shift:
    far = far.reindex(table.index).astype(bool)
    estimate = domain_auroc([(table, far)], study.evaluate.bootstrap, study.seed)
    n = (int((~far).sum()), int(far.sum()))
    p = domain_p_value(table, far, study.seed) if estimate.value is not None else None
    return Shift(split.name, kind, "", TOGETHER, "", "", estimate, n, p)


def domain_p_value(table: pd.DataFrame, far: pd.Series, seed: int, exchanges: int = EXCHANGES) -> float | None:
    """One-sided P value that columns tell external patients: patients exchanged within folds, the rule learned anew.

    Args:
        table: By patient_id, of numbers and words.
        far: Which patients are external.
        seed: Of folds and exchanges.
        exchanges: How many.

    Source: Ojala and Garriga 2010, by `permute_labels`, with ridge regression as the rule.
    """
    group = far.reindex(table.index).to_numpy(bool)
    fold = _folds(group, min(FOLDS, int(min(group.sum(), (~group).sum()))), seed)
    parts = []
    for k in np.unique(fold):
        learn, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        parts.append(Part(learn, test, *design(table.iloc[learn], table.iloc[test])))
    return permute_labels(group.astype(float), fold, parts, ridge_scores, exchanges, seed).p


def domain_auroc(fits: Sequence[tuple[pd.DataFrame, pd.Series]], draws: int, seed: int) -> Estimate:
    """AUROC with which a rule tells external from other patients, cross-validated: 0.5 where it cannot.

    Args:
        fits: Tables by patient_id, of numbers and words, and which patients are external; several where
            several networks have features. Tables with fewer than `MIN_GROUP_PATIENTS` of a group are left out.
        draws: Bootstrap draws of patients.
        seed: Of folds and draws.

    Returns:
        Mean over the tables. The rule is ridge logistic regression on standardised columns, above
        `COMPONENTS` on their first principal axes.
    """
    scored = []
    for number, (table, far) in enumerate(fits):
        far = far.reindex(table.index).to_numpy(bool)
        fewest = int(min(far.sum(), (~far).sum()))
        if fewest >= MIN_GROUP_PATIENTS:
            fold = _folds(far, min(FOLDS, fewest), seed + number)
            score = np.empty(len(far))
            for k in np.unique(fold):
                score[fold == k] = _asked(table[fold != k], far[fold != k], table[fold == k])
            scored.append(_as_sample(pd.Series(score, table.index), far).assign(repeat=number, fold=fold))
    if not scored:
        return Estimate(None, reason=f"fewer than {MIN_GROUP_PATIENTS} patients on one side")
    return Sample(pd.concat(scored, ignore_index=True)).interval("auroc", draws, seed)


def _folds(far: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Fold of each patient, both groups spread evenly."""
    rng = np.random.default_rng(seed)
    fold = np.empty(len(far), int)
    for group in (True, False):
        rows = rng.permutation(np.flatnonzero(far == group))
        fold[rows] = np.arange(len(rows)) % folds
    return fold


def _asked(learn: pd.DataFrame, far: np.ndarray, test: pd.DataFrame) -> np.ndarray:
    if learn.shape[1] > COMPONENTS and all(pd.api.types.is_numeric_dtype(t) for t in learn.dtypes):
        known, asked = learn.to_numpy(float), test.to_numpy(float)
        mean, spread = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
        scale = np.where(spread > 1e-12, spread, np.inf)
        known, asked = np.nan_to_num((known - mean) / scale), np.nan_to_num((asked - mean) / scale)
    else:
        known, asked = design(learn, test)
    if known.shape[1] > COMPONENTS:
        _, _, axes = np.linalg.svd(known, full_matrices=False)
        known, asked = known @ axes[:COMPONENTS].T, asked @ axes[:COMPONENTS].T
        size = known.std(axis=0)
        known, asked = known / np.where(size > 0, size, np.inf), asked / np.where(size > 0, size, np.inf)
    weights, level = ridge_logistic(known, far.astype(float), STRENGTH)
    return asked @ weights + level


def _as_sample(values: pd.Series, far: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"repeat": 0, "fold": 0, "patient_id": values.index.astype(str), "side": "",
                         "y_true": far.astype(float), "prob": values.to_numpy(float)})  # fmt: skip


def differences(found: Sequence[Shift], split: str, target: str) -> str:
    """A sentence about what is shown to differ outside; empty where nothing is."""
    own = [s for s in found if s.split == split and s.differs]
    said = [f"{s.outside}, inside {s.inside}" for s in own if s.kind == "label" and s.what == target]
    told = [f"{NAMES[s.kind]} (AUROC {number_text(s.estimate.value, 2)})" for s in own if s.measure == TOGETHER]
    if told:
        said.append(f"external patients are told from those inside by {listed(told)} alone")
    return f"What differs there: {'; '.join(said)}." if said else ""

"""Models on tables of numbers by scikit-learn, each fitted on training rows with everything that it needs there.

Every output is learned alone, several classes one against the rest. A score is put on a common scale by scores of
training patients whom an inner fold left out: their mean and standard deviation place the models of a mean, and a
logistic regression on them turns the result into log odds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from scan2gene.core.machine import cpus
from scan2gene.stats.linear import calibration_line, column_scale, logit, scaled
from scan2gene.stats.matrices import uncorrelated

VERSION = 2
CLIP = 5.0  # standard deviations; one mad number does not decide
REACH = 10.0  # distances between the quartiles; what lies further beyond them does not count for the spread
CORRELATED = 0.95  # of two columns that agree so far the second goes
INNER_FOLDS = 5
TREES = 100

Estimators = dict[str, Any]  # name -> scikit-learn estimator


def ridge(
    seed: int, *, features: Sequence[str] = (), columns: Sequence[str] = (), strength: float = 0.001
) -> Estimators:
    """Logistic regression with a ridge penalty; `strength` is the inverse of the penalty."""
    from sklearn.linear_model import LogisticRegression

    return {"ridge": LogisticRegression(C=strength, max_iter=2000)}


def elastic_net(
    seed: int, *, features: Sequence[str] = (), columns: Sequence[str] = (), strength: float = 0.1, share: float = 0.5
) -> Estimators:
    """Logistic regression with an elastic-net penalty, `share` of it lasso.

    Source: Zou and Hastie 2005, "Regularization and variable selection via the elastic net".
    """
    from sklearn.linear_model import LogisticRegression

    fit = LogisticRegression(C=strength, l1_ratio=share, solver="saga", max_iter=300, tol=1e-3, random_state=seed)
    return {"elastic_net": fit}


def pca_logistic(
    seed: int, *, features: Sequence[str] = (), columns: Sequence[str] = (), strength: float = 0.1,
    variance: float = 0.8,
) -> Estimators:  # fmt: skip
    """Logistic regression on the principal components that hold a share of the variance."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    components = PCA(variance, svd_solver="full")
    return {"pca_logistic": make_pipeline(components, LogisticRegression(C=strength, max_iter=2000))}


def svm(seed: int, *, features: Sequence[str] = (), columns: Sequence[str] = (), cost: float = 1.0) -> Estimators:
    """Support vector machine with radial basis functions."""
    from sklearn.svm import SVC

    return {"svm": SVC(C=cost)}


def random_forest(
    seed: int, *, features: Sequence[str] = (), columns: Sequence[str] = (), trees: int = TREES, leaf: int = 3
) -> Estimators:
    """Random forest; leaves of `leaf` patients at least.

    Source: Breiman 2001, "Random forests".
    """
    from sklearn.ensemble import RandomForestClassifier

    return {"random_forest": RandomForestClassifier(trees, min_samples_leaf=leaf, random_state=seed)}


def extra_trees(
    seed: int, *, features: Sequence[str] = (), columns: Sequence[str] = (), trees: int = TREES, leaf: int = 3
) -> Estimators:
    """Extremely randomised trees.

    Source: Geurts, Ernst and Wehenkel 2006, "Extremely randomized trees".
    """
    from sklearn.ensemble import ExtraTreesClassifier

    return {"extra_trees": ExtraTreesClassifier(trees, min_samples_leaf=leaf, random_state=seed)}


def boosting(
    seed: int, *, features: Sequence[str] = (), columns: Sequence[str] = (), trees: int = 100, depth: int = 2,
    rate: float = 0.05,
) -> Estimators:  # fmt: skip
    """Gradient boosting of small trees, each on 70 % of the patients.

    Source: Friedman 2002, "Stochastic gradient boosting".
    """
    from sklearn.ensemble import GradientBoostingClassifier

    fit = GradientBoostingClassifier(
        n_estimators=trees, max_depth=depth, learning_rate=rate, subsample=0.7, max_features="sqrt", random_state=seed
    )
    return {"boosting": fit}


def mean(
    seed: int, *, features: Sequence[str] = (), columns: Sequence[str] = (), models: Sequence[str] = ()
) -> Estimators:
    """Mean of the standardised scores of several models, of which none is chosen; default: of all others here."""
    return {name: estimator for model in models or SINGLE for name, estimator in SINGLE[model](seed).items()}


SINGLE: dict[str, Callable[..., Estimators]] = {
    "ridge": ridge,
    "elastic_net": elastic_net,
    "pca_logistic": pca_logistic,
    "svm": svm,
    "random_forest": random_forest,
    "extra_trees": extra_trees,
    "boosting": boosting,
}
MODELS = {**SINGLE, "mean": mean}


@dataclass(frozen=True)
class TableModel:
    """A fitted model.

    Args:
        median: (F,) of training rows, for what is missing; so are `mean` and `spread`, which is 0 where constant.
        mean: See there.
        spread: See there.
        kept: Numbers of the columns that are used.
        fitted: For each output its estimators; none where training has one class.
        placed: For each output estimator -> mean and standard deviation of its inner scores.
        line: (T, 2) slope and intercept from the mean of standardised scores to log odds.
    """

    median: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    kept: np.ndarray
    fitted: list[Estimators]
    placed: list[dict[str, tuple[float, float]]]
    line: np.ndarray

    def logits(self, values: np.ndarray) -> np.ndarray:
        """(N, F) -> (N, T)."""
        x = _standardised(values, self.median, self.mean, self.spread)[:, self.kept]
        out = np.zeros((len(x), len(self.fitted)))
        for column, (fitted, placed) in enumerate(zip(self.fitted, self.placed, strict=True)):
            slope, intercept = self.line[column]
            out[:, column] = slope * _mean({n: _score(e, x) for n, e in fitted.items()}, placed) + intercept
        return out


def fit_table_model(
    values: np.ndarray, targets: np.ndarray, patients: np.ndarray, estimators: Mapping[str, Any], seed: int
) -> tuple[TableModel, np.ndarray]:
    """Fit one model per output.

    Args:
        values: (N, F) numbers of training rows, NaN where missing.
        targets: (N, T) 0, 1 or NaN.
        patients: (N,) ids; inner folds keep a patient's rows together.
        estimators: Name -> estimator that is not fitted yet.
        seed: Of inner folds.

    Returns:
        The model, and log odds (N, T) of training rows by inner folds that left them out; NaN where there are none.
    """
    from sklearn import clone
    from sklearn.exceptions import ConvergenceWarning

    scale = column_scale(_within_reach(values))
    x = _standardised(values, *scale)
    varied = np.flatnonzero(scale[2] > 0)
    kept = varied[uncorrelated(x[:, varied], CORRELATED)]
    x = x[:, kept]
    labelled = [np.flatnonzero(~np.isnan(column)) for column in targets.T]
    answers = [targets[rows, column].astype(int) for column, rows in enumerate(labelled)]
    both = [bool(len(kept)) and len(np.unique(y)) == 2 for y in answers]
    tasks = [(column, name) for column, trained in enumerate(both) for name in estimators if trained]

    def work(task: tuple[int, str]) -> tuple[np.ndarray, Any]:
        rows, y, estimator = labelled[task[0]], answers[task[0]], estimators[task[1]]
        fitted = clone(estimator).fit(x[rows], y)
        level = _score(fitted, x[rows]).mean()
        return level + _inner_scores(estimator, x[rows], y, patients[rows], seed), fitted

    with warnings.catch_warnings(), ThreadPoolExecutor(cpus()) as pool:
        warnings.simplefilter("ignore", ConvergenceWarning)  # a penalised fit near its end ranks as at its end
        warnings.filterwarnings("ignore", message=".*sklearn.utils.parallel.delayed")  # forests on threads of ours
        done = dict(zip(tasks, pool.map(work, tasks), strict=True))
    lines, inner = np.zeros((len(both), 2)), np.full(targets.shape, np.nan)
    fitted: list[Estimators] = [{} for _ in both]
    placed: list[dict[str, tuple[float, float]]] = [{} for _ in both]
    for column, y in enumerate(answers):
        if not both[column]:
            lines[column, 1] = logit((y.sum() + 0.5) / (len(y) + 1))
            continue
        scores = {name: done[column, name][0] for name in estimators}
        fitted[column] = {name: done[column, name][1] for name in estimators}
        placed[column] = {n: (float(s.mean()), max(float(s.std()), 1e-9)) for n, s in scores.items()}
        z = _mean(scores, placed[column])
        lines[column] = calibration_line(z, y.astype(float))
        inner[labelled[column], column] = lines[column, 0] * z + lines[column, 1]
    return TableModel(*scale, kept, fitted, placed, lines), inner


def _within_reach(values: np.ndarray) -> np.ndarray:
    """Columns with numbers far beyond the quartiles drawn in: else one of them takes the spread of all others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without any value
        low, high = np.nanquantile(values, [0.25, 0.75], axis=0)
    reach = np.where(high > low, REACH * (high - low), np.inf)
    return np.clip(values, low - reach, high + reach)


def _standardised(values: np.ndarray, median: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    return np.clip(scaled(values, median, mean, spread), -CLIP, CLIP)


def _mean(scores: Mapping[str, np.ndarray], placed: Mapping[str, tuple[float, float]]) -> Any:
    """(N,) mean of standardised scores; 0 without any."""
    return sum((scores[n] - at) / width for n, (at, width) in placed.items()) / max(len(placed), 1)


def _score(estimator: Any, x: np.ndarray) -> np.ndarray:
    """(N,) the larger, the more like a positive."""
    if hasattr(estimator, "decision_function"):
        return estimator.decision_function(x)
    return logit(estimator.predict_proba(x)[:, 1], edge=0.01)


def inner_folds(y: np.ndarray, patients: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to learn from and rows left out, five times over or as often as the rarest class has patients.

    Args:
        y: (N,) classes, all known.
        patients: (N,) ids; a patient's rows stay together.
        seed: Of the folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    rarest = min(len(set(patients[y == label])) for label in np.unique(y))
    folds = min(INNER_FOLDS, rarest)
    if folds < 2 or len(np.unique(y)) < 2:
        return
    for learn, left_out in StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**32).split(y, y, patients):
        if len(np.unique(y[learn])) > 1:
            yield learn, left_out


def _inner_scores(estimator: Any, x: np.ndarray, y: np.ndarray, patients: np.ndarray, seed: int) -> np.ndarray:
    """(N,) scores by models that were fitted without the row's patient; by one of all rows where a class has one.

    A model's scores are taken from their mean over the rows that it learned from: where more positives were left out,
    the intercept is lower, and scores of several folds together would otherwise be worse than chance.
    """
    from sklearn import clone

    def centred(learn: np.ndarray, rows: np.ndarray) -> np.ndarray:
        fitted = clone(estimator).fit(x[learn], y[learn])
        return _score(fitted, x[rows]) - _score(fitted, x[learn]).mean()

    scores, everyone = np.full(len(y), np.nan), np.arange(len(y))
    for learn, left_out in inner_folds(y, patients, seed):
        scores[left_out] = centred(learn, left_out)
    if np.isnan(scores).all():
        return centred(everyone, everyone)
    return np.where(np.isnan(scores), np.nanmean(scores), scores)

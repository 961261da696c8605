"""ComBat: the location and scale of each site taken out of a table of numbers, by empirical Bayes.

A column is level + covariates + spread * (site's shift + site's scale * noise). Shifts and scales of
a site are drawn towards what the site does to columns on average, as far as its patients leave open.
Everything is fitted on training rows. Labels may stand among the covariates there, so that a site
with more positives is not taken for a shifted scanner; to harmonise a row no label is asked for.

Sources: Johnson, Li and Rabinovic 2007, "Adjusting batch effects in microarray expression data using
empirical Bayes methods"; Fortin et al. 2018, "Harmonization of cortical thickness measurements across
scanners and sites", NeuroImage 167.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scan2gene.core.text import counted

MIN_SITE_ROWS = 2  # rows of a site, below which nothing is known of its scale
MIN_NEW_SITE_ROWS = 10  # rows of a site that training lacks, below which it is left alone
MIN_SPREAD_VALUES = 10  # of a site in a column, below which that column alone does not tell the site's spread
_STEPS, _CLOSE = 1000, 1e-6


@dataclass(frozen=True)
class Combat:
    """A fitted harmonisation of F columns.

    Args:
        sites: S names.
        level: (F,) of training rows, sites weighed by their rows.
        slopes: (C, F) of covariates that are known of every row; labels are not among them.
        middle: (C,) means of these covariates in training.
        spread: (F,) standard deviation within sites; 0 where a column never varies.
        shift: (S, F) in spreads.
        scale: (S, F) in spreads.
        pooled: Whether shifts and scales were drawn towards the site's mean over columns.
        notes: What could not be estimated.
    """

    sites: tuple[str, ...]
    level: np.ndarray
    slopes: np.ndarray
    middle: np.ndarray
    spread: np.ndarray
    shift: np.ndarray
    scale: np.ndarray
    pooled: bool
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in asdict(self).items()}

    @classmethod
    def of_json(cls, values: dict[str, Any]) -> Combat:
        """From `as_json`."""
        columns = len(values["level"])
        arrays = {k: np.array(values[k], float) for k in ("level", "middle", "spread")}
        arrays |= {k: np.array(values[k], float).reshape(-1, columns) for k in ("slopes", "shift", "scale")}
        return cls(tuple(values["sites"]), pooled=values["pooled"], notes=tuple(values["notes"]), **arrays)


def fit_combat(
    values: np.ndarray, site: Sequence[str] | np.ndarray, kept: np.ndarray | None = None,
    labels: np.ndarray | None = None, pool: bool = True,
) -> Combat:  # fmt: skip
    """Learn what each site does to each column.

    Args:
        values: (N, F) of training rows; NaN where missing, which are left out, column by column.
        site: N names; "" where unknown, and such rows are left out.
        kept: (N, C) covariates whose effect is to stay, known of every row later on; NaN takes the mean.
        labels: (N, T) of training, whose effect is to stay and which later rows need not have.
        pool: Empirical Bayes over columns; False takes each column by itself.

    Raises:
        ValueError: Fewer than two sites with `MIN_SITE_ROWS` rows: there is nothing to harmonise.
    """
    names, counts = np.unique([s for s in site if s], return_counts=True)
    small = [str(n) for n, c in zip(names, counts, strict=True) if c < MIN_SITE_ROWS]
    names = names[counts >= MIN_SITE_ROWS]
    if len(names) < 2:
        there = f"{counted(len(names), 'site')} with {MIN_SITE_ROWS} training rows"
        verb = "is" if len(names) == 1 else "are"
        raise ValueError(f"harmonisation cannot be estimated, because there {verb} {there}")
    notes = [f"site {s} has one training row, so its scale cannot be estimated; it counts as unknown" for s in small]
    rows = np.isin(np.asarray(site, object), names)
    values, at = np.asarray(values, float)[rows], np.asarray(site, object)[rows]
    member = (at[:, None] == names).astype(float)  # (N, S)
    covariates, middle, columns, told = _covariates(member, kept, labels, rows)
    wanted = 0 if kept is None else kept.shape[1]
    known = ~np.isnan(values)
    design = np.concatenate([member, covariates], axis=1)
    found = _coefficients(design, values, known, len(names))  # (S + C + T, F)
    counts = member.T @ known  # (S, F)
    level = (counts * found[: len(names)]).sum(axis=0) / np.maximum(counts.sum(axis=0), 1)
    squares = np.where(known, values - design @ found, 0.0) ** 2
    spread = np.sqrt(squares.sum(axis=0) / np.maximum(known.sum(axis=0), 1))
    still = spread <= 1e-9 * np.maximum(np.abs(level), 1e-9)
    safe = np.where(still, 1.0, spread)
    z = (values - level - covariates @ found[len(names) :]) / safe
    z[:, still] = 0.0
    shift, scale, pooled = _sites(z, member, ~still, pool)
    if not pooled:
        few = [str(n) for n, c in zip(names, counts[:, ~still], strict=True) if (c < MIN_SPREAD_VALUES).any()]
        notes += [f"site {s} has too few training rows for its spread where each column is taken by itself; only its "
                  "level is taken out" for s in few]  # fmt: skip
    slopes = np.zeros((wanted, values.shape[1]))
    for number, column in enumerate(columns):
        if column < wanted:
            slopes[column] = found[len(names) + number]
    return Combat(tuple(map(str, names)), level, slopes, middle[:wanted], np.where(still, 0.0, spread), shift, scale,
                  pooled, (*notes, *told))  # fmt: skip


def _coefficients(design: np.ndarray, values: np.ndarray, known: np.ndarray, sites: int) -> np.ndarray:
    """Least squares of each column on the rows in which it is known; 0 for what these do not tell."""
    found = np.zeros((design.shape[1], values.shape[1]))
    whole = known.all(axis=0)
    found[:, whole] = np.linalg.lstsq(design, values[:, whole], rcond=None)[0]
    for column in np.flatnonzero(~whole & known.any(axis=0)):
        rows = known[:, column]
        present = np.flatnonzero(design[rows, :sites].any(axis=0))
        told = [*present, *(sites + np.array(_apart(design[rows][:, present], design[rows, sites:]), int))]
        found[told, column] = np.linalg.lstsq(design[rows][:, told], values[rows, column], rcond=None)[0]
    return found


def _apart(taken: np.ndarray, table: np.ndarray) -> list[int]:
    """Columns of a table that are no mixture of those taken and of columns before them."""
    columns = []
    for number in range(table.shape[1]):
        column = table[:, number : number + 1]
        wider = np.concatenate([taken, column / max(float(np.abs(column).max(initial=0)), 1e-12)], axis=1)
        if np.linalg.matrix_rank(wider, tol=1e-6 * np.sqrt(len(wider))) > taken.shape[1]:
            taken = wider
            columns.append(number)
    return columns


def _covariates(
    member: np.ndarray, kept: np.ndarray | None, labels: np.ndarray | None, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[int], list[str]]:
    """Centred columns that are no mixture of the sites and of columns before them, their means, and which they are."""
    given = [np.asarray(t, float)[rows] for t in (kept, labels) if t is not None]
    empty = np.zeros((len(member), 0))
    table = np.concatenate(given, axis=1) if given else empty
    known = ~np.isnan(table)
    middle = np.where(known, table, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    table = np.where(known, table, middle) - middle
    columns = _apart(member, table)
    lost = "a covariate or label is the same for all patients of each site, so it cannot be told from it"
    notes = [lost] * (table.shape[1] - len(columns))
    return table[:, columns], middle, columns, notes


def _sites(
    z: np.ndarray, member: np.ndarray, varies: np.ndarray, pool: bool
) -> tuple[np.ndarray, np.ndarray, bool]:  # fmt: skip
    shift, scale = np.zeros((member.shape[1], z.shape[1])), np.ones((member.shape[1], z.shape[1]))
    pooled = pool and int(varies.sum()) > 2
    for number, rows in enumerate(member.T.astype(bool)):
        shift[number, varies], scale[number, varies] = _of_site(z[rows][:, varies], pooled)
    return shift, scale, pooled


def _of_site(z: np.ndarray, pooled: bool) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale of one site's standardised rows (n, F), NaN where missing, by empirical Bayes where `pooled`."""
    known = ~np.isnan(z)
    n = known.sum(axis=0)
    z = np.where(known, z, 0.0)
    mean = z.sum(axis=0) / np.maximum(n, 1)
    variance = (np.where(known, z - mean, 0.0) ** 2).sum(axis=0) / np.maximum(n - 1, 1)
    told, spread = n > 0, n > 1
    if not pooled or min(told.sum(), spread.sum()) < 2:
        return mean, np.sqrt(np.where((variance > 0) & (n >= MIN_SPREAD_VALUES), variance, 1.0))
    prior_mean, prior_variance = float(mean[told].mean()), float(mean[told].var(ddof=1))
    m, s2 = float(variance[spread].mean()), float(variance[spread].var(ddof=1))
    if m <= 0:
        return mean, np.ones_like(mean)
    if s2 <= 1e-12 * m * m:  # all columns alike: nothing to draw together
        return mean, np.sqrt(np.full_like(mean, m))
    a, b = (2 * s2 + m * m) / s2, (m * s2 + m**3) / s2  # of an inverse gamma with that mean and variance
    shift, scale = mean, variance
    for _ in range(_STEPS):
        new = (n * prior_variance * mean + scale * prior_mean) / (n * prior_variance + scale)
        squares = (np.where(known, z - new, 0.0) ** 2).sum(axis=0)
        wider = (0.5 * squares + b) / (0.5 * n + a - 1)
        moved = max(float(np.abs(new - shift).max()), float((np.abs(wider - scale) / wider).max()))
        shift, scale = new, wider
        if moved < _CLOSE:
            break
    return shift, np.sqrt(scale)


def harmonised(
    model: Combat,
    values: np.ndarray,
    site: Sequence[str] | np.ndarray,
    kept: np.ndarray | None = None,
    unknown: str = "leave",
) -> np.ndarray:
    """Rows as if all sites were alike; no label is needed.

    Args:
        model: Fitted.
        values: (N, F); NaN stays.
        site: N names; "" and sites that training lacks are unknown.
        kept: (N, C) as in `fit_combat`.
        unknown: "leave" gives rows of unknown sites back as they are; "estimate" learns the shift and scale of
            each such site from the rows at hand, where there are `MIN_NEW_SITE_ROWS` of them: it looks at their
            columns, not at labels, and takes the site's prevalence to be that of training.

    Returns:
        (N, F).
    """
    values = np.asarray(values, float)
    about = np.zeros((len(values), 0)) if kept is None else np.asarray(kept, float)
    about = np.where(np.isnan(about), model.middle, about) - model.middle
    base = model.level + about @ model.slopes
    varies = model.spread > 0
    safe = np.where(varies, model.spread, 1.0)
    z = (values - base) / safe
    out, at = values.copy(), np.asarray(site, object)
    for name in dict.fromkeys(at.tolist()):
        rows = at == name
        if name in model.sites:
            shift, scale = (t[model.sites.index(name)] for t in (model.shift, model.scale))
        elif unknown == "estimate" and name and rows.sum() >= MIN_NEW_SITE_ROWS:
            (shift,), (scale,), _ = _sites(z[rows], np.ones((int(rows.sum()), 1)), varies, model.pooled)
        else:
            continue
        new = (z[rows] - shift) / scale * safe + base[rows]
        out[rows] = np.where(varies, new, values[rows])
    return out


UNKNOWN = ("leave", "estimate")

"""`make results`: how often the reported 95 % interval of an AUROC holds the truth, beside what else is in use.

Scores are binormal with a known AUROC. In five folds every fold's scores have a scale of their own, as networks
have; pairs count inside folds, and so does the truth. Cells that were done are kept in runs/coverage/, so that a
stopped run goes on; `python studies/interval_coverage.py 200` makes so many cohorts a cell, of 2,000.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from scan2gene import __version__
from scan2gene.core.files import write_json, write_text
from scan2gene.evaluate.delong import delong_interval
from scan2gene.evaluate.intervals import interval_of
from scan2gene.evaluate.sample import Sample

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "runs" / "coverage"
PAGE = ROOT / "docs" / "results" / "coverage.md"
COHORTS, DRAWS = 2_000, 600
CELLS = [
    {"n": n, "prevalence": p, "auroc": a, "folds": f}
    for n in (60, 150, 600)
    for p in (0.2, 0.5)
    for a in (0.8, 0.9)
    for f in (1, 5)
    if n == 60 or a == 0.8  # the skew of a high AUROC matters where patients are few
]  # fmt: skip
METHODS = {
    "reported": "reported",
    "bca": "plain BCa",
    "percentile": "percentile",
    "delong": "DeLong",
}


def cohort(rng: np.random.Generator, n: int, prevalence: float, auroc: float, folds: int) -> pd.DataFrame:
    """Scored patients, classes spread evenly over folds."""
    positives = round(n * prevalence)
    y = np.repeat([1.0, 0.0], [positives, n - positives])
    fold = np.r_[np.arange(positives) % folds, np.arange(n - positives) % folds]
    score = rng.normal(np.sqrt(2) * norm.ppf(auroc) * y) * (1 + 0.3 * fold) + fold
    names = [f"{i:04d}" for i in range(n)]
    table = {"repeat": 0, "fold": fold, "patient_id": names, "side": "", "y_true": y}
    return pd.DataFrame(table | {"prob": 1 / (1 + np.exp(-score)), "decision": 0.0})


def ends(table: pd.DataFrame, seed: int, folds: int) -> dict[str, tuple[float, float] | None]:
    """Both ends by every method."""
    sample = Sample(table)
    reported, found = sample.interval("auroc", DRAWS, seed), sample.resampled(["auroc"], DRAWS, seed)["auroc"]
    plain = interval_of(found, sample.fewest)
    known: dict[str, Any] = {"reported": (reported.low, reported.high), "bca": (plain.low, plain.high)}
    known["percentile"] = tuple(np.nanquantile(found.draws, [0.025, 0.975]))
    if folds == 1:
        theirs = delong_interval(table["y_true"].to_numpy(), table["prob"].to_numpy())
        known["delong"] = (theirs.low, theirs.high)
    return {m: None if e[0] is None else (float(e[0]), float(e[1])) for m, e in known.items()}


def of_cell(cell: dict[str, Any], cohorts: int) -> dict[str, Any]:
    """Share of cohorts whose interval lies around, above and below the truth, and its mean width, by method."""
    name = "-".join(str(v) for v in (*cell.values(), cohorts, DRAWS))
    path = WORK / f"{name}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    rng = np.random.default_rng(cell["n"] * 1000 + cell["folds"])
    met: dict[str, list[tuple[float, float] | None]] = {}
    for seed in range(cohorts):
        for method, pair in ends(cohort(rng, **cell), seed, cell["folds"]).items():
            met.setdefault(method, []).append(pair)
    truth = cell["auroc"]
    out: dict[str, Any] = {}
    for method, pairs in met.items():
        low, high = np.array([p for p in pairs if p], float).T
        out[method] = {
            "covers": float(((low <= truth) & (truth <= high)).sum() / cohorts),
            "above": float((low > truth).sum() / cohorts),
            "below": float((high < truth).sum() / cohorts),
            "none": len(pairs) - len(low),
            "width": float((high - low).mean()),
        }
    write_json(path, out)
    return out


def page(found: list[tuple[dict[str, Any], dict[str, Any]]], cohorts: int) -> str:
    """The table and what it says."""
    reported = [r["reported"]["covers"] for _, r in found]
    error = float(np.sqrt(0.95 * 0.05 / cohorts))
    rows = [
        [cell["n"], f"{cell['prevalence']:g}", f"{cell['auroc']:g}", cell["folds"]]
        + [f"{r[m]['covers']:.3f}" if m in r else "" for m in METHODS]
        + [f"{r['reported']['above']:.3f} / {r['reported']['below']:.3f}"]
        + [f"{r['reported']['width']:.3f}", f"{r['bca']['width']:.3f}"]
        for cell, r in found
    ]
    small = [r for cell, r in found if cell["n"] == 60]
    worst = {m: min(r[m]["covers"] for r in small if m in r) for m in METHODS}
    wide = [r["bca"]["covers"] for cell, r in found if cell["n"] == 60 and cell["folds"] == 5]
    names = ["patients", "prevalence", "AUROC", "folds", *METHODS.values(), "reported: too high / too low",
             "width", "plain BCa's width"]  # fmt: skip
    table = "\n".join(
        ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
        + ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    )
    low, high = min(reported), max(reported)
    return f"""# How often a 95 % interval of an AUROC holds the truth

Written by `studies/interval_coverage.py`, version {__version__}: {cohorts:,} simulated cohorts a cell,
{DRAWS:,} draws each, binormal scores; the standard error of a share is {error:.3f}. In five folds only pairs inside
folds count, as in a
report. An interval that cannot be made counts as not holding the truth.

{table}

- Reported intervals hold the truth in {low:.3f} to {high:.3f} of the cohorts.
- With 60 patients the percentile bootstrap falls to {worst["percentile"]:.3f} and DeLong's interval to
  {worst["delong"]:.3f}: the scatter of an AUROC is skewed, and they do not follow it. They are for comparison.
- The plain BCa interval is too wide in folds: with 60 patients in five folds it holds the truth in {min(wide):.3f} to
  {max(wide):.3f}. A positive there meets few negatives; drawing patients counts the luck of who shares its fold once
  in who is drawn, and again in the pairs that stay. The reported interval takes the bootstrap's shape, skew and bias
  from the same draws, but their spread from an unbiased estimate over the pairs (two-way analysis of variance inside
  folds, `evaluate/pairs.py`), steadied a little by Hanley and McNeil's, and Student's quantiles, since a spread
  known from 12 patients is not known well.
- Where patients have sides of both classes, the spread stays that of the draws, which is too wide in small folds.
"""


def main(cohorts: int = COHORTS) -> None:
    """Every cell, then the page."""
    found = []
    for cell in CELLS:
        found.append((cell, of_cell(cell, cohorts)))
        print(cell, {m: round(r["covers"], 3) for m, r in found[-1][1].items()}, flush=True)
    if cohorts >= COHORTS:
        write_text(PAGE, page(found, cohorts))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))

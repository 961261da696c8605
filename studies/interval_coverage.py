"""`make results`: how often a reported 95 % interval holds the truth, beside what else is in use.

Scores are binormal with a known AUROC. In five folds every fold's scores have a scale of their own, as networks
have; pairs count inside folds, and so does the truth. Cells that were done are kept in runs/coverage/, so that a
stopped run goes on; `python studies/interval_coverage.py 200` makes so many cohorts a cell, of 2,000, and writes no
page. Metrics other than the AUROC, in few patients, have 1,000; all that takes about an hour on one core, without
the AUROC six minutes.
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
from scan2gene.report.results import METRIC_NAMES
from scan2gene.stats.delong import delong_interval
from scan2gene.stats.intervals import bca_interval
from scan2gene.stats.metrics import PROPORTIONS
from scan2gene.stats.resampling import Sample

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
FEW_COHORTS = 1_000
FEW = [
    {"metric": metric, "n": n, "positives": positives, "auroc": a, "folds": folds, "sides": sides}
    for metric, n, positives, a, folds, sides in (
        ("average_precision", 40, 12, 0.8, 1, 1),
        ("average_precision", 60, 12, 0.62, 1, 1),
        ("average_precision", 80, 8, 0.8, 1, 1),
        ("average_precision", 100, 25, 0.8, 1, 1),
        ("average_precision", 60, 30, 0.8, 1, 1),
        ("average_precision", 40, 12, 0.97, 1, 1),
        ("average_precision", 60, 12, 0.62, 5, 1),
        ("average_precision", 60, 12, 0.65, 1, 2),
        ("average_precision", 1000, 20, 0.85, 1, 1),
        ("average_precision", 200, 6, 0.9, 1, 1),
        ("average_precision", 40, 5, 0.7, 1, 1),
        ("average_precision", 30, 24, 0.7, 1, 1),
        ("average_precision", 40, 12, 0.8, 1, 2),
        ("sensitivity_at_90_specificity", 80, 20, 0.8, 1, 1),
        ("balanced_accuracy", 200, 8, 0.9, 1, 1),
        ("balanced_accuracy", 30, 6, 0.75, 1, 1),
        ("mcc", 80, 8, 0.8, 1, 1),
        ("precision", 80, 8, 0.8, 1, 1),
        ("npv", 60, 54, 0.75, 1, 1),
        ("f1", 60, 12, 0.65, 1, 2),
        ("brier", 30, 6, 0.75, 1, 1),
    )
]
RANDOM = [(4, 0, 4), (3, 2, 3), (2, 4, 2), (0, 8, 0), (4, 4, 4), (6, 0, 6), (0, 6, 6), (10, 5, 10)]
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
    plain = bca_interval(found, sample.fewest)
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


def few_patients(
    rng: np.random.Generator, n: int, positives: int, auroc: float, folds: int, sides: int
) -> pd.DataFrame:
    """Scored patients, or both sides of patients; of these every third positive patient has both sides positive.

    A patient's sides share half of what makes their scores vary. Decisions are midway between the classes.
    """
    y = np.zeros((sides, n))
    y[0, :positives] = 1
    y[1:, :positives:3] = 1
    apart = np.sqrt(2) * norm.ppf(auroc)
    own = rng.normal(size=(sides, n))
    z = own if sides == 1 else np.sqrt(0.5) * (own + rng.normal(size=n))
    score = z + apart * y
    fold = np.r_[np.arange(positives) % folds, np.arange(n - positives) % folds]
    tables = [
        pd.DataFrame({"repeat": 0, "fold": fold, "patient_id": np.arange(n), "side": side, "y_true": y[at],
                      "prob": 1 / (1 + np.exp(-(score[at] * (1 + 0.3 * fold) + 0.3 * fold))),
                      "decision": (score[at] >= apart / 2).astype(float)})
        for at, side in enumerate(("L", "R")[:sides] if sides > 1 else ("",))
    ]  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def of_few(cell: dict[str, Any], cohorts: int) -> dict[str, float]:
    """Truth, mean of the figure, and how often its interval, and the plain BCa, hold the truth."""
    path = WORK / f"{'-'.join(str(v) for v in (*cell.values(), cohorts, DRAWS))}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    metric, sizes = cell["metric"], {k: v for k, v in cell.items() if k != "metric"}
    rng = np.random.default_rng(cell["n"] * 1000 + cell["positives"])
    times = 2_000_000 // cell["n"] // 15 * 15  # whole folds and thirds; of 200,000, rare positives are too few
    many = few_patients(
        np.random.default_rng(1), **sizes | {"n": cell["n"] * times, "positives": cell["positives"] * times}
    )
    truth = float(Sample(many).statistic(metric, np.ones(cell["n"] * times)))
    values, ours, plain = [], [], []
    for seed in range(cohorts):
        sample = Sample(few_patients(rng, **sizes))
        reported = sample.interval(metric, DRAWS, seed)
        fewest = sample.fewest if metric in PROPORTIONS else 0
        values.append(reported.value)
        ours.append((reported.low, reported.high))
        before = bca_interval(sample.resampled([metric], DRAWS, seed)[metric], fewest)
        plain.append((before.low, before.high))
    low, high = np.array([o for o in ours if o[0] is not None], float).T
    known = np.array([p for p in plain if p[0] is not None], float).T
    out = {
        "truth": truth, "mean": float(np.mean([v for v in values if v is not None])),
        "covers": float(((low <= truth) & (truth <= high)).mean()), "above": float((low > truth).mean()),
        "below": float((high < truth).mean()), "width": float((high - low).mean()), "none": cohorts - len(low),
        "bca": float(((known[0] <= truth) & (truth <= known[1])).mean()),
    }  # fmt: skip
    write_json(path, out)
    return out


def of_random(classes: tuple[int, int, int], cohorts: int) -> dict[str, Any]:
    """How often random scores of patients with two sides are called better, or worse, than chance.

    Args:
        classes: Patients with both sides positive, with one of each, with both negative.
        cohorts: How many.
    """
    path = WORK / f"random-{'-'.join(map(str, classes))}-{cohorts}-{DRAWS}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    rng, people = np.random.default_rng(sum(classes)), sum(classes)
    y = np.r_[np.ones(2 * classes[0]), np.tile([1.0, 0.0], classes[1]), np.zeros(2 * classes[2])]
    base = pd.DataFrame({"repeat": 0, "fold": 0, "patient_id": np.repeat(np.arange(people), 2), "y_true": y})
    base["side"] = ["L", "R"] * people
    better = worse = judged = 0
    for seed in range(cohorts):
        score = np.repeat(rng.normal(size=people), 2) + rng.normal(size=2 * people)
        sample = Sample(base.assign(prob=1 / (1 + np.exp(-score)), decision=0.0))
        if sample.too_few:
            continue
        found = sample.interval("auroc", DRAWS, seed)
        judged += 1
        better += found.low is not None and found.low > 0.5
        worse += found.high is not None and found.high < 0.5
    out = {"judged": judged, "better": better / cohorts, "worse": worse / cohorts}
    write_json(path, out)
    return out


def few_page(found: list[tuple[dict[str, Any], dict[str, float]]], null: list[tuple[Any, dict[str, Any]]]) -> str:
    """Metrics of few patients, and random tables of sides."""
    names = ["metric", "patients", "positive", "AUROC", "folds", "sides", "truth", "mean", "reported", "plain BCa",
             "reported: too high / too low", "width"]  # fmt: skip
    rows = [
        [_named(c["metric"]), c["n"], c["positives"], f"{c['auroc']:g}", c["folds"], c["sides"],
         f"{r['truth']:.3f}", f"{r['mean']:.3f}", f"{r['covers']:.3f}", f"{r['bca']:.3f}",
         f"{r['above']:.3f} / {r['below']:.3f}", f"{r['width']:.3f}"]
        for c, r in found
    ]  # fmt: skip
    at, worst = min(found, key=lambda one: one[1]["covers"])
    covers, plain = ([r[k] for _, r in found] for k in ("covers", "bca"))
    sides = [
        ["/".join(map(str, classes)), sum(classes), "yes" if r["judged"] else "no",
         f"{r['better']:.3f}" if r["judged"] else "", f"{r['worse']:.3f}" if r["judged"] else ""]
        for classes, r in null
    ]  # fmt: skip
    most = max(r["better"] for _, r in null)
    heads = ["both positive / one / none", "patients", "judged", "better than chance", "below chance"]
    return f"""
## Other metrics, in few patients

{FEW_COHORTS:,} cohorts a row; the standard error of a share is {np.sqrt(0.05 * 0.95 / FEW_COHORTS):.3f}. The truth is
that of about 2,000,000 patients with the same share of positives. Two sides of a patient share half of their variance.

{_table(names, rows)}

- Reported intervals hold the truth in {min(covers):.3f} to {max(covers):.3f}, plain BCa intervals in {min(plain):.3f}
  to {max(plain):.3f}.
- The weakest is {_named(at["metric"]).lower()}: {worst["covers"]:.3f} with {at["positives"]} positive of
  {at["n"]:,} patients.
- The average precision of few positives lies above that of many, as truth and mean show: a positive counts itself among
  those found at its own cut. Its interval is made on the logit scale about a value corrected for that, with Student's
  quantiles; the figure itself stays what it is everywhere else.
- Draws of eight positives who were all found do not know that another may be missed. Metrics of decisions therefore
  count half a patient right and half a patient wrong in each class, which for one share is Jeffreys' interval.

## Random scores of patients with two sides

How often {FEW_COHORTS:,} random tables are called better or worse than chance. With fewer than six patients of a class
nothing is said.

{_table(heads, sides)}

- At most {most:.3f} are called better than chance.
"""


def _named(metric: str) -> str:
    name, hint = METRIC_NAMES[metric]
    return f"{name} {hint}" if hint.startswith("at ") else name


def _table(names: list[str], rows: list[list[Any]]) -> str:
    return "\n".join(
        ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
        + ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    )


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
    table = _table(names, rows)
    low, high = min(reported), max(reported)
    return f"""# How often a 95 % interval holds the truth

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
  folds, `stats/auroc_variance.py`), steadied a little by Hanley and McNeil's, and Student's quantiles, since a spread
  known from 12 patients is not known well.
- Where patients have sides of both classes, the spread is that of the draws, widened by what drawing from few lacks.
"""


def main(cohorts: int = COHORTS) -> None:
    """Every cell, then the page."""
    few, found = min(cohorts, FEW_COHORTS), []
    null = [(classes, of_random(classes, few)) for classes in RANDOM]
    print(*null, sep="\n", flush=True)
    small = []
    for one in FEW:
        small.append((one, of_few(one, few)))
        print(*small[-1], flush=True)
    for cell in CELLS:
        found.append((cell, of_cell(cell, cohorts)))
        print(cell, {m: round(r["covers"], 3) for m, r in found[-1][1].items()}, flush=True)
    if cohorts >= COHORTS:
        write_text(PAGE, page(found, cohorts) + few_page(small, null))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))

"""`make results`: 20 cohorts with a planted signal and 20 without any, each through the whole product.

Every cohort is written as DICOM, indexed, curated, prepared, split, trained on and evaluated. What each came
to is kept in runs/seeds/, so that a stopped run goes on; `python studies/seeds.py null` does only the cohorts
without signal. Settings were fixed before the first full run.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

import scan2gene
from scan2gene.cohorts.split import make_splits
from scan2gene.core.files import value_hash, write_json, write_text
from scan2gene.core.rundir import FitDirectory
from scan2gene.core.study import Study
from scan2gene.core.study_runs import Split
from scan2gene.core.tables import read_csv
from scan2gene.evaluate.evaluate import evaluate
from scan2gene.learners.clinical import clinical_columns, fit_clinical, linear_logits
from scan2gene.phantom.exams import write_cohort
from scan2gene.phantom.patients import STRIPE_PERIOD_MM, Patient, best_auroc
from scan2gene.predict.table import prediction_rows
from scan2gene.recipes import recipe_text
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.run_config import resolved

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "runs" / "seeds"
PAGE = ROOT / "docs" / "results" / "seeds.md"
SEEDS = range(1, 21)
PATIENTS, FOLDS = 60, 3
EFFECTS = {"planted": 2.5, "null": 0.0}
BY_LUCK = 0.025  # of 95 % intervals lie wholly above 0.5 where there is nothing
NETWORK, TEMPLATE, AGE = "light-lesion", "template", "age"
ANGLES = np.arange(0.0, 91.0)


def study_of(seed: int) -> dict[str, Any]:
    """The demo's lesion network and its baseline, in three folds and fewer epochs."""
    study = yaml.safe_load(recipe_text("demo"))
    study["name"], study["seed"] = f"seed-{seed}", seed
    study["runs"] = [r for r in study["runs"] if r["name"] in (NETWORK, AGE)]
    del study["features"], study["ensembles"]
    study["splits"] = [{"name": "cv", "kind": "kfold", "folds": FOLDS}]
    study["train"] |= {"epochs": 40, "patience": 12}
    return study


def one_cohort(kind: str, seed: int) -> dict[str, Any]:
    """AUROC, interval and verdict of every reader of one cohort; computed once and kept."""
    folder, study = WORK / f"{kind}-{seed:02d}", study_of(seed)
    key = value_hash([study, PATIENTS, EFFECTS[kind], scan2gene.__version__])
    kept = folder / "figures.json"
    if kept.exists() and (found := json.loads(kept.read_text()))["key"] == key:
        return found
    if folder.exists() and not (folder / f"{key}.begun").exists():
        shutil.rmtree(folder)  # of other settings
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{key}.begun").touch()
    if not (folder / "cohort").exists():
        shutil.rmtree(folder / "unfinished", ignore_errors=True)
        write_cohort(folder / "unfinished", PATIENTS, EFFECTS[kind], seed=1000 * (kind == "null") + seed)
        (folder / "unfinished").rename(folder / "cohort")
    write_text(folder / "study.yaml", yaml.safe_dump(study, sort_keys=False))
    out = scan2gene.run(folder / "study.yaml", folder / "run", until="evaluate")
    figures = auroc_rows(pd.read_csv(out / "metrics.csv")) | auroc_rows(template_metrics(out, study["seed"]))
    found = {"key": key, "kind": kind, "seed": seed, "figures": figures}
    write_json(kept, found)
    shutil.rmtree(folder / "cohort")  # 40 MB; what is read again lies in figures.json
    return found


def template_metrics(out: Path, seed: int) -> pd.DataFrame:
    """The template reader on the scans of a run, through the product's evaluation."""
    predictions = pd.read_parquet(out / "predictions.parquet")
    series = read_csv(out / "series.csv").set_index("series_id")["path"]
    exams = read_csv(out / "cohort.csv")
    angles = {}
    for exam in exams.to_dict("records"):
        image = scan2gene.read_volume(series[exam["role:t1c"]])
        mask = scan2gene.read_volume(series[exam["role:mask"]], "label")
        where = np.argwhere(mask.array > 0)
        points = where @ mask.affine[:3, :3].T + mask.affine[:3, 3]
        angles[exam["exam_id"]] = read_degrees(image.array[tuple(where.T)], points)
    table = predictions[predictions["run_id"] == NETWORK]
    table = table.assign(run_id=TEMPLATE, prob=table["exam_id"].map(angles) / 90)
    return evaluate(table, read_csv(out / "split.csv"), 2000, seed).metrics


def read_degrees(values: np.ndarray, points_mm: np.ndarray) -> float:
    """The stripe angle that fits a lesion best, whatever the phase of its stripes: a matched filter.

    Args:
        values: (P,) signal of the lesion's voxels, in any unit.
        points_mm: (P, 3) where they lie, RAS mm.

    Returns:
        Degrees, 0 to 90: the angle at which a wave of the stripes' period explains most
        of the variance.
    """
    around = points_mm - points_mm.mean(axis=0)
    angle = np.radians(ANGLES)[:, None]
    phase = (around[:, 0] * np.cos(angle) + around[:, 1] * np.sin(angle)) * (2 * np.pi / STRIPE_PERIOD_MM)  # (A, P)
    waves = np.stack([np.cos(phase), np.sin(phase)], axis=1)  # (A, 2, P)
    waves -= waves.mean(axis=2, keepdims=True)
    pull = waves @ (values - values.mean())  # (A, 2)
    fit = np.linalg.solve(waves @ waves.swapaxes(1, 2), pull[..., None])[..., 0]
    return float(ANGLES[int(np.argmax((fit * pull).sum(axis=1)))])


def without_networks(patients: list[Patient], degrees: Mapping[str, float], seed: int) -> dict[str, dict[str, Any]]:
    """The template reader and the clinical baseline on patients, through the product's split and evaluation.

    Args:
        patients: From `draw_patients`.
        degrees: patient_id -> stripe angle that the template read.
        seed: Of split and bootstrap.
    """
    cohort = pd.DataFrame([{"patient_id": p.patient_id, "exam_id": p.patient_id, "site": p.site,
                            "clinical:age": p.age} for p in patients])  # fmt: skip
    labels = pd.DataFrame([{"patient_id": p.patient_id, "side": "", "target": "mutation", "value": float(p.label),
                            "source": ""} for p in patients])  # fmt: skip
    split = make_splits(cohort, labels, [Split(name="cv", kind="kfold", folds=FOLDS)], seed)
    ages = clinical_columns(cohort, ["age"])
    config = next(c for c in resolved(Study.model_validate(study_of(seed))) if c.name == AGE)
    tables = []
    for fold in range(FOLDS):
        part = split[split["fold"] == fold].set_index("patient_id")["part"].to_dict()
        train = (cohort["patient_id"].map(part) == "train").to_numpy()
        fitted = fit_clinical(ages[train], labels[["value"]].to_numpy()[train], columns=["age"])
        by_age = dict(zip(cohort["exam_id"], linear_logits(fitted, ages), strict=True))
        by_template = {n: np.array([(d - 45) / 10]) for n, d in degrees.items()}
        fit = Fit(config, "cv", 0, fold, FitDirectory(WORK), part)  # nothing is written
        for run, logits in ((TEMPLATE, by_template), (AGE, by_age)):
            tables.append(prediction_rows(fit, cohort, labels, logits).assign(run_id=run))
    return auroc_rows(evaluate(pd.concat(tables), split, 500, seed).metrics)


def auroc_rows(metrics: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Run -> AUROC, interval, and what the report would say of it."""
    rows = metrics[metrics["metric"] == "auroc"].set_index("run_id")
    found = {}
    for run, row in rows.iterrows():
        value, low, high = (None if pd.isna(row[c]) else float(row[c]) for c in ("value", "low", "high"))
        found[str(run)] = {"auroc": value, "low": low, "high": high, "verdict": verdict(low, high)}
    return found


def verdict(low: float | None, high: float | None) -> str:
    """An interval of an AUROC against 0.5."""
    if low is None or high is None:
        return "unknown"
    return "better" if low > 0.5 else "worse" if high < 0.5 else "chance"


def called(cohorts: list[dict[str, Any]], run: str, verdict: str) -> int:
    """Cohorts in which a reader is called better or worse than chance, chance, or unknown."""
    return sum(c["figures"][run]["verdict"] == verdict for c in cohorts)


def covered(cohorts: list[dict[str, Any]], run: str, truth: float) -> int:
    """Cohorts in which a reader has an interval, and it holds a value."""
    figures = [c["figures"][run] for c in cohorts]
    return sum(f["low"] <= truth <= f["high"] for f in figures if f["low"] is not None)


def mean_and_error(cohorts: list[dict[str, Any]], run: str) -> tuple[float, float]:
    """Mean AUROC over cohorts, and its standard error."""
    values = np.array([c["figures"][run]["auroc"] for c in cohorts])
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def more_than(limit: int, n: int, rate: float) -> float:
    """Chance that more than `limit` of `n` independent events of this rate happen."""
    return 1 - sum(comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(limit + 1))


HEAD = """\
# {n} cohorts with a planted signal, {n} without any

Written by `make results` (`studies/seeds.py`), version {version}. Each cohort: {patients} synthetic patients, written
as DICOM and taken through the whole product; {folds} folds, the light CNN on the neighbourhood of the lesion, at most
40 epochs. The planted effect is {effect:g}: no reader can exceed an expected AUROC of {best:.3f}. `template` is a
matched filter that knows what was planted; it reads the same scans and is evaluated by the same code. `age` knows
nothing in either kind. Intervals are 95 %; 'better' is what the report says where an interval lies above 0.5. A reader
that makes no mistake at all has the exact binomial interval of the rarer class.

| cohorts | reader | mean AUROC | standard error | better than chance | worse | unknown | interval holds what is true |
|---|---|---|---|---|---|---|---|
"""
BELOW = """
What a network can learn from {learned} training patients a fold is not known in closed form; its interval holds the
best possible {best:.3f} in {reach} of {n} planted cohorts. Where there is nothing, {by_luck:.1%} of 95 % intervals lie
above 0.5 by luck: of {n}, more than 1 with probability {one:.2f}, more than 2 with probability {two:.3f}.

| cohorts | seed | template | network | network says | age | age says |
|---|---|---|---|---|---|---|
"""


def page(found: dict[str, list[dict[str, Any]]]) -> str:
    """docs/results/seeds.md, from the cohorts of each kind."""
    best, n = best_auroc(EFFECTS["planted"]), len(SEEDS)
    head = HEAD.format(
        n=n, version=scan2gene.__version__, patients=PATIENTS, folds=FOLDS, effect=EFFECTS["planted"], best=best
    )
    below = BELOW.format(
        learned=round(PATIENTS * (1 - 1 / FOLDS) * 0.8), best=best, reach=covered(found["planted"], NETWORK, best),
        n=n, by_luck=BY_LUCK, one=more_than(1, n, BY_LUCK), two=more_than(2, n, BY_LUCK),
    )  # fmt: skip
    totals = "".join(_total(kind, cohorts, run) for kind, cohorts in found.items() for run in (TEMPLATE, NETWORK, AGE))
    each = "".join(_each(kind, c) for kind, cohorts in found.items() for c in cohorts)
    return head + totals + below + each


def _total(kind: str, cohorts: list[dict[str, Any]], run: str) -> str:
    mean, error = mean_and_error(cohorts, run)
    n, held = len(cohorts), ""
    truth = 0.5 if kind == "null" or run == AGE else best_auroc(EFFECTS[kind]) if run == TEMPLATE else None
    if truth is not None:
        held = f"{covered(cohorts, run, truth)} of {n} ({truth:.3f})"
    better, worse, unknown = (called(cohorts, run, verdict) for verdict in ("better", "worse", "unknown"))
    return f"| {kind} | {run} | {mean:.3f} | {error:.3f} | {better} of {n} | {worse} | {unknown} | {held} |\n"


def _each(kind: str, cohort: dict[str, Any]) -> str:
    template, network, age = (cohort["figures"][run] for run in (TEMPLATE, NETWORK, AGE))
    cells = [_cell(template), _cell(network), network["verdict"], _cell(age), age["verdict"]]
    return f"| {kind} | {cohort['seed']} | " + " | ".join(cells) + " |\n"


def _cell(figure: dict[str, Any]) -> str:
    if figure["low"] is None:
        return f"{figure['auroc']:.3f}"
    return f"{figure['auroc']:.3f} ({figure['low']:.3f}-{figure['high']:.3f})"


def main(kinds: list[str]) -> None:
    """Do the cohorts of some kinds; with all of them done, write the page."""
    found = {kind: [one_cohort(kind, seed) for seed in SEEDS] for kind in kinds}
    if set(found) == set(EFFECTS):
        write_text(PAGE, page(found))


if __name__ == "__main__":
    main(sys.argv[1:] or list(EFFECTS))

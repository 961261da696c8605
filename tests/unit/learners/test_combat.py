"""ComBat against a dense reading of the paper; sites go, biology stays, and no tested label is asked for."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scan2gene.core.errors import CohortError, StudyError
from scan2gene.core.rundir import FitDirectory
from scan2gene.core.section import Plugin
from scan2gene.core.study import Study
from scan2gene.learners.combat import MIN_NEW_SITE_ROWS, Combat, fit_combat, harmonised
from scan2gene.learners.fold import check_run, predict_fold, train_fold
from scan2gene.learners.harmonise import fit_harmonise, is_of_training
from scan2gene.learners.tabular import samples_of
from scan2gene.stats.metrics import auroc
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.run_config import RunConfig, resolve


def _planted(seed: int = 0, n: int = 90, columns: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Values, sites, labels and age: sites shift and widen columns, and have prevalences of their own."""
    rng = np.random.default_rng(seed)
    site = np.array(list("ABC"))[np.arange(n) % 3].astype(object)
    y = (rng.random(n) < np.array([0.3, 0.5, 0.7])[np.arange(n) % 3]).astype(float)
    age = rng.normal(50, 10, n)
    number = np.arange(n) % 3
    shift, scale = rng.normal(0, 2, (3, columns)), rng.uniform(0.5, 2, (3, columns))
    values = rng.normal(0, 1, (n, columns)) * scale[number] + shift[number] + 0.03 * (age[:, None] - 50)
    values[:, :3] += 1.5 * y[:, None]
    return 10 + 3 * values, site, y, age


def _by_the_paper(values: np.ndarray, site: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    """Johnson 2007, sections 3.1 and 3.2, one column and one site after another."""
    n, columns = values.shape
    names = sorted(set(site))
    dummies = np.array([[float(s == name) for name in names] for s in site])
    design = np.hstack([dummies, covariates])
    z, level, effect, sigma = (np.empty((n, columns)) for _ in range(4))
    for g in range(columns):
        b = np.linalg.solve(design.T @ design, design.T @ values[:, g])
        alpha = sum((site == name).mean() * b[i] for i, name in enumerate(names))
        level[:, g], effect[:, g] = alpha, covariates @ b[len(names) :]
        sigma[:, g] = np.sqrt(np.mean((values[:, g] - design @ b) ** 2))
        z[:, g] = (values[:, g] - level[:, g] - effect[:, g]) / sigma[:, g]
    out = np.empty_like(values)
    for name in names:
        rows = site == name
        mean, variance = z[rows].mean(axis=0), z[rows].var(axis=0, ddof=1)
        gamma_bar, tau2 = mean.mean(), mean.var(ddof=1)
        v, s2 = variance.mean(), variance.var(ddof=1)
        lam, theta = (v * v + 2 * s2) / s2, (v**3 + v * s2) / s2
        for g in range(columns):
            gamma, delta2 = mean[g], variance[g]
            for _ in range(10_000):
                before = gamma, delta2
                gamma = (rows.sum() * tau2 * mean[g] + delta2 * gamma_bar) / (rows.sum() * tau2 + delta2)
                delta2 = (theta + 0.5 * sum((z[rows, g] - gamma) ** 2)) / (rows.sum() / 2 + lam - 1)
                if abs(gamma - before[0]) + abs(delta2 - before[1]) < 1e-13:
                    break
            out[rows, g] = sigma[rows, g] / np.sqrt(delta2) * (z[rows, g] - gamma) + level[rows, g] + effect[rows, g]
    return out


def test_it_is_what_the_paper_says():
    values, site, _, age = _planted()
    found = harmonised(fit_combat(values, site, age[:, None]), values, site, age[:, None])
    np.testing.assert_allclose(found, _by_the_paper(values, site, (age - age.mean())[:, None]), rtol=1e-5)


def test_column_by_column_each_site_gets_the_level_and_spread_of_all():
    values, site, _, _ = _planted()
    model = fit_combat(values, site, pool=False)
    found = harmonised(model, values, site)
    for name in "ABC":
        np.testing.assert_allclose(found[site == name].mean(axis=0), model.level, rtol=1e-9)
        np.testing.assert_allclose(found[site == name].std(axis=0, ddof=1), model.spread, rtol=1e-9)


def _named(values: np.ndarray, site: np.ndarray) -> float:
    """AUROC of naming site A by a column, the mean over columns, 0.5 for no difference."""
    return float(np.mean([max(a := float(auroc(site == "A", v)), 1 - a) for v in values.T]))


def test_the_site_goes_and_the_biology_stays():
    values, site, y, age = _planted(n=300)
    learn = np.arange(300) < 200
    kept = age[:, None]
    model = fit_combat(values[learn], site[learn], kept[learn], y[learn, None])
    found = harmonised(model, values[~learn], site[~learn], kept[~learn])
    assert _named(values[~learn], site[~learn]) > 0.75
    assert _named(found[:, 3:], site[~learn]) < 0.6

    def skill(table: np.ndarray) -> float:
        return float(np.mean([auroc(y[~learn], v) for v in table[:, :3].T]))

    assert skill(found) > skill(values[~learn]) + 0.05
    # the effect of the label is what it was: labels of training rows kept it from being taken for the site's
    slopes = [np.polyfit(age[~learn], v, 1)[0] for v in found[:, 3:].T]
    assert np.mean(slopes) == pytest.approx(0.09, abs=0.05)
    for name in "ABC":
        rows = site[~learn] == name
        apart = [v[rows & (y[~learn] == 1)].mean() - v[rows & (y[~learn] == 0)].mean() for v in found[:, :3].T]
        assert 1.5 < np.mean(apart) < 8


def test_tested_rows_and_their_labels_change_nothing_that_was_fitted(tmp_path):
    rng = np.random.default_rng(0)
    cohort, targets, parts = _cohort(rng)
    data, fits = samples_of(_config(), cohort, targets, {}), []
    for spoilt in (False, True):
        other, labels = cohort.copy(), targets.copy()
        if spoilt:
            tested = cohort["patient_id"].map(parts) == "test"
            other.loc[tested, ["clinical:age", "clinical:size"]] = 1e6
            labels[tested] = 1 - labels[tested]
        folder = tmp_path / str(spoilt)
        fit = Fit(_config(), "cv", 0, 0, FitDirectory(folder), parts, "k")
        train_fold(fit, samples_of(_config(), other, labels, {}))
        fits.append(((folder / "harmonise.json").read_text(), (folder / "model.json").read_text()))
        logits = predict_fold(fit, data).logits["original"]
        assert np.isfinite(logits).all()
    assert fits[0] == fits[1]
    honest = replace(fit, folder=FitDirectory(tmp_path / "False"))
    assert is_of_training(honest, data)
    fit_harmonise(honest, data, np.arange(60))  # a leak: of all rows
    assert not is_of_training(honest, data)
    assert is_of_training(replace(honest, parts=dict.fromkeys(parts, "train")), data)


def _cohort(rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray, dict[str, str]]:
    ids = [f"P{n:02d}" for n in range(60)]
    site = np.array(["A", "B"])[np.arange(60) % 2]
    cohort = pd.DataFrame({"patient_id": ids, "exam_id": ids, "site": site, "role:t1": ids})
    cohort["clinical:age"] = rng.normal(50, 5, 60) + 20 * (site == "A")
    cohort["clinical:size"] = rng.normal(5, 1, 60)
    parts = {p: ("test", "validation", "train", "train")[n % 4] for n, p in enumerate(ids)}
    return cohort, (np.arange(60) // 2 % 2)[:, None].astype(float), parts


def _config(**options: object) -> RunConfig:
    study = Study.model_validate({
        "name": "s", "targets": {"gene": {}}, "data": {"harmonise": {"name": "combat", "options": options}},
        "cohort": {"scans": ["s"], "labels": "l.csv", "roles": {"t1": {"match": {"path": "t1"}}},
                   "clinical": ["age", "size"], "site_column": "site"},
        "splits": [{"name": "cv", "kind": "kfold"}],
        "runs": [{"name": "table", "model": {"name": "clinical", "options": {"columns": ["age", "size"]}}}],
    })  # fmt: skip
    return resolve(study, study.runs[0])


def test_a_site_that_training_lacks_is_left_alone_or_estimated_without_labels():
    values, site, _, _ = _planted(n=120)
    inside = site != "C"
    model = fit_combat(values[inside], site[inside])
    left = harmonised(model, values, site)
    np.testing.assert_array_equal(left[~inside], values[~inside])
    found = harmonised(model, values, site, unknown="estimate")
    assert (
        abs(found[~inside, 3:].mean(axis=0) - found[inside, 3:].mean(axis=0)).max()
        < abs(values[~inside, 3:].mean(axis=0) - values[inside, 3:].mean(axis=0)).max()
    )
    few = np.flatnonzero(~inside)[: MIN_NEW_SITE_ROWS - 1]
    np.testing.assert_array_equal(harmonised(model, values[few], site[few], unknown="estimate"), values[few])
    nameless = np.full(len(values), "", object)
    np.testing.assert_array_equal(harmonised(model, values, nameless, unknown="estimate"), values)


def test_gaps_constants_and_single_columns():
    values, site, _, _ = _planted(columns=4)
    values[::7, 1] = np.nan
    values[:, 2] = 5.0
    model = Combat.of_json(json.loads(json.dumps(fit_combat(values, site).as_json())))
    found = harmonised(model, values, site)
    assert np.array_equal(np.isnan(found), np.isnan(values))
    assert (found[:, 2] == 5.0).all()
    one = fit_combat(values[:, :1], site)
    assert not one.pooled
    assert np.isfinite(harmonised(one, values[:, :1], site)).all()


def test_a_column_with_gaps_is_harmonised_by_the_rows_that_know_it():
    values, site, _, age = _planted(columns=4)
    rng = np.random.default_rng(1)
    gaps = values.copy()
    gaps[rng.random(len(site)) < np.where(site == "B", 0.6, 0.1), 1] = np.nan
    known = ~np.isnan(gaps[:, 1])
    kept = age[:, None]
    found = harmonised(fit_combat(gaps, site, kept, pool=False), gaps, site, kept)[known, 1:2]
    alone = gaps[known, 1:2], site[known], kept[known]
    np.testing.assert_allclose(found, harmonised(fit_combat(*alone, pool=False), *alone), rtol=1e-9)
    # sites that do not differ are not made to differ by what they lack
    same = rng.normal(0, 1, (4000, 3))
    where = np.array(["A", "B"], object)[np.arange(4000) % 2]
    same[(where == "B") & (rng.random(4000) < 0.6), 0] = np.nan
    for pool in (True, False):
        left = harmonised(fit_combat(same, where, pool=pool), same, where)
        spread = [np.nanstd(left[where == s, 0]) for s in "AB"]
        assert spread[1] / spread[0] == pytest.approx(1, abs=0.06)


def test_two_rows_of_a_site_do_not_tell_its_spread():
    """Ages 50 and 51 of a site in training must not make its patient of 70 three hundred years old."""
    rng = np.random.default_rng(0)
    ages = np.r_[rng.normal(55, 12, 40), 50, 51][:, None]
    site = np.array(["A"] * 20 + ["B"] * 20 + ["C"] * 2, object)
    model = fit_combat(ages, site)
    assert not model.pooled and "site C has too few training rows for its spread" in model.notes[0]
    (moved,) = harmonised(model, np.array([[70.0]]), np.array(["C"], object))[0]
    assert 65 < moved < 85


def test_what_cannot_be_harmonised_is_said(tmp_path):
    values, site, _, _ = _planted()
    with pytest.raises(ValueError, match="cannot be estimated, because there is 1 site"):
        fit_combat(values[site == "A"], site[site == "A"])
    single = (site != "C") | (np.arange(90) == 2)
    model = fit_combat(values[single], site[single])
    assert model.sites == ("A", "B")
    assert "site C has one training row" in model.notes[0]
    np.testing.assert_array_equal(harmonised(model, values[2:3], site[2:3]), values[2:3])
    confounded = fit_combat(values, site, labels=(site == "A").astype(float)[:, None])
    assert "cannot be told from it" in confounded.notes[0]

    cohort, targets, parts = _cohort(np.random.default_rng(0))
    fit = Fit(_config(), "cv", 0, 0, FitDirectory(tmp_path / "f"), parts, "k")
    with pytest.raises(CohortError, match=r"run table, .*cannot be estimated, because there is 1 site"):
        train_fold(fit, samples_of(fit.config, cohort.assign(site="A"), targets, {}))
    for change, why in (({"keep": ["weight"]}, "'weight' is not known"), ({"unknown": "guess"}, "valid: estimate"),
                        ({"lambda": 1}, "option 'lambda' is not known")):  # fmt: skip
        with pytest.raises(StudyError, match=why):
            check_run(_config(**change))
    image = replace(_config(), model=Plugin(name="light_cnn"))
    with pytest.raises(StudyError, match="learns from images"):
        check_run(image)

"""Embedding maps: PCA against scikit-learn, clusters kept apart, the right exams and scanners."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from scan2gene.evaluate.embedding_map import agreement, embedding_map, placed


def test_pca_is_scikit_learn_s():
    values = np.random.default_rng(0).normal(size=(40, 7)) @ np.diag([5, 3, 1, 1, 1, 1, 0.1])
    found = placed(values, 0, "PCA")
    oracle = PCA(2)
    expected = oracle.fit_transform(StandardScaler().fit_transform(values))
    assert np.abs(found.points) == pytest.approx(np.abs(expected), abs=1e-8)
    assert found.explained == pytest.approx(oracle.explained_variance_ratio_.sum())


@pytest.mark.parametrize("method", ["PCA", pytest.param("UMAP", marks=pytest.mark.slow)])
def test_clusters_stay_apart_and_a_seed_repeats(method):
    rng = np.random.default_rng(1)
    group = np.repeat([0, 1, 2], 20)
    values = rng.normal(size=(60, 10)) + 12 * np.eye(10)[group]
    found = placed(values, 3, method)
    assert silhouette_score(found.points, group) > 0.5
    assert placed(values, 3, method).points == pytest.approx(found.points)


def test_one_network_per_run_and_what_each_exam_is():
    rng = np.random.default_rng(2)
    exams = [f"E{n}" for n in range(12)]
    rows = [
        {"run_id": run, "split": "cv", "repeat": 0, "fold": fold, "part": "test", "patient_id": f"P{n}",
         "exam_id": exam, "embedding": rng.normal(size=width).astype(np.float32)}
        for run, width in (("a", 4), ("b", 9)) for fold in (0, 1) for n, exam in enumerate(exams)
    ]  # fmt: skip
    cohort = pd.DataFrame(
        {"exam_id": exams, "site": list("xxxxyyyyyyyy"), "role:flair": [None, *[f"s{n}" for n in range(1, 12)]],
         "role:t1": [f"t{n}" for n in range(12)]}
    )  # fmt: skip
    series = pd.DataFrame(
        {"series_id": [f"s{n}" for n in range(12)] + ["t0"], "Manufacturer": ["Siemens"] * 12 + ["GE"],
         "ManufacturerModelName": ["Trio", None] * 6 + ["Signa"], "MagneticFieldStrength": ["3"] * 13}
    )  # fmt: skip
    table = embedding_map(pd.DataFrame(rows), cohort, series, 0)
    assert table.groupby("run_id").size().to_dict() == {"a": 12, "b": 12}
    assert table["fold"].eq(0).all()
    about = table[table["run_id"] == "a"].set_index("exam_id")
    assert about.loc["E0", "scanner"] == "GE Signa 3"  # its first role is lacking
    assert about.loc["E1", "scanner"] == "Siemens 3"
    assert about.loc["E5", "site"] == "y"
    assert about["method"].unique().tolist() == ["PCA"]  # too few for UMAP


def test_neighbours_by_scikit_learn_and_by_chance():
    rng = np.random.default_rng(4)
    values, groups = rng.normal(size=(80, 6)), rng.integers(0, 3, 80).astype(str)
    found, chance = agreement(values, groups, np.arange(80))
    _, near = NearestNeighbors(n_neighbors=6).fit(StandardScaler().fit_transform(values)).kneighbors()
    assert found == pytest.approx((groups[near[:, :5]] == groups[:, None]).mean())
    shuffled = [agreement(values, rng.permutation(groups), np.arange(80))[0] for _ in range(200)]
    assert chance == pytest.approx(np.mean(shuffled), abs=3 * np.std(shuffled) / np.sqrt(200))
    apart, _ = agreement(values + 20 * np.eye(6)[groups.astype(int)], groups, np.arange(80))
    assert apart == 1


def test_exams_of_one_patient_are_no_neighbours():
    rng = np.random.default_rng(5)
    patients = np.repeat(np.arange(20), 2)
    values = np.repeat(rng.normal(size=(20, 4)), 2, axis=0)
    groups = patients.astype(str)  # a group per patient: only the other exam of the patient agrees
    assert agreement(values, groups, patients) == (0, 0)

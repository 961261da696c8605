"""Twenty planted and twenty null cohorts: the closed form is reached, and nothing is found where nothing is.

Without networks; `studies/seeds.py` has the same with networks, on scans, and docs/results/seeds.md its figures.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, norm
from studies.seeds import (
    AGE,
    EFFECTS,
    PATIENTS,
    SEEDS,
    TEMPLATE,
    called,
    covered,
    mean_and_error,
    more_than,
    read_degrees,
)
from studies.seeds import without_networks as evaluated

from scan2gene.core.geometry import LPS_TO_RAS
from scan2gene.phantom.patients import Patient, draw_patients, lesion_weight, signal
from scan2gene.phantom.scanners import SCANNERS, acquisition_grid


def _read(patient: Patient) -> float:
    """The stripe angle as the template reader finds it on the patient's own scanner grid, noise included."""
    _, lps = acquisition_grid(SCANNERS[patient.scanner], patient.organ)
    ras = LPS_TO_RAS @ lps
    centre = np.rint(np.linalg.solve(ras, [*patient.centre_mm, 1])[:3])
    offsets = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 3, indexing="ij"), -1).reshape(-1, 3)
    points = ((centre + offsets) @ ras[:3, :3].T + ras[:3, 3]).astype(np.float32)
    points = points[lesion_weight(patient, points) >= 0.5]
    noise = np.random.default_rng(patient.seed).normal(0, 0.03, len(points))
    return read_degrees(signal(patient, points, "t1c") + noise, points)


@pytest.fixture(scope="module", params=list(EFFECTS))
def cohorts(request):
    found = []
    for seed in SEEDS:
        patients = draw_patients(PATIENTS, EFFECTS[request.param], seed=100 + seed)
        degrees = {p.patient_id: _read(p) for p in patients}
        angles = np.array([p.stripe_degrees for p in patients])
        assert np.median(np.abs(angles - list(degrees.values()))) < 1.5
        found.append({"figures": evaluated(patients, degrees, seed)})
    return request.param, found


def test_the_template_reaches_the_closed_form(cohorts):
    kind, found = cohorts
    truth = norm.cdf(EFFECTS[kind] / np.sqrt(2))
    mean, error = mean_and_error(found, TEMPLATE)
    print(f"{kind}: {mean:.4f} +- {error:.4f}, closed form {truth:.4f}, covered {covered(found, TEMPLATE, truth)}")
    assert abs(mean - truth) < 2 * error
    assert error < 0.02
    assert covered(found, TEMPLATE, truth) >= 16  # fewer of 20 happen to 95 % intervals once in 390 times


def test_better_than_chance_is_said_where_it_is_so(cohorts):
    kind, found = cohorts
    print(kind, [called(found, run, "better") for run in (TEMPLATE, AGE)])
    better = called(found, TEMPLATE, "better")
    assert better == 20 if kind == "planted" else better <= 2
    assert called(found, AGE, "better") <= 2  # more than 2 of 20 happen by luck once in 77 times


def test_the_bounds_are_those_of_the_binomial():
    assert more_than(2, 20, 0.025) == pytest.approx(binom.sf(2, 20, 0.025)) == pytest.approx(1 / 77, rel=0.01)
    assert binom.cdf(15, 20, 0.95) == pytest.approx(1 / 390, rel=0.02)

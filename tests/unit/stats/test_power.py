"""Power against simulation and published figures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from scan2gene.stats.metrics import auroc
from scan2gene.stats.power import auroc_error, detectable_auroc


def test_the_error_is_that_of_hanley_and_mcneils_table():
    """Their table III: 51 normal and 58 abnormal cases, area 0.893, standard error about 0.032."""
    assert auroc_error(0.893, 51, 58) == pytest.approx(0.032, abs=0.001)


@pytest.mark.parametrize(("positives", "negatives"), [(30, 30), (20, 80), (60, 40)])
def test_the_detectable_auroc_is_detected_in_four_of_five_simulated_cohorts(positives, negatives):
    value = detectable_auroc(positives, negatives)
    rng = np.random.default_rng(1)
    y = np.r_[np.ones(positives), np.zeros(negatives)]
    shift = np.sqrt(2) * norm.ppf(value)
    found = []
    for _ in range(2000):
        area = float(auroc(y, rng.normal(size=len(y)) + shift * y))
        found.append(area - norm.ppf(0.975) * auroc_error(0.5, positives, negatives) > 0.5)
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)


def test_more_patients_show_less():
    values = [detectable_auroc(n, n) for n in (5, 10, 40, 200, 2000)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.53
    assert detectable_auroc(1, 2) is None
    assert detectable_auroc(0, 50) is None

"""Levels, and the smallest numbers of patients, that hold for every figure."""

from __future__ import annotations

from statistics import NormalDist

CONFIDENCE = 0.95  # of intervals
ENDS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)  # quantiles at which an interval begins and ends
Z = NormalDist().inv_cdf(ENDS[1])  # standard errors from the middle of a normal interval to its end
ALPHA = 0.05  # of a family of P values
POWER = 0.8  # of a study that is being planned
CHANCE = 0.5  # AUROC of scores that carry no information
MIN_CLASS_PATIENTS = 6  # of the rarer class: of five, a single one can move an AUROC by a fifth
MIN_GROUP_PATIENTS = 5  # of a site, scanner or cohort that is told from others, or named on a page: no outcome class

"""Twenty thousand patients: no table of patients by patients, and the same figures as with one."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from scan2gene.evaluate.embedding_map import agreement
from scan2gene.evaluate.leakage import Parts, shared_files
from scan2gene.imaging import twins
from scan2gene.stats import intervals
from scan2gene.stats.intervals import bootstrap_counts, jackknife
from scan2gene.stats.linear import RIDGE, ridge_scores
from scan2gene.stats.resampling import Sample
from scan2gene.stats.thresholds import g_mean_threshold


def _sample(n: int, seed: int = 0, sides: int = 1) -> Sample:
    rng = np.random.default_rng(seed)
    y = np.repeat(rng.random(n) < 0.3, sides).astype(float)
    prob = np.round(1 / (1 + np.exp(-rng.normal(y))), 3)
    ids, side = np.repeat([f"P{k:05d}" for k in range(n)], sides), np.tile(["L", "R"] if sides > 1 else [""], n)
    return Sample(pd.DataFrame({"repeat": 0, "fold": np.repeat(np.arange(n) % 5, sides), "patient_id": ids,
                                "side": side, "y_true": y, "prob": prob,
                                "decision": (prob >= 0.5).astype(float)}))  # fmt: skip


@pytest.mark.parametrize("strata", [np.zeros(700, int), np.arange(900) % 3, np.array([0, 1, 1, 1])])
def test_draws_in_portions_are_the_draws_at_once(strata, monkeypatch):
    rng, wanted = np.random.default_rng(5), np.zeros((40, len(strata)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        drawn = rng.integers(0, len(members), (40, len(members)), dtype=np.int32)
        wanted[:, members] = [np.bincount(row, minlength=len(members)) for row in drawn]
    for cells in (100, 10**6):
        monkeypatch.setattr(intervals, "_CELLS", cells)
        np.testing.assert_array_equal(bootstrap_counts(strata, 40, 5), wanted)


@pytest.mark.parametrize("sides", [1, 2])
def test_left_out_patients_are_those_of_the_whole_matrix(sides):
    sample = _sample(60, sides=sides)
    names = ["auroc", "average_precision", "brier", "recall"]
    whole = sample.at_weights(names, 1 - np.eye(60))
    for name in names:
        np.testing.assert_allclose(sample.resampled([name], 20, 1)[name].left_out, whole[name], atol=1e-12)
    values = np.random.default_rng(0).normal(size=60)
    left = jackknife(lambda w: (w @ values) / w.sum(axis=1), 60)
    np.testing.assert_allclose(left, (values.sum() - values) / 59)


@pytest.mark.parametrize("name", ["auroc", "average_precision", "brier"])
def test_patients_that_stand_for_their_neighbours_give_the_same_interval(name, monkeypatch):
    ends = []
    for exact in (10**6, 200):
        monkeypatch.setattr(intervals, "MAX_JACKKNIFE", exact)
        found = _sample(1000).interval(name, 400, 1)
        ends.append((found.low, found.high))
    np.testing.assert_allclose(ends[0], ends[1], atol=2e-4)
    assert abs(ends[0][1] - ends[0][0]) > 100 * np.abs(np.subtract(*ends)).max()


def test_the_threshold_is_that_of_all_cuts():
    rng = np.random.default_rng(0)
    for n in (5, 40, 300):
        y = rng.permutation(np.arange(n) % 2)
        prob = np.round(rng.random(n) * 0.5 + 0.3 * y, 2)
        scores = np.unique(prob)
        cuts = np.concatenate([scores[:1], (scores[1:] + scores[:-1]) / 2])
        rates = [(prob[y == c] >= cuts[:, None]).mean(axis=1) for c in (1, 0)]
        quality = np.sqrt(rates[0] * (1 - rates[1]))
        best = cuts[quality >= quality.max() - 1e-12]
        assert g_mean_threshold(y, prob) == best[np.argmin(np.abs(best - np.median(prob)))]


def test_neighbours_in_portions_agree_as_before():
    rng = np.random.default_rng(0)
    groups, patients = rng.choice(["A", "B"], 600), rng.integers(0, 300, 600)
    values = rng.normal(size=(600, 4)) + (groups == "A")[:, None]
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    far = ((scaled[:, None] - scaled[None]) ** 2).sum(axis=2)
    own = patients[:, None] == patients
    near = np.argsort(np.where(own, np.inf, far), axis=1)[:, :5]
    wanted = (groups[near] == groups[:, None]).mean()
    chance = (((groups[:, None] == groups) & ~own).sum(axis=1) / (~own).sum(axis=1)).mean()
    assert agreement(values, groups, patients) == pytest.approx((wanted, chance))


@pytest.mark.parametrize(("n", "features"), [(80, 12), (20, 60)])
def test_ridge_scores_are_those_of_the_table_of_patients(n, features):
    rng = np.random.default_rng(0)
    train, test, labels = rng.normal(size=(n, features)), rng.normal(size=(9, features)), rng.integers(0, 2, (n, 7))
    known, asked = ((x - train.mean(axis=0)) / train.std(axis=0) for x in (train, test))
    gram = known @ known.T
    penalty = RIDGE * np.trace(gram) / n
    wanted = asked @ known.T @ np.linalg.solve(gram + penalty * np.eye(n), labels - labels.mean(axis=0))
    np.testing.assert_allclose(ridge_scores(train, labels.astype(float), test), wanted, atol=1e-9)


def test_likeness_does_not_depend_on_how_many_prints_are_held(monkeypatch):
    prints = np.random.default_rng(0).integers(0, 256, (5, *[twins.GRID] * 3), dtype=np.uint8)
    pairs = [(0, 1, ()), (1, 3, (0,)), (2, 4, ()), (0, 4, (2,))]
    held = list(twins.alike(prints, pairs))
    monkeypatch.setattr(twins, "_HELD", 0)
    for one, two in zip(held, twins.alike(prints, pairs), strict=True):
        assert (one.one, one.two, one.flip) == (two.one, two.two, two.flip)
        assert one.likeness == pytest.approx(two.likeness, abs=1e-6)


def test_what_very_many_patients_share_is_listed_once_for_each():
    ids = [f"P{k:04d}" for k in range(2000)]
    split = pd.DataFrame({"split": "", "repeat": 0, "fold": 0, "patient_id": ids,
                          "part": np.where(np.arange(2000) % 4, "train", "test")})  # fmt: skip
    found = shared_files(pd.DataFrame({"patient_id": ids, "study": "one"}), Parts(split))
    assert found.status == "found" and 1000 <= len(found.cases) <= 2000
    assert {c["one"] for c in found.cases} | {c["two"] for c in found.cases} == set(ids)
    assert all(c["part_one"] != c["part_two"] for c in found.cases)
    few = pd.DataFrame({"patient_id": ids[:5], "study": "one"})
    assert len(shared_files(few, Parts(split)).cases) == 6  # two tested, three not


MEASURED = """
import sys, time
import numpy as np, pandas as pd
from pathlib import Path
from scan2gene.commands.audit import audit
from scan2gene.evaluate.compare import compare
from scan2gene.evaluate.score_table import read_scores

n, folder = int(sys.argv[1]), Path(sys.argv[2])
rng = np.random.default_rng(0)
y = (rng.random(n) < 0.3).astype(int)
base = {"patient_id": [f"P{k:06d}" for k in range(n)], "target": "gene", "y_true": y, "fold": np.arange(n) % 5}
for name in ("a", "b"):
    pd.DataFrame(base | {"prob": 1 / (1 + np.exp(-rng.normal(y)))}).to_csv(folder / f"{name}.csv", index=False)
pd.DataFrame(base | {"study": "one"}).to_csv(folder / "split.csv", index=False)
start = time.process_time()
compare(read_scores([folder / "a.csv", folder / "b.csv"]), draws=2000, permutations=999)
audit(folder / "split.csv")
# not getrusage: it counts what the process that started this one held
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(time.process_time() - start, int(peak.split()[1]) / 1e6)
"""


@pytest.mark.slow
def test_time_and_memory_are_about_linear_in_patients(tmp_path):
    seconds, gigabytes = zip(*(
        map(float, subprocess.run([sys.executable, "-c", MEASURED, str(n), str(tmp_path)], check=True,
                                  capture_output=True, text=True).stdout.split())
        for n in (5_000, 20_000)
    ), strict=True)  # fmt: skip
    assert gigabytes[1] < 2
    assert seconds[1] < 9 * max(seconds[0], 2)  # a table of patients by patients would take 16 times as long

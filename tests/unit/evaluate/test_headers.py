"""What gives the label away in a header, a description or a name is found; what does not is left alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact, mannwhitneyu

from scan2gene.evaluate.baselines import metadata_table, scored
from scan2gene.evaluate.headers import associated, by_patient, header_columns, to_pass_on, told

N = 60


def _cohort(seed: int = 0, n: int = N) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """A cohort as the index has it, in which nothing depends on the label."""
    rng = np.random.default_rng(seed)
    ids = [f"P{n:03d}" for n in range(n)]
    days = pd.Timestamp("2012-01-01") + pd.to_timedelta(rng.integers(0, 2000, n), "D")
    cohort = pd.DataFrame({"patient_id": ids, "exam_id": ids, "role:t1": [f"s{i}" for i in ids],
                           "site": rng.choice(["A", "B"], n), "date": days.strftime("%Y%m%d")})  # fmt: skip
    words = np.array(["t1", "tse", "sag", "ax", "fs", "gd", "dyn", "3d"])
    series = pd.DataFrame({
        "series_id": cohort["role:t1"], "path": [f"/data/{s}/{i}/t1_{k}.nii" for s, i, k in
                                                 zip(cohort["site"], ids, rng.integers(1, 5, n), strict=True)],
        "SeriesDescription": [" ".join(rng.choice(words, 3)) for _ in ids], "SeriesNumber": rng.integers(2, 12, n),
        "StudyDate": cohort["date"], "StudyTime": [f"{h:02d}{m:02d}00" for h, m in rng.integers(8, 18, (n, 2))],
        "PatientAge": [f"{a:03d}Y" for a in rng.integers(20, 80, n)], "PatientSex": rng.choice(["F", "M"], n),
        "SoftwareVersions": rng.choice(["syngo MR B17", "syngo MR D13", "VE11C"], n),
        "PixelBandwidth": rng.choice([130.0, 200.0, 250.0], n), "Manufacturer": rng.choice(["GE", "Siemens"], n),
        "origin_x_mm": rng.normal(0, 10, n), "shape": [f"256x256x{k}" for k in rng.integers(20, 30, n)],
        "spacing_k_mm": rng.choice([3.0, 5.0], n), "n_files": rng.integers(20, 30, n), "EchoTime": 10.0,
    }).astype(object)  # fmt: skip
    return cohort, series, pd.Series(rng.permutation(np.arange(n) % 2), ids)


PLANTED = {
    "SeriesDescription": lambda c, v: [f"{t} lesion" if y else t for t, y in zip(c, v, strict=True)],
    "SeriesNumber": lambda c, v: np.asarray(c, int) + 5 * v,
    "StudyTime": lambda c, v: [f"{13 + int(t[1]) % 4 if y else 8 + int(t[1]) % 4:02d}{t[2:]}"
                               for t, y in zip(c, v, strict=True)],
    "PatientAge": lambda c, v: [f"{int(t[:3]) // 2 + 40 * y:03d}Y" for t, y in zip(c, v, strict=True)],
    "SoftwareVersions": lambda c, v: np.where(v == 1, "VE11C", "syngo MR B17"),
    "PixelBandwidth": lambda c, v: np.where(v == 1, 200.0, np.asarray(c, float)),
    "origin_x_mm": lambda c, v: np.asarray(c, float) + 30 * v,
    "n_files": lambda c, v: np.asarray(c, int) + 8 * v,
    "shape": lambda c, v: np.where(v == 1, "320x320x24", "256x256x24"),
    "spacing_k_mm": lambda c, v: np.where(v == 1, 3.0, 5.0),
    "StudyDate": lambda c, v: [f"{t[:4]}{11 if y else 3:02d}{int(t[6:]) % 28 + 1:02d}" for t, y in
                               zip(c, v, strict=True)],
    "path": lambda c, v: [t.replace("/t1_", "/pos_t1_" if y else "/neg_t1_") for t, y in zip(c, v, strict=True)],
}  # fmt: skip


@pytest.mark.parametrize("column", PLANTED)
def test_what_gives_the_label_away_is_named(column):
    cohort, series, labels = _cohort()
    series[column] = PLANTED[column](series[column], labels.to_numpy())
    headers = header_columns(cohort, series)
    table = associated(headers.table, labels)
    found = list(table.index[table["p_holm"] < 0.05])
    assert found and any(column in name or (column == "shape" and "size" in name) for name in found)
    said = told(headers, table, "gene")
    assert all(word in said for word in (str(len(table)), "gene", *headers.looked_at[-3:]))
    if column != "StudyDate":  # which is 1 of 12 months: any order of them
        assert max(table["auroc"].iloc[0], 1 - table["auroc"].iloc[0]) > 0.8
    assert not any("P0" in name for name in headers.table)  # no id of a patient


def test_folders_and_ids_that_tell_the_class_are_found():
    cohort, series, labels = _cohort()
    folder = np.where(labels == 1, "case", "control")
    series["path"] = [f"/data/{f}/{p}/scan.nii" for f, p in zip(folder, cohort["patient_id"], strict=True)]
    table = associated(header_columns(cohort, series).table, labels)
    assert "path" in table.index[0] and table["p_holm"].iloc[0] < 1e-6
    cohort["patient_id"] = [f"{f}-{p[1:]}" for f, p in zip(folder, cohort["patient_id"], strict=True)]
    table = associated(header_columns(cohort, series).table, labels.set_axis(cohort["patient_id"]))
    assert any("patient id" in name for name in table.index[table["p_holm"] < 0.05])


def test_null_cohorts_raise_no_more_alarms_than_one_in_twenty():
    cohort, series, labels = _cohort(1, 40)
    headers = header_columns(cohort, series)
    assert headers.table.shape[1] > 40
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(40):
        some = pd.Series(rng.permutation(labels.to_numpy()), labels.index)
        alarms += bool((associated(headers.table, some)["p_holm"] < 0.05).any())
    assert alarms <= 5  # of 40; more have a chance of 1 % at a rate of 5 %


@pytest.mark.slow
@pytest.mark.parametrize("positive", [0.5, 0.2])
def test_null_cohorts_raise_no_more_alarms_than_one_in_twenty_of_many(positive):
    alarms = 0
    for seed in range(500):
        cohort, series, labels = _cohort(seed, 40)
        labels[:] = np.random.default_rng(seed).permutation(np.arange(40) < 40 * positive).astype(int)
        alarms += bool((associated(header_columns(cohort, series).table, labels)["p_holm"] < 0.05).any())
    assert alarms / 500 < 0.05 + 2 * (0.05 * 0.95 / 500) ** 0.5


def test_p_values_are_those_of_scipy():
    rng = np.random.default_rng(0)
    labels = pd.Series(rng.permutation(np.arange(50) % 2), [f"P{n}" for n in range(50)])
    table = pd.DataFrame({"number": rng.normal(labels, 1).round(1), "word": rng.random(50) < 0.3 + 0.3 * labels},
                         index=labels.index).astype(float)  # fmt: skip
    found = associated(table, labels)
    one, two = (table.loc[labels == c, "number"] for c in (1, 0))
    wanted = mannwhitneyu(one, two, method="asymptotic")
    assert found.loc["number", "p"] == pytest.approx(wanted.pvalue)
    assert found.loc["number", "auroc"] == pytest.approx(wanted.statistic / (25 * 25))
    cells = pd.crosstab(table["word"], labels).to_numpy()
    tails = [fisher_exact(cells, alternative=a).pvalue for a in ("less", "greater")]
    assert found.loc["word", "p"] == pytest.approx(min(1, 2 * min(tails)))


def test_the_metadata_baseline_learns_from_a_telling_name_and_only_on_training_patients():
    cohort, series, labels = _cohort()
    rows = pd.DataFrame([
        {"split": "cv", "repeat": 0, "fold": fold, "patient_id": p, "part": "test" if n % 5 == fold else "train"}
        for fold in range(5) for n, p in enumerate(labels.index)
    ])  # fmt: skip
    units = pd.DataFrame({"patient_id": labels.index, "side": "", "value": labels.to_numpy(float)})
    site = cohort.set_index("patient_id")["site"]

    def auroc(series: pd.DataFrame) -> float:
        from sklearn.metrics import roc_auc_score

        features = metadata_table(cohort, series)
        table = scored(features, units, rows, site, header_columns(cohort, series).table)
        return float(roc_auc_score(table["y_true"], table["prob"]))

    assert auroc(series) < 0.7
    named = series.assign(SeriesDescription=PLANTED["SeriesDescription"](series["SeriesDescription"], labels))
    assert auroc(named) > 0.95


def test_sides_count_as_their_patient():
    labels = pd.DataFrame({"patient_id": ["a", "a", "b", "b"], "value": [0.0, 1.0, 0.0, np.nan]})
    assert by_patient(labels).to_dict() == {"a": 1.0, "b": 0.0}


def test_what_is_passed_on_has_no_words_of_paths_ids_or_dates():
    cohort, series, labels = _cohort()
    folder = np.where(labels == 1, "kowalski", "dubois")
    series["path"] = [f"/data/{f}/{p}/scan.nii" for f, p in zip(folder, cohort["patient_id"], strict=True)]
    series["StudyDate"] = np.where(labels == 1, "20140403", "20150605")
    cohort["date"] = series["StudyDate"].to_numpy()
    cohort["patient_id"] = [f"{f}-{p}" for f, p in zip(folder, cohort["patient_id"], strict=True)]
    labels.index = cohort["patient_id"]
    series["SoftwareVersions"] = np.where(labels == 1, "VE11C", "B17")
    headers = header_columns(cohort, series)
    table = associated(headers.table, labels)
    table = table.assign(p_holm=0.01)  # all of them are named
    said = "".join(to_pass_on(told(headers, table.iloc[n : n + 5], "gene")) for n in range(0, len(table), 5))
    assert not [w for w in ("kowalski", "dubois", "2014", "2015", "0403", "0605") if w in said]
    assert "a word in path" in said and "VE11C" in said

"""Any table of scores: figures against scikit-learn, nothing in nothing, and every bad cell named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from tests import several_classes

from scan2gene.core.errors import RunError
from scan2gene.core.tables import write_csv
from scan2gene.evaluate.compare import compare
from scan2gene.evaluate.score_table import Scores, read_scores
from scan2gene.stats import resampling
from scan2gene.stats.resampling import Sample


def _table(n: int = 60, signal: float = 1.0, seed: int = 0, **more) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    prob = stats.norm.cdf(rng.normal(signal * y))
    ids = [f"{i:03d}" for i in range(n)]
    return pd.DataFrame({"patient_id": ids, "target": "IDH", "y_true": y, "prob": prob, **more})


def _written(folder, *tables: pd.DataFrame) -> list:
    paths = [folder / f"{chr(97 + n)}.csv" for n in range(len(tables))]
    for path, table in zip(paths, tables, strict=True):
        table.to_csv(path, index=False)
    return paths


def _compared(folder, *tables: pd.DataFrame, draws: int = 400, permutations: int = 499):
    return compare(read_scores(_written(folder, *tables)), draws, permutations)


def test_aurocs_are_those_of_scikit_learn_over_test_rows_only(tmp_path):
    table = _table(80, part=["test"] * 60 + ["train"] * 10 + ["validation"] * 10, colour="red")
    (run,), pairs = _compared(tmp_path, table)
    kept = table[:60]
    assert run.auroc.value == pytest.approx(roc_auc_score(kept["y_true"], kept["prob"]))
    assert (run.file, run.target, run.n, run.n_positive, pairs) == ("a.csv", "IDH", 60, 30, [])
    assert run.auroc.low < run.auroc.value < run.auroc.high
    assert run.delong.low == pytest.approx(run.auroc.low, abs=0.03)


def test_probabilities_are_scored_and_scores_outside_0_and_1_are_none(tmp_path):
    table = _table(80)
    table["prob"] = 0.1 + 0.8 * table["prob"]
    (run, raw), _ = _compared(tmp_path, table, table.assign(prob=10 * table["prob"]))
    y, prob = table["y_true"], table["prob"]
    assert run.further["average_precision"].value == pytest.approx(average_precision_score(y, prob))
    assert run.further["brier"].value == pytest.approx(brier_score_loss(y, prob))
    assert run.further["brier"].low < run.further["brier"].value < run.further["brier"].high
    assert raw.further["average_precision"] == run.further["average_precision"]
    assert (raw.further["slope"].value, "no probabilities" in raw.further["slope"].reason) == (None, True)


def test_with_folds_only_pairs_within_a_fold_count(tmp_path):
    table = _table(60, fold=np.repeat(["x", "y", "z"], 20))
    table["prob"] = 0.2 * table["prob"] + table["fold"].map({"x": 0.0, "y": 0.3, "z": 0.6})
    (run,), _ = _compared(tmp_path, table)
    folds = [roc_auc_score(t["y_true"], t["prob"]) for _, t in table.groupby("fold")]
    assert run.auroc.value == pytest.approx(np.mean(folds))  # equally many pairs in each
    assert run.auroc.value > roc_auc_score(table["y_true"], table["prob"]) + 0.1
    assert run.delong is None


def test_nothing_is_found_in_nothing_and_a_planted_difference_is_found(tmp_path):
    y = np.repeat([0, 1], 60)
    shared = np.random.default_rng(1).normal(size=120)
    noise = np.random.default_rng(2).normal(size=(2, 120))
    good, less, none = _table(120), _table(120), _table(120)
    for table, score in ((good, 2 * y + shared + 0.3 * noise[0]), (less, y + shared + 0.3 * noise[1]),
                         (none, noise[0])):  # fmt: skip
        table["y_true"], table["prob"] = y, stats.norm.cdf(score)
    runs, pairs = _compared(tmp_path, good, less, none, draws=2000, permutations=9999)
    assert [r.p_holm < 0.05 for r in runs] == [True, True, False]
    assert [r.p_holm for r in runs] == pytest.approx([3e-4, 3e-4, runs[2].p_chance])  # 3 x 1e-4, 2 x 1e-4 not below
    first = pairs[0]
    assert (first.a, first.b, first.n) == ("a.csv", "b.csv", 120)
    assert first.difference.value == pytest.approx(runs[0].auroc.value - runs[1].auroc.value)
    assert 0 < first.difference.low < first.difference.value < first.difference.high
    assert first.p < 0.01
    assert first.p_delong < 0.01


@pytest.mark.parametrize("cohorts", [40, pytest.param(80, marks=pytest.mark.slow)])
def test_p_values_of_pairs_and_runs_without_a_difference_are_uniform(cohorts):
    of_pairs, of_runs = [], []
    empty = {"repeat": 0, "fold": 0, "site": "", "side": "", "where": 0}
    for seed in range(cohorts):
        tables = [_table(40, 0, 2 * seed, **empty), _table(40, 0, 2 * seed + 1, **empty)]
        scores = [Scores(name, "IDH", table) for name, table in zip("ab", tables, strict=True)]
        runs, (pair,) = compare(scores, draws=200, permutations=199)
        of_pairs.append(pair.p)
        of_runs += [r.p_chance for r in runs]
    luck = (80 / cohorts) ** 0.5  # of 80 cohorts, standard errors 0.017 and 0.024
    assert 0.05 - 0.04 * luck <= np.mean(np.array(of_runs) <= 0.05) <= 0.05 + 0.05 * luck
    assert np.mean(np.array(of_pairs) <= 0.05) <= 0.05 + 0.075 * luck
    assert stats.kstest(of_runs, "uniform").pvalue > 0.005


def test_a_file_and_its_copy_differ_by_nothing(tmp_path):
    table = _table(fold=np.arange(60) % 3)
    other = table.assign(fold=[f"fold {'zxy'[f]}" for f in table["fold"]], prob=table["prob"] ** 3)  # same order
    _, pairs = _compared(tmp_path, table, table, other)
    for pair in pairs:
        assert (pair.difference.value, pair.difference.low, pair.difference.high, pair.p) == (0, 0, 0, 1)
        assert pair.notes == ()


def test_rows_in_any_order_give_the_same_figures(tmp_path):
    rng = np.random.default_rng(3)
    one, two = _table(fold=rng.integers(0, 4, 60)), _table(seed=4)
    mixed = [t.sample(frac=1, random_state=n) for n, t in enumerate((one, two))]
    assert _compared(tmp_path, one, two) == _compared(tmp_path, *mixed)


def test_swapping_two_files_turns_the_difference_round(tmp_path):
    one, two = _table(), _table(seed=5)
    there, back = (_compared(tmp_path, *tables)[1][0] for tables in ((one, two), (two, one)))
    assert there.difference.value == -back.difference.value
    assert there.difference.low == pytest.approx(-back.difference.high, abs=0.01)  # of 400 draws
    assert there.p_delong == pytest.approx(back.p_delong)


def test_pairs_are_of_common_patients_and_say_how_many(tmp_path):
    one, two = _table(60), _table(60, seed=6)
    _, (pair,) = _compared(tmp_path, one[:50], two[10:])
    ours, theirs = one[10:50], two[10:50]
    wanted = roc_auc_score(ours["y_true"], ours["prob"]) - roc_auc_score(theirs["y_true"], theirs["prob"])
    assert pair.difference.value == pytest.approx(wanted)
    assert pair.n == 40
    assert pair.notes == ("40 patients are in both, of 50 and 50.",)
    _, (pair,) = _compared(tmp_path, one[:30], two[30:])
    assert (pair.difference.value, pair.p) == (None, None)
    assert pair.difference.reason == "the two have no patient in common"
    _, pairs = _compared(tmp_path, one, two.assign(target="TP53"))
    assert pairs == []


def test_sides_are_scored_and_patients_drawn(tmp_path):
    table = pd.concat([_table(40, 0.8).assign(side=s) for s in ("left", "R")], ignore_index=True)
    (run,), _ = _compared(tmp_path, table)
    (alone,), _ = _compared(tmp_path, table[:40].drop(columns="side"))
    assert (run.n, run.n_units) == (40, 80)
    assert run.auroc.value == alone.auroc.value  # every side twice
    assert run.auroc.high - run.auroc.low == pytest.approx(alone.auroc.high - alone.auroc.low)
    assert run.p_chance == pytest.approx(alone.p_chance, abs=0.03)


def test_draws_in_portions_equal_draws_at_once(monkeypatch):
    table = _table(50, fold=np.arange(50) % 3, repeat=0, side="").astype({"y_true": float})
    whole = Sample(table).resampled(["auroc"], 101, 1)["auroc"]
    monkeypatch.setattr(resampling, "_AT_ONCE", 130)  # two or three draws
    portions = Sample(table).resampled(["auroc"], 101, 1)["auroc"]
    assert (portions.draws == whole.draws).all()
    assert (portions.left_out == whole.left_out).all()


def test_a_score_that_knows_the_site_alone_is_told_by_pairs_within_sites(tmp_path):
    rng = np.random.default_rng(7)
    table = _table(200, 0)
    site = rng.random(200) < np.where(table["y_true"] == 1, 0.85, 0.15)
    table = table.assign(site=np.where(site, "A", "B"), prob=0.5 * table["prob"] + 0.5 * site)
    (run,), _ = _compared(tmp_path, table)
    assert run.auroc.low > 0.75
    inside = [t for _, t in table.groupby("site")]
    pairs = [t["y_true"].sum() * (1 - t["y_true"]).sum() for t in inside]
    value = np.average([roc_auc_score(t["y_true"], t["prob"]) for t in inside], weights=pairs)
    assert f"one site alone give an AUROC of {value:.3f} (0.4" in run.notes[0]
    (run,), _ = _compared(tmp_path, table.assign(site=table["y_true"]))
    assert "No site has patients of both classes" in run.notes[0]
    (run,), _ = _compared(tmp_path, table.assign(site="A"))
    assert run.notes == ()
    unknown = table.assign(patient_id=[f"Q{n}" for n in range(200)], prob=1 - table["prob"], site="")
    (run,), _ = _compared(tmp_path, pd.concat([table, unknown]))  # of unknown site is no site
    assert f"an AUROC of {value:.3f} (" in run.notes[0] and "without 200 patients of unknown site" in run.notes[0]


def test_exams_are_averaged_and_repeats_are_not_pooled(tmp_path):
    one = _table(40)
    low, high = (one.assign(prob=one["prob"] * f, exam_id=e) for f, e in ((0.5, "e1"), (0.9, "e2")))
    (run,), _ = _compared(tmp_path, pd.concat([low, high]))
    assert run.auroc.value == pytest.approx(roc_auc_score(one["y_true"], one["prob"]))
    other = _table(40, seed=9)
    both = pd.concat([one.assign(repeat=0, fold=np.arange(40) // 20), other.assign(repeat=1, fold=np.arange(40) // 10)])
    (run,), _ = _compared(tmp_path, both)
    areas = [np.mean([roc_auc_score(t["y_true"][p : p + k], t["prob"][p : p + k]) for p in range(0, 40, k)])
             for t, k in ((one, 20), (other, 10))]  # fmt: skip
    assert (run.n, run.auroc.value) == (40, pytest.approx(np.mean(areas)))


def test_what_cannot_be_estimated_says_why_and_what_is_not_scored_is_counted(tmp_path):
    one_class, flat, single = _table().assign(y_true=1), _table().assign(prob=0.3), _table()
    single["y_true"] = (np.arange(60) == 7).astype(int)
    logits = _table().assign(prob=lambda t: 8 * t["prob"] - 4)
    for table, reason, p in ((one_class, "60 positive among 60", None), (flat, "all scores are equal", 1.0),
                             (_table(fold=np.arange(60)), "no fold has patients of both classes", None)):  # fmt: skip
        (run,), _ = _compared(tmp_path, table)
        assert reason in run.auroc.reason
        assert (run.auroc.low, run.p_chance) == (None, p)
    (run,), _ = _compared(tmp_path, single)
    assert (run.auroc.low, run.auroc.reason) == (None, "a single patient in the rarer class shows no spread")
    (run,), _ = _compared(tmp_path, logits)
    assert "are no probabilities; only their order is used" in run.notes[0]
    table = _table()
    table["prob"], table["y_true"] = table["prob"].astype(object), table["y_true"].astype(object)
    table.loc[3, "prob"], table.loc[[5, 6], "y_true"] = "NaN", ""
    (run,), _ = _compared(tmp_path, table)
    assert run.n == 57
    assert [n.split(" do not")[0] for n in run.notes] == ["2 without a known label", "1 without a score"]


@pytest.mark.parametrize(
    "table",
    [_table(6), _table(6).assign(prob=[0.1, 0.9, 0.2, 0.8, 0.3, 0.7]), _table(30, site=["x"] + ["y"] * 29),
     _table(12, fold=[0] * 3 + [1] * 9).assign(y_true=[1, 1, 1] + [0, 1, 1] * 3), _table(40).round({"prob": 0})],
    ids=["six", "six without a mistake", "a site with one patient", "one class in a fold", "ties"],
)  # fmt: skip
def test_odd_tables_have_a_figure_or_a_reason_and_never_nan(tmp_path, table):
    (run, again), (pair,) = _compared(tmp_path, table, table.assign(prob=1 - table["prob"]))
    for found in (run.auroc, again.auroc, pair.difference):
        for end in (found.value, found.low, found.high):
            assert end is None or np.isfinite(end)
        assert (found.low is None) == bool(found.reason)
        assert found.low is None or -1 <= found.low <= found.value <= found.high <= 1
    assert 0 < run.p_chance <= 1
    if len(table) == 6:
        assert run.p_chance > 0.05  # of 20 orders, one is best and one is worst


def test_no_difference_of_aurocs_is_beyond_one(tmp_path):
    """Draws of six patients are widened to what the pairs tell, and went to 1.2."""
    score = [0.134, 0.847, 0.764, 0.255, 0.495, 0.449]
    six, other = (_table(6).assign(y_true=np.arange(6) % 2, prob=p) for p in (score, np.arange(6) % 3 / 3))
    _, (pair,) = _compared(tmp_path, six, other)
    assert -1 <= pair.difference.low < pair.difference.high <= 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.drop(columns=["prob", "target"]), "a.csv lacks the columns target and prob"),
        (lambda t: t[:0], "a.csv has a header and no rows"),
        (lambda t: t.assign(y_true=[2, *t["y_true"][1:]]), "y_true is neither 0 nor 1: a.csv:2 y_true=2."),
        (lambda t: t.assign(y_true="yes"), "a.csv:2 y_true=yes; a.csv:3 y_true=yes"),
        (lambda t: t.assign(prob=["high", *t["prob"][1:]]), "prob is no finite number: a.csv:2 prob=high."),
        (lambda t: t.assign(prob=[*t["prob"][:59], "inf"]), "a.csv:61 prob=inf"),
        (lambda t: t.assign(patient_id=["", *t["patient_id"][1:]]), "patient_id is empty: a.csv:2"),
        (lambda t: t.assign(side="middle"), "a.csv:2 side=middle"),
        (lambda t: t.assign(part="train"), "no row of the part test; it has train"),
        (lambda t: pd.concat([t, t[:1]]), "repeat a patient: a.csv:2 patient 000; a.csv:62 patient 000."),
        (lambda t: pd.concat([t, t[:1].assign(y_true=1)]),
         "patient 000 y_true=0 at a.csv:2; patient 000 y_true=1 at a.csv:62. Correct"),
        (lambda t: pd.concat([t.assign(fold=0), t[:1].assign(fold=1)]), "in several folds: a.csv:2 patient 000"),
        (lambda t: pd.concat([t.assign(repeat=0), t[1:].assign(repeat=1)]), "every repeat: a.csv:2 patient 000."),
    ],
)  # fmt: skip
def test_bad_cells_are_named(tmp_path, change, told):
    with pytest.raises(RunError) as error:
        read_scores(_written(tmp_path, change(_table())))
    assert told in str(error.value)
    assert str(tmp_path) not in str(error.value)


def test_files_that_disagree_about_a_label_are_refused(tmp_path):
    other = _table(seed=1)
    other.loc[4, "y_true"] = 1
    with pytest.raises(RunError, match=r"patient 004 y_true=0 at a.csv:6; patient 004 y_true=1 at b.csv:6\. Correct"):
        read_scores(_written(tmp_path, _table(), other))


@pytest.mark.parametrize(
    ("data", "told"),
    [(b"", "is empty"), (b"\xff\xfe\x00bad\n", "cannot be read"),
     (b"patient_id,target,y_true,prob\na,IDH,1,0,7\n", "more cells than the header"),
     (b"patient_id,target,y_true,prob\na,IDH,1,0\na,IDH,1,0,7\n", "cannot be read as a table")],
)  # fmt: skip
def test_files_that_are_no_table_are_refused(tmp_path, data, told):
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    with pytest.raises(RunError, match=told):
        read_scores([path])


def test_names_tell_files_apart_and_no_more(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        _table().to_csv(tmp_path / folder / "s.csv", index=False, sep=";")
    paths = [tmp_path / "one" / "s.csv", tmp_path / "two" / "s.csv", tmp_path / "two" / "s.csv"]
    assert [s.file for s in read_scores(paths)] == ["one/s.csv", "two/s.csv", "two/s.csv (2)"]
    with pytest.raises(RunError, match="does not exist"):
        read_scores([tmp_path / "three.csv"])


def test_a_patient_is_the_same_in_a_table_that_had_to_quote_its_id(tmp_path):
    table = _table()
    table["patient_id"] = "=" + table["patient_id"].astype(str)
    write_csv(tmp_path / "quoted.csv", table)
    table.to_parquet(tmp_path / "plain.parquet")
    quoted, plain = read_scores([tmp_path / "quoted.csv", tmp_path / "plain.parquet"])
    assert set(quoted.table["patient_id"]) == set(plain.table["patient_id"]) == set(table["patient_id"])


def _of_classes(n: int = 60, signal: float = 2.0, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of tested patients with a label each, and the same with a column for each class."""
    rows, _ = several_classes.predictions(n=n, signal=signal, seed=seed)
    rows = rows[rows["part"] == "test"]
    columns = ["patient_id", "target", "fold", "label", "y_true", "prob"]
    truth = rows[rows["y_true"] == 1].set_index("patient_id")["label"]
    wide = rows.pivot(index=["patient_id", "target", "fold"], columns="label", values="prob").add_prefix("prob:")
    wide = wide.reset_index()
    return rows[columns], wide.assign(y_true=wide["patient_id"].map(truth))


def test_several_classes_are_judged_as_a_whole_and_class_by_class_however_they_are_written(tmp_path):
    long, wide = _of_classes()
    runs, pairs = _compared(tmp_path, long, wide, _of_classes(signal=0, seed=3)[1].assign(y_true=wide["y_true"]))
    by_file = {f: [r for r in runs if r.file == f] for f in ("a.csv", "b.csv", "c.csv")}
    names = ["subtype", *(f"subtype:{c}" for c in sorted(several_classes.CLASSES))]
    assert sorted(r.target for r in by_file["a.csv"]) == sorted(r.target for r in by_file["b.csv"]) == sorted(names)
    whole, same, noise = (next(r for r in by_file[f] if r.target == "subtype") for f in by_file)
    assert (whole.n, whole.n_positive) == (60, None) and by_file["a.csv"][0] is whole
    each = [r.auroc.value for r in by_file["a.csv"] if r.target != "subtype"]
    assert whole.auroc.value == pytest.approx(np.mean(each)) and same.auroc == whole.auroc
    assert whole.p_chance == pytest.approx(1 / 500) and noise.p_chance > 0.05
    assert "accuracy 0." in " ".join(whole.notes)
    of_whole = {(p.a, p.b): p for p in pairs if p.target == "subtype"}
    assert of_whole["a.csv", "b.csv"].difference.value == 0 and of_whole["a.csv", "b.csv"].p == 1
    apart = of_whole["a.csv", "c.csv"]
    assert apart.difference.low > 0 and apart.difference.value == pytest.approx(whole.auroc.value - noise.auroc.value)


def test_cells_of_several_classes_that_are_wrong_are_named(tmp_path):
    _, wide = _of_classes(n=24)
    wrong = wide.assign(y_true=wide["y_true"].mask(wide.index == 2, "other"))
    with pytest.raises(RunError, match=r"a.csv:4 y_true=other.*her2"):
        read_scores(_written(tmp_path, wrong))
    hole = wide.assign(**{"prob:her2": wide["prob:her2"].mask(wide.index == 3)})
    with pytest.raises(RunError, match=r"no probability of every class: a.csv:5"):
        read_scores(_written(tmp_path, hole))
    long, _ = _of_classes(n=24)
    with pytest.raises(RunError, match="same patients for every class of subtype"):
        read_scores(_written(tmp_path, long[1:]))
    unknown = wide.assign(y_true=wide["y_true"].mask(wide.index < 2))
    assert {len(s.table) for s in read_scores(_written(tmp_path, unknown))} == {22}


def test_a_label_that_does_not_tell_rows_of_a_patient_apart_is_ignored(tmp_path):
    table = _table()
    words = np.where(table["y_true"] == 1, "malignant", "benign")
    tables = (table, table.assign(label="positive"), table.assign(label=words))
    one, two, three = (_compared(tmp_path, t)[0] for t in tables)
    assert one == two == three

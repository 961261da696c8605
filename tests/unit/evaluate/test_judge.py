"""The verdict's rules, one by one; nothing is found in null cohorts, and what is planted is named."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scan2gene.core.study import mean_of_runs
from scan2gene.core.study_cohort import Target
from scan2gene.core.study_runs import Evaluate, Run, Split
from scan2gene.evaluate.audit import Tables, shortcut_figures
from scan2gene.evaluate.facts import Against, Cue, Facts, Outside
from scan2gene.evaluate.leakage import Check
from scan2gene.evaluate.places import unchanged
from scan2gene.evaluate.shortcuts import Figure
from scan2gene.evaluate.underfit import training_aurocs
from scan2gene.evaluate.verdict import HEADLINES, judge
from scan2gene.evaluate.verdicts import verdicts
from scan2gene.stats.intervals import Estimate
from scan2gene.stats.power import detectable_auroc, patients_needed, too_few

WEAK = Against("scanner and site", Estimate(0.52, 0.42, 0.62), 0.6, Estimate(0.28, 0.15, 0.40), 0.001)
STRONG = Against("scanner and site", Estimate(0.81, 0.72, 0.88), 0.0001, Estimate(-0.01, -0.1, 0.09), 0.8)
OUTSIDE = Outside("the external site C", "At C it is 0.52.", Estimate(0.52, 0.4, 0.64), True)
CLEAR = Facts("IDH", "cv", "net", 2, Estimate(0.80, 0.70, 0.88), 100, 100, 40, 0.001, 4, WEAK, WEAK,
              Estimate(0.55, 0.45, 0.65), 0.17)  # fmt: skip
CORNER = Cue("the border of the pictures", Estimate(0.82, 0.72, 0.9))


@pytest.mark.parametrize(
    ("facts", "kind", "headline"),
    [
        (CLEAR, "better", "better than chance, and than scan metadata or clinical data alone"),
        (replace(CLEAR, p=0.06), "chance", "not distinguishable from chance"),
        (replace(CLEAR, auroc=Estimate(0.2, 0.1, 0.3)), "worse", "below chance"),
        (replace(CLEAR, auroc=Estimate(None, reason="one class"), p=None), "unknown", "cannot be estimated"),
        (replace(CLEAR, metadata=STRONG), "shortcut", "a shortcut: scan metadata alone do as well"),
        (replace(CLEAR, erased=Estimate(0.78, 0.7, 0.86), left=0.93), "shortcut",
         "a shortcut: the lesion is not needed"),
        (replace(CLEAR, erased=Estimate(0.55, 0.45, 0.65), left=0.17), "better", None),
        (replace(CLEAR, erased=Estimate(0.75, 0.49, 0.86), left=0.83), "better", None),  # may be nothing at all
        (replace(CLEAR, clinical=STRONG), "unproven", "better than chance, but not shown to beat clinical data alone"),
        (replace(CLEAR, metadata=replace(WEAK, p_difference=0.2)), "unproven",
         "better than chance, but not shown to beat scan metadata alone"),
        (replace(CLEAR, outside=(OUTSIDE,)), "better",
         "better than chance, and than scan metadata or clinical data alone; not shown to hold at the external site C"),
        (replace(CLEAR, outside=(replace(OUTSIDE, estimate=Estimate(0.6, 0.51, 0.69)),), clinical=STRONG), "unproven",
         "better than chance, but not shown to beat clinical data alone; weaker at the external site C"),
        (replace(CLEAR, outside=(replace(OUTSIDE, lost=False),), metadata=STRONG), "shortcut",
         "a shortcut: scan metadata alone do as well"),
        (replace(CLEAR, outside=(OUTSIDE,), p=0.06), "chance", "not distinguishable from chance"),
        (replace(CLEAR, leaks=("A patient stands in two parts.",)), "leak", HEADLINES["leak"]),
        (replace(CLEAR, metadata=None, clinical=None), "better", "better than chance"),
        (replace(CLEAR, erased=None, left=None), "unproven",
         "better than chance, and than scan metadata or clinical data alone, but whether it needs the lesion could not "
         "be tested"),
        (replace(CLEAR, erased=Estimate(None, reason="one class")), "unproven", None),
        (replace(CLEAR, cues=(CORNER,)), "shortcut", "a shortcut: the border of the pictures alone is enough"),
        (replace(CLEAR, alone=(("what lies outside the body", Estimate(0.79, 0.7, 0.87)),)), "shortcut", None),
        (replace(CLEAR, cues=(CORNER,), p=0.3), "chance", None),
    ],
)  # fmt: skip
def test_each_rule(facts, kind, headline):
    found = judge(facts)
    assert found.kind == kind
    assert headline is None or found.headline == headline
    assert all(sentence.endswith(".") for sentence in found.sentences)
    assert not any(word in " ".join(found.sentences).split() for word in ("nan", "None"))


def test_what_was_learned_is_the_auroc_in_training_at_the_epoch_kept():
    def history(*aurocs: float, best: int) -> pd.DataFrame:
        rows = [{"epoch": n + 1, "best": int(n == best), "train_auroc": 0.1, "train_auroc:gene": a,
                 "train_auroc:bad.L": a / 2, "train_auroc:bad.R": a / 4} for n, a in enumerate(aurocs)]  # fmt: skip
        return pd.DataFrame(rows)

    fits = [history(0.5, 0.6, 0.9, best=1), history(0.5, 0.7, best=1), history(0.8, 0.9, best=0)]
    found = training_aurocs(("net", {"split": "cv"}, table) for table in fits)
    assert found == pytest.approx({("net", "cv", "gene"): 0.7, ("net", "cv", "bad"): 0.25})
    old = pd.DataFrame({"epoch": [1], "best": [1], "validation_auroc": [0.6]})
    assert training_aurocs([("net", {"split": "cv"}, old), ("net", {"split": "cv"}, old[:0])]) == {}


def test_the_paragraph_says_what_a_reader_needs():
    facts = replace(
        CLEAR, erased=Estimate(0.55, 0.45, 0.65), left=0.17, slope=Estimate(0.4, 0.2, 0.6),
        elsewhere=(("sites that it never saw", Estimate(0.56, 0.44, 0.68), 100),),
        suspicions=("Two ids look like visits of one person.",),
    )  # fmt: skip
    text = " ".join(judge(facts).sentences)
    for part in ("ranks a positive above a negative in 80 % of such pairs", "100 test patients, 40 positive",
                 "corrected for 4 comparisons", "Scanner and site alone reach 0.520", "the network does better",
                 "With the lesion erased its AUROC is 0.550", "17 % of its skill is left",
                 "At sites that it never saw it is not shown to be above chance: 0.560", "too extreme",
                 "Two ids look like visits"):  # fmt: skip
        assert part in text
    assert "one of 2 networks that share the highest AUROC" in " ".join(judge(replace(facts, equal=2)).sentences)
    some = " ".join(judge(replace(facts, erased_n=7)).sentences)
    assert "With the lesion erased, on 7 of 100 patients, its AUROC is 0.550" in some
    near = " ".join(judge(replace(facts, metadata=replace(WEAK, p_difference=0.0498))).sentences)
    assert (
        "the network does better: difference +0.280 (+0.150 to +0.400), P = 0.0498." in near
    )  # 0.050 would not say so
    behind = replace(WEAK, difference=Estimate(-0.2, -0.3, -0.1), p_difference=0.002)
    worse = " ".join(judge(replace(facts, metadata=behind)).sentences)
    assert "the network does worse: difference -0.200 (-0.300 to -0.100), P = 0.002." in worse
    chance = " ".join(judge(replace(facts, p=0.4)).sentences)
    assert "undertrained" not in chance and "undertrained" not in text
    lazy = judge(replace(facts, p=0.4, learned=0.524)).sentences
    assert lazy[1].startswith(f"{facts.run} is undertrained: even on its own training patients its AUROC is 0.52")
    assert "undertrained" not in " ".join(judge(replace(facts, p=0.4, learned=0.8)).sentences)
    noisy = replace(facts, p=0.4, learned=0.8, training=("Stopped by noise: in 4 of 5 fits.",))
    assert judge(noisy).sentences[1] == "Stopped by noise: in 4 of 5 fits."
    assert "For one of 0.65 about" in chance
    assert "calibration" not in chance


def test_without_a_lesion_test_nobody_is_told_that_the_scans_hold_something():
    assert "The scans hold something" in judge(CLEAR).sentences[0]
    blind = replace(CLEAR, erased=None, left=None)
    for facts in (blind, replace(blind, metadata=STRONG), replace(blind, cues=(CORNER,))):
        said = " ".join(judge(facts).sentences)
        assert "hold something" not in said and "could not be tested" in said
    marked = " ".join(judge(replace(CLEAR, cues=(replace(CORNER, where="At pixel 3."),), unchanged=True)).sentences)
    for part in ("0.820", "At pixel 3.", "same on every altered copy"):
        assert part in marked


PLANNED = replace(
    CLEAR, run="best", networks=1, noun="model", members=("clinical", "image"), seeing="image", in_mask=True, adds=True,
    clinical=replace(WEAK, knows="age and sex"),
)  # fmt: skip


def test_a_planned_answer_is_named_and_what_the_scan_adds_comes_second():
    said = judge(PLANNED).sentences
    assert said[1] == (
        "The scan is shown to add to age and sex: difference of best +0.280 (+0.150 to +0.400), P = 0.001 (age and sex "
        "alone: AUROC 0.520 (0.420–0.620))."
    )
    assert said[2].startswith("best, the mean of clinical and image, fixed before training, ranks a positive")
    text = " ".join(said)
    assert "etwork" not in text and text.count("Age and sex") == 0 and "Scanner and site alone reach" in text
    behind = replace(PLANNED, clinical=replace(STRONG, knows="age and sex"))
    assert "The scan is not shown to add to age and sex" in judge(behind).sentences[1]
    assert judge(behind).headline == "better than chance, but not shown to beat clinical data alone"


def test_features_of_a_mask_may_go_by_form_and_place():
    kept = replace(PLANNED, erased=Estimate(0.78, 0.7, 0.86), left=0.93, erased_n=30)
    assert judge(kept).kind == "better" and judge(replace(kept, in_mask=False)).kind == "shortcut"
    said = " ".join(judge(kept).sentences)
    assert "grey values replaced by its surroundings and its mask kept, on 30 of 100 patients, the AUROC of" in said
    assert "about 93 % of its skill there rests on the lesion's size, form, place and surroundings, the rest on" in said
    assert "all of its skill" in " ".join(judge(replace(kept, left=1.1)).sentences)
    assert "too little skill to divide" in " ".join(judge(replace(kept, left=None)).sentences)
    untested = judge(replace(kept, erased=None, left=None))
    assert untested.kind == "better" and "lesion's grey values could not be tested" in " ".join(untested.sentences)


def test_chance_says_whether_networks_learned_and_features_are_there():
    chance = replace(PLANNED, p=0.4, healthy=("lesion", "radiomics"))
    said = " ".join(judge(chance).sentences)
    assert "lesion and radiomics answered for nearly all patients: no signal" in said and "true AUROC above" in said
    fits = " ".join(judge(replace(chance, learner="network-1", learned=0.93)).sentences)
    assert "and network-1 fits its training patients (AUROC 0.93): no signal in this cohort is seen by them" in fits
    lazy = " ".join(judge(replace(chance, learner="network-1", learned=0.55)).sentences)
    assert "network-1 is undertrained" in lazy and "no signal" not in lazy
    assert "no signal" not in " ".join(judge(replace(chance, healthy=())).sentences)


def test_an_auroc_that_nothing_changes_is_told():
    network = Figure("network", "cv", "gene", "net", "", Estimate(0.9, 0.8, 0.95), 40, 20, 0.001)
    copies = [replace(network, kind=kind, difference=Estimate(0.002)) for kind in ("shifted", "noise", "resliced")]
    assert unchanged(copies, network)
    assert not unchanged([*copies, replace(network, kind="erased", difference=Estimate(0.3))], network)
    assert not unchanged(copies[:2], network)
    assert not unchanged(copies, replace(network, estimate=Estimate(0.5, 0.4, 0.6)))


@pytest.mark.parametrize("prevalence", [0.2, 0.5])
@pytest.mark.parametrize("auroc", [0.6, 0.65, 0.8])
def test_the_number_needed_is_the_smallest_that_tells_it(auroc, prevalence):
    n = patients_needed(auroc, prevalence)
    at = [detectable_auroc(round(m * prevalence), m - round(m * prevalence)) for m in (n, int(n * 0.97) - 1)]
    assert at[0] <= auroc + 2e-3
    assert at[1] is None or at[1] > auroc - 2e-3
    assert patients_needed(0.5001, prevalence) is None


def _study(sites: bool = False):
    splits = [Split(name="cv", kind="kfold", folds=3)]
    splits += [Split(name="sites", kind="leave_one_site_out")] if sites else []
    return SimpleNamespace(runs=[], splits=splits, targets={"gene": Target()}, seed=1, evaluate=Evaluate(bootstrap=100))


def _tables(seed: int, n: int = 45, signal: float = 0.0, scanner: float = 0.0, runs: int = 2) -> Tables:
    """A cohort as tables: runs score by `signal`, and the scanner goes with the label by `scanner`."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 2)
    ids = [f"P{i:03d}" for i in range(n)]
    other = np.where(rng.random(n) < scanner, y, rng.integers(0, 2, n))
    series = pd.DataFrame({"series_id": ids, "Manufacturer": np.where(other, "A", "B"), "ManufacturerModelName": "",
                           "MagneticFieldStrength": "", "spacing_k_mm": 2.0 + other, "shape": "10x10x10",
                           "plane": "axial"})  # fmt: skip
    cohort = pd.DataFrame({"patient_id": ids, "exam_id": ids, "site": "", "role:t1": ids,
                           "clinical:age": rng.normal(50, 10, n)})  # fmt: skip
    labels = pd.DataFrame({"patient_id": ids, "side": "", "target": "gene", "value": y.astype(float)})
    order = rng.permutation(n) % 3
    split = pd.concat([
        pd.DataFrame({"split": "cv", "repeat": 0, "fold": f, "patient_id": ids,
                      "part": np.where(order == f, "test", "train")}) for f in range(3)
    ])  # fmt: skip
    tables = []
    for run in range(runs):
        prob = stats.norm.cdf(rng.normal(signal * (y if scanner == 0 else other)))
        truth, score = dict(zip(ids, y, strict=True)), dict(zip(ids, prob, strict=True))
        table = split[split["part"] == "test"].assign(
            run_id=f"net{run}", variant="original", unit="exam", site="", target="gene"
        )
        tables.append(table.assign(exam_id=table["patient_id"], side="", status="ok", reason="",
                                   y_true=table["patient_id"].map(truth).astype(float),
                                   prob=table["patient_id"].map(score)))  # fmt: skip
    nothing = tables[0][:0]
    return Tables(cohort, series, labels, split, pd.concat(tables), nothing, pd.DataFrame())


def _with_erased(tables: Tables) -> Tables:
    """With copies without the lesion, of which networks know nothing."""
    rng = np.random.default_rng(0)
    copies = tables.predictions.assign(variant="erased", prob=rng.random(len(tables.predictions)))
    return replace(tables, variants=copies)


def _judged(tables: Tables, checks=()):
    study = _study()
    networks = sorted(tables.predictions["run_id"].unique())
    return verdicts(study, tables, shortcut_figures(study, tables, networks), checks)[0]


def test_nothing_is_said_of_five_in_a_class_whatever_the_order():
    assert too_few(6, 76) == too_few(70, 76) == ""
    for positive, word in ((5, "positive"), (71, "negative")):
        facts = Facts("EGFR", "cv", "net", 1, Estimate(0.99, 0.95, 1.0), 76, 76, positive, 0.001, 1)
        found = judge(facts)
        assert (found.kind, found.headline) == ("unknown", "cannot be estimated")
        assert found.sentences == (f"EGFR cannot be estimated, because {too_few(positive, 76)}.",)
        assert f"5 of 76 are {word}" in found.sentences[0]


def test_sides_of_three_patients_are_not_six():
    facts = Facts("BRCA", "cv", "net", 1, Estimate(0.99, 0.95, 1.0), 40, 80, 6, 0.001, 1, fewest=3)
    found = judge(facts)
    assert found.kind == "unknown"
    assert found.sentences == (
        "BRCA cannot be estimated, because the rarer class has sides of 3 patients, and 6 patients are needed.",
    )
    assert judge(replace(facts, fewest=6)).kind == "unproven"  # no copy without the lesion


@pytest.mark.parametrize("cohorts", [50, pytest.param(200, marks=pytest.mark.slow)])
def test_of_null_cohorts_at_most_one_in_twenty_is_called_better_than_chance(cohorts, monkeypatch):
    """Two networks are tried in each; the verdict is that of the better one."""
    monkeypatch.setattr("scan2gene.evaluate.audit.PERMUTATIONS", 399)
    monkeypatch.setattr("scan2gene.evaluate.audit.subgroups", lambda *_: iter(()))
    found = []
    for seed in range(cohorts):
        tables = _tables(seed, 36)  # what no network sees changes no P value, and takes time
        bare = replace(tables, series=tables.series[["series_id"]], cohort=tables.cohort.drop(columns="clinical:age"))
        found.append(_judged(bare).kind)
    lucky = sum(kind in ("better", "unproven", "shortcut") for kind in found)
    assert lucky <= stats.binom.ppf(0.99, cohorts, 0.05)
    assert found.count("chance") > 0.85 * cohorts


def test_a_planted_signal_is_better_and_one_in_the_scanner_is_a_shortcut():
    assert _judged(_with_erased(_tables(1, 90, signal=2.5))).kind == "better"
    assert _judged(_tables(1, 90, signal=2.5)).kind == "unproven"
    assert _judged(_tables(1, 90, signal=3.0, scanner=0.95)).kind == "shortcut"


def test_a_leak_outweighs_all_and_a_suspicion_is_only_said():
    tables = _with_erased(_tables(1, 90, signal=2.5))
    leak = Check("images", "found", "3 pairs of patients have identical images.")
    visits = Check("visits and copies", "found", "2 ids look like visits.")
    assert _judged(tables, [leak]).kind == "leak"
    found = _judged(tables, [visits])
    assert found.kind == "better"
    assert "2 ids look like visits." in found.sentences


def test_a_description_that_gives_the_label_away_is_named_and_no_skill_beside_it_is_believed():
    tables = _tables(0, 60, 2.0)
    clean = _judged(tables)
    truth = tables.labels.set_index("patient_id")["value"].reindex(tables.series["series_id"]).to_numpy()
    words = np.where(truth == 1, "t1 ax lesion", "t1 ax")
    told = _judged(replace(tables, series=tables.series.assign(SeriesDescription=words)))
    assert "SeriesDescription" in " ".join(told.sentences) and "SeriesDescription" not in " ".join(clean.sentences)
    assert clean.kind != "shortcut" == told.kind


def test_what_was_looked_at_is_listed_where_nothing_differs():
    tables = _tables(0, 45, 2.0)
    one = tables.series.assign(Manufacturer="A", spacing_k_mm=2.0, SoftwareVersions="VE11C")
    figures = shortcut_figures(_study(), replace(tables, series=one), ["net0"])
    said = {f.kind: f.told for f in figures if f.kind in ("headers", "metadata") and not f.run}
    assert all(w in said["headers"] for w in ("SoftwareVersions", "Manufacturer", "patient id"))


def test_a_planned_answer_is_judged_alone_and_asks_the_part_that_sees_what_it_owes():
    """`image` keeps its skill without the lesion; features from inside a mask may do that, others may not."""
    base = _tables(2, 90, signal=2.5, runs=3)
    names = {"net0": "clinical", "net1": "image", "net2": "best"}
    tables = replace(base, predictions=base.predictions.replace({"run_id": names}))
    seen = tables.predictions[tables.predictions["run_id"] == "image"]
    tables = replace(tables, variants=seen.assign(variant="erased"))
    columns = {"name": "clinical", "model": {"name": "clinical", "options": {"columns": ["age"]}}}
    runs = [Run.model_validate(run) for run in (columns, mean_of_runs("image", ["clinical"]),
                                                mean_of_runs("best", ["clinical", "image"]))]  # fmt: skip
    study = SimpleNamespace(**vars(_study()) | {"runs": runs})
    figures = shortcut_figures(study, tables, ["image", "best"])
    whole = verdicts(study, tables, figures, [])
    assert [(v.run, v.kind) for v in whole] == [("best", "shortcut")]
    of_mask = verdicts(study, replace(tables, on_features={"image": True, "best": True}), figures, [])[0]
    assert of_mask.kind != "shortcut" and "the AUROC of image is" in " ".join(of_mask.sentences)
    assert of_mask.sentences[1].startswith("The scan ") and "to age" in of_mask.sentences[1]
    added = next(f for f in figures if f.kind == "added")
    by_run = {f.run: f.estimate.value for f in figures if f.kind == "network"}
    assert added.difference.value == pytest.approx(by_run["best"] - added.estimate.value)

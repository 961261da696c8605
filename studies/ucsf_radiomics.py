"""UCSF-PDGM: what whole-tumour radiomics of contrast-enhanced T1 say of IDH and of MGMT, judged as any scores are.

IDH is a positive control (it is told by the picture), MGMT a negative one. The features are a public table made
with pyradiomics; ours are only the folds, the fits and the judgement. About a minute.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier

import scan2gene
from scan2gene.cohorts.split import make_splits
from scan2gene.core.files import write_text
from scan2gene.core.study_runs import Split
from scan2gene.evaluate.baselines import design, scored
from scan2gene.evaluate.compare import Judged, Pair
from scan2gene.evaluate.compare import compare as compare_scores
from scan2gene.evaluate.facts import Against, Facts
from scan2gene.evaluate.score_table import read_scores
from scan2gene.evaluate.verdict import Verdict, judge
from scan2gene.report.compare import write_comparison
from scan2gene.stats.intervals import Estimate

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "ucsf_pdgm_radiomics"
TARGETS = ("IDH", "MGMT")
CLINICAL = "age-and-sex.csv"
SEED, FOLDS, TREES = 2026, 5, 200


def tables() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Features and clinical columns by patient_id, and labels (patient_id, exam_id, side, target, value)."""
    told = pd.read_csv(DATA / "jmh_UCSF-PDGM-metadata_v2.csv").drop_duplicates("ID").set_index("ID")
    features = pd.read_csv(DATA / "jmh_radiomic_features_T1gad_bias.csv").drop_duplicates("ID").set_index("ID")
    features = features[[c for c in features if c.startswith("original_")]]
    told = told.loc[told.index.intersection(features.index)].rename_axis("patient_id")
    idh = (told["IDH"] != "wildtype").astype(float).where(told["IDH"].notna())  # else the variant's name
    values = pd.DataFrame({"IDH": idh, "MGMT": told["MGMT status"].map({"negative": 0, "positive": 1})})
    labels = values.stack().dropna().rename("value").rename_axis(["patient_id", "target"]).reset_index()
    clinical = pd.DataFrame({"age": told["Age at MRI"].astype(float), "sex": told["Sex"]}, index=told.index)
    return features.loc[told.index].rename_axis("patient_id"), clinical, labels.assign(side="", exam_id="1")


def forest(features: pd.DataFrame, labels: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """As `baselines.scored`, by a random forest."""
    found = []
    for fold, rows in split.groupby("fold"):
        part = rows.set_index("patient_id")["part"]
        own = labels[labels["patient_id"].isin(part.index)]
        tested = (own["patient_id"].map(part) == "test").to_numpy()
        learn, test = own[~tested], own[tested]
        known, asked = design(features.loc[learn["patient_id"]], features.loc[test["patient_id"]])
        trees = RandomForestClassifier(TREES, max_depth=5, class_weight="balanced", random_state=SEED)
        prob = trees.fit(known, learn["value"]).predict_proba(asked)[:, 1]
        found.append(pd.DataFrame({
            "fold": fold, "patient_id": test["patient_id"].to_numpy(), "y_true": test["value"].to_numpy(), "prob": prob,
        }))  # fmt: skip
    return pd.concat(found, ignore_index=True)


def score_tables(folder: Path) -> list[Path]:
    """Write one CSV of scores for each model, both targets in it."""
    features, clinical, labels = tables()
    cohort = pd.DataFrame({"patient_id": features.index, "exam_id": "1", "site": ""})
    found: dict[str, list[pd.DataFrame]] = {}
    for target, own in labels.groupby("target"):
        split = make_splits(cohort, own, [Split(name="cv", kind="kfold", folds=FOLDS)], SEED)
        site = pd.Series("", index=features.index)
        one = {
            "logistic.csv": scored(features, own, split, site),
            "forest.csv": forest(features, own, split),
            CLINICAL: scored(clinical, own, split, site),
            "logistic-with-age-and-sex.csv": scored(features.join(clinical), own, split, site),
        }
        for name, table in one.items():
            found.setdefault(name, []).append(table[["fold", "patient_id", "y_true", "prob"]].assign(target=target))
    folder.mkdir(parents=True, exist_ok=True)
    for name, parts in found.items():
        pd.concat(parts).to_csv(folder / name, index=False)
    return [folder / name for name in found]


def verdict(target: str, runs: list[Judged], pairs: list[Pair]) -> Verdict:
    """Of the best radiomics model, held against age and sex."""
    own = {r.file: r for r in runs if r.target == target}
    best = max((r for n, r in own.items() if n != CLINICAL), key=lambda r: r.auroc.value or 0)
    pair = next(p for p in pairs if p.target == target and {p.a, p.b} == {best.file, CLINICAL})
    clinical = Against(
        "age and sex", own[CLINICAL].auroc, own[CLINICAL].p_chance, _towards(pair, best.file), pair.p_holm
    )
    return judge(Facts(
        target=target, split="cv", run=best.file, networks=3, auroc=best.auroc, n=best.n, n_units=best.n_units,
        n_positive=best.n_positive or 0, p=best.p_holm, tested=len(runs), clinical=clinical,
    ))  # fmt: skip


def _towards(pair: Pair, name: str) -> Estimate:
    """The pair's difference as that of `name` less the other."""
    d = pair.difference
    value, low, high = (None if v is None else -v for v in (d.value, d.high, d.low))
    return d if pair.a == name else Estimate(value, low, high)


def page(runs: list[Judged], pairs: list[Pair]) -> str:
    """docs/results/ucsf-radiomics.md."""
    lines = [
        "# UCSF-PDGM: radiomics tell IDH and do not tell MGMT",
        "",
        f"Written by `make results` (`studies/ucsf_radiomics.py`, scan2gene {scan2gene.__version__}). 100 whole-tumour",
        f"features of contrast-enhanced T1 from a public table, {FOLDS} folds by patient, a ridge logistic regression",
        "and a random forest; age and sex beside them. AUROC with 95 % BCa patient-bootstrap interval; P by",
        f"permutation, two-sided, corrected for {len(runs)} comparisons (Holm).",
        "",
        "| target | scores | AUROC | P | n (positive) |",
        "|---|---|---|---|---|",
    ]
    for r in sorted(runs, key=lambda r: r.target):
        lines.append(f"| {r.target} | {r.file} | {r.auroc.value:.3f} ({r.auroc.low:.3f}-{r.auroc.high:.3f}) | "
                     f"{r.p_holm:.4f} | {r.n} ({r.n_positive}) |")  # fmt: skip
    for target in TARGETS:
        told = verdict(target, runs, pairs)
        lines += ["", f"**{target}: {told.headline}.** {' '.join(told.sentences)}"]
    lines += [
        "",
        "The table's authors report, for IDH on one split, an accuracy of 0.881; others have found MGMT at chance too.",
        'One centre: nothing is said here of other hospitals. "Network" in the paragraphs is a model of radiomics.',
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main(folder: Path = ROOT / "runs" / "ucsf-radiomics") -> None:
    """Score, judge, and write the page."""
    runs, pairs = compare_scores(read_scores(score_tables(folder)))
    write_comparison(folder / "compared", list(runs), list(pairs))
    write_text(ROOT / "docs" / "results" / "ucsf-radiomics.md", page(list(runs), list(pairs)))


if __name__ == "__main__":
    np.seterr(all="raise")
    main()

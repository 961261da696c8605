"""Sentences about figures, intervals, tests, probabilities, the audit, maps and software."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from scan2gene.core.run_files import Csv
from scan2gene.core.study import headline
from scan2gene.core.text import clauses, counted, listed, number_text, percent
from scan2gene.evaluate.places import KINDS
from scan2gene.report.audited import WHAT
from scan2gene.report.inputs import Inputs, fitting_patients
from scan2gene.report.looking import METHODS as MAPS
from scan2gene.report.repeat import reproduce
from scan2gene.report.results import METRIC_NAMES
from scan2gene.report.statements import Statement
from scan2gene.stats.metrics import METRICS
from scan2gene.stats.permutation import PERMUTATIONS

MENDED = {
    "temperature": ("temperature scaling", "Guo2017"),
    "platt": ("Platt scaling", "Platt1999"),
    "isotonic": ("isotonic regression", "Zadrozny2002"),
}
MAP_CITES = {
    "hires_cam": "Draelos2020",
    "grad_cam": "Selvaraju2017",
    "grad_cam_pp": "Chattopadhay2018",
    "smooth_grad": "Smilkov2017",
    "integrated_gradients": "Sundararajan2017",
    "gradient_shap": "Erion2021",
    "occlusion": "Zeiler2014",
}


def figures(inputs: Inputs) -> Iterator[Statement]:
    """What is measured, and how sure it is."""
    beside = [_metric(m) for m in METRICS if m != "auroc"]
    yield Statement(
        "metrics",
        "Discrimination was measured on test patients by the area under the receiver operating "
        "characteristic curve (AUROC) over pairs of a positive and a negative patient of the same fold.",
        "metrics.csv",
        ("Hanley1982",),
    )
    yield Statement("metrics", f"Beside it stand {listed(beside)}.", "metrics.csv")
    yield Statement(
        "thresholds",
        "The decision threshold of a fold had the largest geometric mean of sensitivity and "
        f"specificity on {fitting_patients(inputs.study)}, without those of the fold's own test part.",
        "thresholds.json",
    )
    yield Statement(
        "intervals",
        "Intervals (95 %) are bias-corrected and accelerated bootstrap intervals over "
        f"{inputs.study.evaluate.bootstrap:,} draws of test patients within class; that of an AUROC takes its "
        "spread from the pairs that count. Those of average precision and sensitivity at 90 % specificity are made on "
        "the logit scale with Student's quantiles; metrics of decisions have Jeffreys' prior in each class.",
        "study.yaml, evaluate.bootstrap; metrics.csv",
        ("Efron1987",),
    )
    fixed = headline(inputs.study)
    if len(inputs.comparisons):
        yield Statement(
            "comparison",
            f"{f'The run {fixed}' if fixed else 'The best run of each metric'} was held against every other one on the "
            "same draws of the patients that both have, with two-sided P values corrected by Holm's method.",
            "comparisons.csv",
            ("Holm1979",),
        )


def _metric(name: str) -> str:
    """A metric as it stands amid a sentence."""
    words, hint = METRIC_NAMES[name]
    words = words if words[0] + words[1:2] in ("Br", "F1", "MC") else words[0].lower() + words[1:]
    return f"{words} {hint}" if hint.startswith("at ") else words


def probabilities(inputs: Inputs) -> Iterator[Statement]:
    """Calibration, use, and further evidence, as far as their tables hold something."""
    table = _rows(inputs.files.calibration)
    if table is not None and table["value"].notna().any():
        yield Statement(
            "calibration",
            "Calibration was described by slope and intercept, by the expected calibration error, "
            "and by the Brier score with its parts.",
            "calibration.csv",
            ("Cox1958", "VanCalster2019", "Naeini2015", "Murphy1973"),
        )
        fitted = [m for m in MENDED if ((table["method"] == m) & table["value"].notna()).any()]
        if fitted:
            yield Statement(
                "recalibration",
                f"Probabilities were also mended by {listed([MENDED[m][0] for m in fitted])}, fitted "
                f"on {fitting_patients(inputs.study)} outside the fold's own test part.",
                "calibration.csv",
                tuple(MENDED[m][1] for m in fitted),
            )
    table = _rows(inputs.files.decision)
    if table is not None and table["net_benefit"].notna().any():
        yield Statement(
            "decision",
            "Net benefit was computed for a range of thresholds (decision curves).",
            "decision.csv",
            ("Vickers2006",),
        )
    table = _rows(inputs.files.predictive_values)
    if table is not None and table["value"].notna().any():
        told = listed([f"{p:.3g} for {t}" for t, p in inputs.study.evaluate.prevalence.items()])
        yield Statement(
            "predictive values",
            f"Predictive values were computed for a prevalence of {told}.",
            "study.yaml, evaluate.prevalence; predictive_values.csv",
        )
    table = _rows(inputs.files.abstention)
    if table is not None and table["error"].notna().any():
        yield Statement(
            "abstention",
            "Wrong decisions were counted among the patients whose probability was farthest from the threshold.",
            "abstention.csv",
            ("ElYaniv2010",),
        )
    table = _rows(inputs.files.conformal)
    if table is not None and table["value"].notna().any():
        level = pd.to_numeric(table["confidence"]).iloc[0]
        yield Statement(
            "conformal",
            f"Split conformal prediction sets at {percent(level, exact=True)} were made from "
            f"{fitting_patients(inputs.study).replace('of all folds', 'of the fold')}.",
            "conformal.csv",
            ("Vovk2005",),
        )
    yield from _evidence(_rows(inputs.files.evidence))


def _evidence(table: pd.DataFrame | None) -> Iterator[Statement]:
    if table is None:
        return
    if table["fits_auroc"].notna().any():
        yield Statement(
            "fits",
            "How the method would do when trained again was asked by the corrected resampled interval over fits.",
            "evidence.csv",
            ("Nadeau2003",),
        )
    done = table[pd.to_numeric(table["shuffles"]).fillna(0) > 0]
    if len(done):
        what = "; ".join(dict.fromkeys(done["shuffled_what"]))
        times = pd.to_numeric(done["shuffles"]).max()
        yield Statement(
            "shuffles",
            f"As a check, labels were exchanged {times:,.0f} times between patients of one site, each "
            f"time with a fit of its own ({what}).",
            "evidence.csv; study.yaml, evaluate.shuffles",
            ("Ojala2010", "Phipson2010"),
        )


def power(inputs: Inputs) -> Iterator[Statement]:
    """What the number of patients can show; it was computed before training, and no number was aimed at."""
    table = _rows(inputs.files.power)
    if table is None:
        return
    known = table[table["detectable_auroc"].notna()]
    for split in inputs.study.splits:
        told = [
            f"{number_text(float(r['detectable_auroc']))} for {r['target']} ({int(r['positive']):,} positive and "
            f"{int(r['negative']):,} negative {r['unit']}s)"
            for r in known[known["split"] == split.name].to_dict("records")
        ]
        if told and split.unit == "patient":  # rows of a split by slice count patients once a fold
            text = f"what those tested in {split.name} can tell from chance is a true AUROC of {listed(told)}."
            yield Statement("power", f"With a power of 80 % at a level of 5 %, {text}", "power.csv", ("Hanley1982",))


def audit(inputs: Inputs) -> Iterator[Statement]:
    """Leakage checks, shortcuts and the test against chance, of an audited run."""
    found = read_audit(inputs)
    if not found:
        return
    kinds = {f["kind"] for f in found["shortcuts"]}
    if "network" in kinds:
        yield Statement(
            "chance",
            f"AUROCs were held against chance by {PERMUTATIONS:,} exchanges of labels between patients of "
            "a fold, with P values corrected by Holm's method over all networks and targets of the split.",
            "audit.json; verdicts.json",
            ("Phipson2010", "Holm1979"),
        )
    names = [c["check"] for c in found["leakage"] if c["status"] != "unknown"]
    bad = [c["check"] for c in found["leakage"] if c["status"] == "found"]
    untold = [c["check"] for c in found["leakage"] if c["status"] == "unknown"]
    if names:
        what = f"found something in {listed(bad)}" if bad else "found nothing"
        rest = f"; what could not be told: {listed(untold)}" if untold else ""
        yield Statement(
            "leakage",
            f"{counted(len(names), 'check')} for leakage between the parts ({listed(names)}) {what}{rest}.",
            "audit.json, leakage",
        )
    baselines = [
        w
        for k, w in (("metadata", "on scan metadata (scanner, site, settings)"), ("clinical", "on clinical data"))
        if any(f["kind"] == k and f["value"] is not None for f in found["shortcuts"])
    ]
    if baselines:
        yield Statement(
            "baselines",
            f"Ridge logistic regressions {listed(baselines)} alone were fitted on the same folds, and "
            "each network was held against them on the same patients.",
            "audit.json, shortcuts",
        )
    copies = [words for kind, words in WHAT.items() if kind != "network" and kind in kinds]
    if copies:
        yield Statement(
            "robustness",
            f"Each network was also tested on altered copies of the scans: {clauses(copies)}.",
            "audit.json, shortcuts; variants.parquet",
        )
    places = [words for k, words in KINDS.items() if k in kinds]
    if places:
        yield Statement(
            "marks",
            f"To look for marks that go with the label, rules without a network were asked what {listed(places)} tell.",
            "audit.json, shortcuts",
        )
    groups = group_names(found)
    if groups:
        yield Statement(
            "subgroups", f"AUROCs were computed within groups by {listed(groups)}.", "audit.json, shortcuts"
        )


def group_names(found: dict[str, Any]) -> list[str]:
    """By what patients were grouped; such as age and site."""
    rows = [f for f in found["shortcuts"] if f["kind"] == "subgroup" and f["value"] is not None]
    return list(dict.fromkeys(f["of"].partition(":")[0] for f in rows))


def read_audit(inputs: Inputs) -> dict[str, Any]:
    """audit.json; empty for a run that was not audited."""
    return inputs.files.audit.read({})


def maps(inputs: Inputs) -> Iterator[Statement]:
    """How it was looked at where the networks look."""
    table = _rows(inputs.files.maps().maps) if inputs.study.explain.exams else None
    if table is None:
        return
    used = [m for m in MAPS if (table["method"] == m).any()]
    yield Statement(
        "maps",
        f"Maps of where the networks look were made by {listed([MAPS[m] for m in used])}.",
        "explain/maps.csv",
        tuple(MAP_CITES[m] for m in used),
    )
    scores = _rows(inputs.files.maps().scores)
    if scores is None:
        return
    if ((scores["measure"] == "energy") & scores["value"].notna()).any():
        yield Statement(
            "maps",
            "They were held against the lesion mask and against the same networks with random weights.",
            "explain/scores.csv",
        )
    if (scores["measure"] == "rank_correlation").any():
        yield Statement(
            "maps",
            "Layers were made random one after the other to see whether the maps change.",
            "explain/randomised.csv",
            ("Adebayo2018",),
        )


def software(inputs: Inputs) -> Iterator[Statement]:
    """Versions that wrote the report, the seed, and the machine that the fits ran on."""
    known = reproduce(inputs)
    wanted = ["numpy", "pandas", "scipy", *(("torch",) if inputs.stores else ())]
    has = [f"{name} {known['versions'][name]}" for name in wanted if known["versions"][name] != "not installed"]
    versions = known["versions"]
    yield Statement(
        "software",
        f"The analysis was done with scan2gene {versions['scan2gene']}; when this was written it ran on "
        f"Python {versions['Python']}{' with ' + listed(has) if has else ''}.",
        "versions where the report was written",
        ("Paszke2019",) if inputs.stores else (),
    )
    yield Statement("seed", f"The seed of splits, weights and draws was {inputs.study.seed}.", "study.yaml, seed")
    machine = [*known["gpus"], *known["processors"]]
    if machine:
        yield Statement("machine", f"The stages ran on {listed(machine)}.", "stages/*.json")


def _rows(file: Csv) -> pd.DataFrame | None:
    """A table that holds something; None without."""
    if not file.exists():
        return None
    table = file.read()
    return table if len(table) else None

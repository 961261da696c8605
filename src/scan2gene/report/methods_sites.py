"""Sentences about sites: those kept out of development, and what runs did to depend less on where a scan was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scan2gene.core.tables import EXTERNAL
from scan2gene.core.text import clauses, counted, listed
from scan2gene.report.inputs import Inputs
from scan2gene.report.methods_tests import read_audit
from scan2gene.report.statements import Statement
from scan2gene.tasks.run_config import resolve

MOST = 6  # notes in a sentence; the fits have all


def kept_out(inputs: Inputs) -> Iterator[Statement]:
    """Each split's external sites, and how many patients they have."""
    for split in inputs.study.splits:
        if split.external:
            own = inputs.split[(inputs.split["split"] == split.name) & (inputs.split["part"] == EXTERNAL)]
            sites = listed([inputs.hide(name) for name in split.external])
            yield Statement(
                "external",
                f"In the split {split.name}, {counted(own['patient_id'].nunique(), 'patient')} of "
                f"{'site' if len(split.external) == 1 else 'the sites'} {sites} were kept out of development: no "
                "network learned from them, no epoch or threshold was chosen on them, and every network of the split "
                "was tested on them.",
                "study.yaml, splits.external; split.csv",
            )


def transfer(inputs: Inputs) -> Iterator[Statement]:
    """How figures at other sites were held against those inside."""
    rows = read_audit(inputs).get("transfer", [])
    if any(r["kind"] == EXTERNAL for r in rows):
        yield Statement(
            "transfer",
            "AUROCs of single networks at external sites were held against theirs on tested patients of development, "
            "each group of patients drawn by itself, with P values corrected by Holm's method over all runs and "
            "targets of the split.",
            "audit.json, transfer",
            ("Efron1987", "Holm1979"),
        )
    if any(r["kind"] == "sites" for r in rows):
        yield Statement(
            "transfer",
            "AUROCs at sites that were left out in turn were held against those of the first split on the same draws "
            "of the same patients.",
            "audit.json, transfer",
            ("Efron1987",),
        )


def against_sites(inputs: Inputs) -> Iterator[Statement]:
    """Harmonisation of tables, and the adversary that names sites."""
    for run in inputs.study.runs:
        config = resolve(inputs.study, run)
        if config.data.harmonise is not None:
            yield Statement(
                "harmonisation",
                f"In {run.name}, sites were taken out of the columns by ComBat, fitted on the training rows of each "
                f"fold{_combat(inputs, config.data.harmonise.options)}.",
                "study.yaml, data.harmonise; experiments/*/*/harmonise.json",
                ("Johnson2007", "Fortin2018"),
            )
            yield from _not_estimated(inputs, run.name)
        adversary = config.train.site_adversary
        if adversary is not None and run.name in inputs.stores:
            yield Statement(
                "adversary",
                f"In {run.name}, a network with {counted(adversary.hidden, 'hidden unit')} named the site from the "
                "features, and its gradient reached them with its sign turned, times a factor that rose to "
                f"{adversary.weight:g} in {counted(adversary.rise, 'epoch')}.",
                "study.yaml, train.site_adversary",
                ("Ganin2016",),
            )


def _not_estimated(inputs: Inputs, run: str) -> Iterator[Statement]:
    """What ComBat left as it was in some fold, and why."""
    notes: dict[str, int] = {}
    for fit in inputs.files.fits(run):
        for note in dict.fromkeys(fit.harmonise.read({"notes": []})["notes"]):
            notes[note] = notes.get(note, 0) + 1
    told = [f"{inputs.hide(note)} ({counted(n, 'fit')})" for note, n in notes.items()]
    if told:
        text = f"What ComBat could not estimate in {run}: {clauses(told, MOST)}."
        yield Statement("harmonisation", text, "experiments/*/*/harmonise.json")


def _combat(inputs: Inputs, options: Mapping[str, Any]) -> str:
    kept = [inputs.hide(str(c)) for c in options.get("keep", ())]
    kept += ["the training labels"] if options.get("labels", True) else []
    told = f"; the effect of {listed(kept)} was kept" if kept else ""
    pooled = "" if options.get("pool", True) else "; each column was taken by itself, without empirical Bayes"
    if options.get("unknown") == "estimate":
        return (
            f"{told}{pooled}; the shift and spread of a site that training lacks were estimated from its own tested "
            "rows, without their labels"
        )
    return f"{told}{pooled}; rows of a site that training lacks were left as they are"

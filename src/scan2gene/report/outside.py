"""The section on sites that a network never saw: each run inside and outside, and how patients there differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from scan2gene.core.study import Study
from scan2gene.core.text import capitalised, p_text
from scan2gene.evaluate.domain_shift import LABEL, NAMES, NUMBERS, WORDS
from scan2gene.report.inputs import Inputs
from scan2gene.report.tables import Table
from scan2gene.report.templates import environment
from scan2gene.stats.intervals import Estimate
from scan2gene.tasks.outputs import displayed_in
from scan2gene.tasks.run_config import resolve

MOST = 6  # columns of a kind that are shown; the table beside the page has all
ESTIMATES = ("inside", "outside", "single", "drop", "domain", "site", "within", "recall_inside", "recall_outside",
             "specificity_inside", "specificity_outside")  # fmt: skip
KINDS = {"label": "Labels", **{kind: capitalised(name) for kind, name in NAMES.items()}}


def outside(inputs: Inputs) -> dict[str, Any]:
    """Tables of runs and of differences; empty for a study that looks at no other site."""
    found = inputs.files.audit.read({})
    return tables_of(inputs.study, found.get("transfer", []), found.get("shift", []), inputs.hide)


def tables_of(
    study: Study, moved: list[dict[str, Any]], shifted: list[dict[str, Any]], hide: Callable[[str], str] = str
) -> dict[str, Any]:
    """What the section shows.

    Args:
        study: Its runs.
        moved: Rows of transfer.csv.
        shifted: Rows of shift.csv.
        hide: Takes out of a text what must not be shown.
    """
    names = dict.fromkeys([run.name for run in study.runs] + [r["run"] for r in moved])
    tables = []
    for split, target, where in dict.fromkeys((r["split"], r["target"], r["where"]) for r in moved):
        own = [r for r in moved if (r["split"], r["target"]) == (split, target)]
        tables.append({
            "split": split, "target": target, "where": hide(where), "external": own[0]["kind"] == "external",
            "rows": [_run(study, hide, r) for name in names for r in own if r["run"] == name],
        })  # fmt: skip
    differences = [
        {"split": split, "rows": _shown(hide, [s for s in shifted if s["split"] == split])}
        for split in dict.fromkeys(s["split"] for s in shifted)
    ]
    return {"tables": tables, "differences": differences, "files": _files(moved, shifted) if moved else []}


def external_page(study: Study, title: str, said: Sequence[str], moved: list[dict[str, Any]],
                  shifted: list[dict[str, Any]]) -> str:  # fmt: skip
    """One offline page about a run on another cohort.

    Args:
        study: Of the run.
        title: Of the page.
        said: Sentences at its head.
        moved: Rows of transfer.csv.
        shifted: Rows of shift.csv.
    """
    template = environment().get_template("external.html.j2")
    page = template.render(title=title, said=said, outside=tables_of(study, moved, shifted))
    return displayed_in(page, study.targets)


def _run(study: Study, hide: Callable[[str], str], row: dict[str, Any]) -> dict[str, Any]:
    cells = {
        name: Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], hide(row[f"{name}_reason"] or ""))
        for name in ESTIMATES
    }  # fmt: skip
    return {
        "run": row["run"], "how": _against_sites(study, row["run"]), "networks": row["networks"],
        "n": (row["n_inside"], row["n_outside"]), "cells": cells, "told": hide(row["told"]),
        "commonest": row["commonest_site"], "said": row["mean_probability"], "observed": row["share_positive"],
    }  # fmt: skip


def _against_sites(study: Study, name: str) -> str:
    """What a run does to depend less on sites; empty for most."""
    run = next((r for r in study.runs if r.name == name), None)
    if run is None:
        return ""
    config = resolve(study, run)
    done = ["ComBat"] if config.data.harmonise else []
    if config.data.harmonise and config.data.harmonise.options.get("unknown") == "estimate":
        done = ["ComBat, of unseen sites by their own rows"]
    done += ["sites drawn alike"] if config.train.site_sampling else []
    return ", ".join([*done, *(["site adversary"] if config.train.site_adversary else [])])


def _shown(hide: Callable[[str], str], shifts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Labels, each kind at once, and its columns that differ most."""
    rows = []
    for kind in dict.fromkeys(s["kind"] for s in shifts):
        own = [s for s in shifts if s["kind"] == kind]
        columns = [s for s in own if s["measure"] in (NUMBERS, WORDS)]
        for s in [s for s in own if s not in columns] + columns[:MOST]:
            rows.append({
                "kind": KINDS[kind], "what": hide(s["what"]) or "all of these at once", "measure": s["measure"],
                "label": s["measure"] == LABEL, "words": s["measure"] == WORDS,
                "p": p_text(s["p"]) if s["p"] is not None else "",
                "inside": hide(s["inside"]), "outside": hide(s["outside"]),
                "estimate": Estimate(s["value"], s["low"], s["high"], hide(s["reason"] or "")),
            })  # fmt: skip
        if len(columns) > MOST:
            rows.append({"kind": KINDS[kind], "more": len(columns) - MOST})
    return rows


def _files(moved: list[dict[str, Any]], shifted: list[dict[str, Any]]) -> list[Table]:
    columns = ["run", "split", "target", "where", "networks", "n_inside", "positive_inside", "n_outside",
               "positive_outside", "p_drop", "p_drop_holm", "mean_probability", "share_positive",
               "commonest_site"]  # fmt: skip
    columns[9:9] = [f"{name}{end}" for name in ESTIMATES for end in ("", "_low", "_high")]
    found = [Table("transfer", "Inside and at sites that no network saw, AUROC with 95 % interval",
                   pd.DataFrame(moved)[columns])]  # fmt: skip
    if shifted:
        found.append(Table("shift", "How external patients differ from those of development", pd.DataFrame(shifted)))
    return found
